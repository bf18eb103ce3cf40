"""What the page tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client
from django.utils import translation

from annotation.models import User
from tests.frontend.scene import Scene, make_scene


@pytest.fixture(autouse=True)
def _language_left_as_found() -> Iterator[None]:
    """A request in Chinese leaves its thread in Chinese, and the next test with it."""
    yield
    translation.deactivate()


@pytest.fixture
def scene(db: None) -> Scene:
    return make_scene()


@pytest.fixture
def as_(client: Client):
    """`as_(scene.alice)`: a client that is signed in as her."""

    def sign_in(user: User) -> Client:
        client.force_login(user)
        return client

    return sign_in
