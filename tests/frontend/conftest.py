"""What the page tests share."""

from __future__ import annotations

import pytest
from django.test import Client

from annotation.models import User
from tests.frontend.scene import Scene, make_scene


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
