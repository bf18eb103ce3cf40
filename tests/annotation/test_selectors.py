"""Who is where, what happened, and lists whose queries do not grow."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.access import projects_of
from annotation.models import AuditEvent, Membership, Project, User
from annotation.selectors.audit import audit_events
from annotation.selectors.imports import import_batches
from annotation.selectors.members import members
from annotation.selectors.prompts import prompts_list, responses_of
from annotation.services import audit
from annotation.services.accounts import imported_labeler
from annotation.services.labels import demonstration_submit
from tests.factories import MembershipFactory, PromptFactory, ResponseFactory, TaskFactory, UserFactory, lease


def test_a_person_sees_the_projects_they_are_in(project: Project, alice: Membership, sam: User) -> None:
    assert alice.user is not None
    assert list(projects_of(alice.user)) == [project]
    assert project not in projects_of(sam)
    Membership.objects.filter(pk=alice.pk).update(is_active=False)
    assert not projects_of(alice.user)
    assert project in projects_of(UserFactory(is_superuser=True))


def test_members_come_with_what_they_labeled(project: Project, alice: Membership, ada: Membership) -> None:
    imported_labeler(project=project, name="judge")
    TaskFactory.create_batch(2, prompt__project=project)
    for _ in range(2):
        demonstration_submit(
            assignment=lease(alice), text="x", submission_id=uuid.uuid4(), started_at=None, active_seconds=1, by=alice
        )
    rows = list(members(project))
    assert [(row.imported_name, row.label_count) for row in rows] == [("", 2), ("", 0), ("judge", 0)]
    assert rows[0].latest_label_at is not None and rows[1].latest_label_at is None


def test_the_audit_log_names_who_did_what(project: Project, ada: Membership, alice: Membership) -> None:
    audit.record(project=project, by=ada, verb="run.cancel", target=project, reason="slow")
    audit.record(project=project, by=None, verb="run.start", target=project)
    audit.record(project=project, by=imported_labeler(project=project, name="judge"), verb="label.add", target=project)
    assert [event.actor_name for event in audit_events(project)] == ["judge", "system", "ada"]
    assert [event.verb for event in audit_events(project, verb="run")] == ["run.start", "run.cancel"]
    assert audit_events(project, actor="ADA").get().detail == {"reason": "slow"}
    now = timezone.now()
    assert not audit_events(project, since=now + timedelta(hours=1))
    assert not audit_events(project, until=now - timedelta(hours=1))
    assert ada.user is not None
    Membership.objects.filter(pk=ada.pk).delete()
    ada.user.delete()
    assert audit_events(project, actor="ada").get().actor is None  # the name stays


@pytest.mark.parametrize(
    "listed",
    [
        lambda project: [(row.label_count, row.user and row.user.username) for row in members(project)],
        lambda project: [(row.text, row.response_count, row.label_count) for row in prompts_list(project)],
        lambda project: [(row.verb, row.actor_name) for row in audit_events(project)],
        lambda project: [row.created_by for row in import_batches(project)],
        lambda project: [row.author for row in responses_of(project.prompts.order_by("id")[0].pk)],
    ],
    ids=["members", "prompts", "audit", "imports", "responses"],
)
def test_lists_take_the_same_queries_for_many_rows(project: Project, listed: Callable[[Project], Any]) -> None:
    first = PromptFactory(project=project)

    def more() -> None:
        member = MembershipFactory(project=project)
        ResponseFactory(prompt=PromptFactory(project=project))
        ResponseFactory(prompt=first, author=member)
        audit.record(project=project, by=member, verb="x.y", target=project)
        project.import_batches.create(kind="prompts", source="x", sha256="0" * 64, created_by=member.user)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            listed(project)
        return len(captured)

    more()
    few = queries()
    for _ in range(5):
        more()
    assert queries() == few
    assert AuditEvent.objects.count() == 6
