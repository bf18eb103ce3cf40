"""Pages that list do so in a number of queries that does not grow with what they list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from annotation.models import Membership, User
from annotation.services.feedback import question_ask
from annotation.services.queue import assignment_next, assignment_skip
from annotation.services.queue_settings import queue_policy_update
from tests.factories import MembershipFactory, TaskFactory
from tests.frontend.scene import Scene

As = Callable[[User], Client]
LISTS = ["queue/", "queue/policy/", "queue/limits/", "queue/review/", "questions/", "prompts/", "people/", "audit/"]
OF_A_LABELER = ["label/", "history/"]


def fill(scene: Scene, labeler: Membership, count: int) -> None:
    """More of everything: labelers, prompts, questions, tasks that are in review."""
    MembershipFactory.create_batch(count, project=scene.project)
    TaskFactory.create_batch(count, prompt__project=scene.project, overlap=2)
    for number in range(count):
        held = assignment_next(labeler=labeler)
        assert held is not None
        question_ask(assignment=held, body=f"Which one? ({number})", by=labeler)
        assignment_skip(assignment=held, reason="unclear", note="?", by=labeler)


@pytest.mark.parametrize("page", [*LISTS, *OF_A_LABELER])
def test_a_list_costs_as_many_queries_for_many_as_for_few(scene: Scene, as_: As, page: str) -> None:
    queue_policy_update(project=scene.project, review_after_skips=1, by=scene.ada)
    labeler = scene.member(scene.alice)
    client = as_(scene.alice if page in OF_A_LABELER else scene.ada)

    def queries() -> list[Any]:
        client.get(f"/p/{scene.project.slug}/{page}")  # what a process asks once is asked
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"/p/{scene.project.slug}/{page}").status_code == 200
        return [query["sql"] for query in captured]

    fill(scene, labeler, 2)
    few = queries()
    fill(scene, labeler, 6)
    assert len(queries()) == len(few)
