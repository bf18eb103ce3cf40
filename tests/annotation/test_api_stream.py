"""Labels as they come, behind a cursor."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotation import api_stream
from annotation.ids import uuid7, uuid7_floor
from annotation.models import Membership, Project
from annotation.services.tokens import token_create
from tests.training.labels import demonstrations, submit_demonstration


def poll(project: Project, secret: str, **asked: Any) -> list[dict[str, Any]]:
    answer = Client().get(
        reverse("annotation:label_stream", args=[project.slug]),
        {"kind": "demonstrations", **asked},
        HTTP_AUTHORIZATION=f"Bearer {secret}",
    )
    assert answer.status_code == 200, answer.content
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]


@pytest.fixture
def secret(rita: Membership) -> str:
    return token_create(membership=rita, name="polls", scopes=["export"], days=1, by=rita.user)[1]


def test_polling_tells_each_label_once_and_a_revision_again(
    project: Project, alice: Membership, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_stream, "SETTLED_SECONDS", -60.0)
    made = demonstrations(project, alice, 3)
    first = poll(project, secret, limit=2)
    rest = poll(project, secret, after=first[-1]["id"])
    assert [row["id"] for row in first + rest] == [str(label.pk) for label in made]
    assert poll(project, secret, after=rest[-1]["id"]) == []
    submit_demonstration(made[0].assignment, "A better answer.")
    [revised] = poll(project, secret, after=rest[-1]["id"])
    assert (revised["revision"], revised["completion"][0]["content"]) == (2, "A better answer.")
    assert poll(project, secret, after=rest[-1]["id"], labelers_out=alice.pseudonym) == []


def test_what_may_still_be_overtaken_waits(project: Project, alice: Membership, secret: str) -> None:
    demonstrations(project, alice, 1)
    assert poll(project, secret) == []


def test_a_moment_lies_between_what_was_made_before_and_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    before = uuid7()
    floor = uuid7_floor(time.time() + 0.002)
    time.sleep(0.01)
    assert before < floor < uuid7()


@pytest.mark.parametrize("asked", [{"kind": "dreams"}, {"limit": 0}, {"after": "yesterday"}, {"overlap": "majority"}])
def test_a_wrong_question_is_answered_in_words(project: Project, secret: str, asked: dict[str, Any]) -> None:
    answer = Client().get(
        reverse("annotation:label_stream", args=[project.slug]),
        {"kind": "rankings", **asked},
        HTTP_AUTHORIZATION=f"Bearer {secret}",
    )
    assert answer.status_code == 400 and answer.json()
