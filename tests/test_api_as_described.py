"""The API against its own description: whatever a request holds, the answer is one that the description names.

`schemathesis` makes the requests from the description, good ones and bad ones, and compares each answer with it: no
server error, no undescribed status or content type, no body of another shape. One for each operation here; as many
as PLACKETT_API_EXAMPLES says in a longer form.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import hypothesis
import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.urls import resolve
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase
from rest_framework.throttling import UserRateThrottle
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from annotation.models import ApiToken
from annotation.services.tokens import token_create
from tests.test_every_address import Place, make_place

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("PLACKETT_API_EXAMPLES") or 1)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SOMEBODY = UUID(int=7)


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """As Django's own test client does it: a request's end leaves the test's connection open."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Place:
    monkeypatch.setattr(UserRateThrottle, "allow_request", lambda *_: True)
    settings.HUB_ENDPOINT = "http://127.0.0.1:9"
    return make_place("here")


def test_the_description_is_free_of_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    """Two serializers of one name, or a choice without a name of its own, would change a generated client."""
    from drf_spectacular.drainage import GENERATOR_STATS, reset_generator_stats

    reset_generator_stats()
    SchemaGenerator().get_schema(public=True)
    GENERATOR_STATS.emit_summary()
    assert capsys.readouterr().err.count("Warning") == 0


def operations() -> Iterator[Any]:
    description = SchemaGenerator().get_schema(public=True)
    schema = schemathesis.openapi.from_dict(description)
    schema.app = get_wsgi_application()
    for found in schema.get_all_operations():
        yield found.ok()


def test_every_answer_is_one_that_is_described(place: Place) -> None:
    _token, secret = token_create(
        membership=place.members["a"],
        name="all",
        scopes=list(ApiToken.Scope.values),
        days=1,
        by=place.members["a"].user,
    )
    wrong: list[str] = []
    for operation in operations():
        seen = 0

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal seen
            seen += 1
            aim(case, place, real=seen % 3 != 0)
            with transaction.atomic():
                answer = case.call(headers={"Authorization": f"Bearer {secret}"})
                transaction.set_rollback(True)
            case.validate_response(answer, checks=CHECKS)

        try:
            ask()
        except BaseException as problem:
            if isinstance(problem, KeyboardInterrupt):
                raise
            wrong.append(f"{operation.label}: {problem}"[:1500])
    assert wrong == [], "\n\n".join(wrong)


def aim(case: Any, place: Place, *, real: bool) -> None:
    """Let a request reach something: the project that is there, and mostly the row that is there."""
    given = case.path_parameters or {}
    if "slug" not in given:
        return
    blank = case.path.format(**{**dict.fromkeys(given, SOMEBODY), "slug": "x"})
    names = place.arguments(resolve(blank).view_name, "a")
    for name in given:
        if name == "slug" or real:
            given[name] = str(names[name])
