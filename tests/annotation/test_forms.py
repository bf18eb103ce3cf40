"""Versions of the ranking form: published, never edited, and each label under the one that its labeler was shown."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError

from annotation.models import Assignment, AuditEvent, FormVersion, Membership, Project, Ranking
from annotation.ranking_form import FormProblem
from annotation.rankings import RankingProblem
from annotation.selectors.forms import flags_known, form_current, form_in_hand
from annotation.selectors.rows import ranking_row, rankings_with_all
from annotation.services.forms import form_publish
from annotation.services.imports import import_file
from annotation.services.labels import LabelError, RankedItem, ranking_submit
from tests.factories import RankingTaskFactory, lease

QUESTION = {"key": "audience", "label": "For whom?", "type": "choice", "choices": ["child", "expert"]}


def publish(project: Project, by: Membership, **changes: Any) -> FormVersion:
    current = form_current(project)
    return form_publish(project=project, fields={**current.fields, **changes}, based_on=current.version, by=by)


def rank(assignment: Assignment, ranks: list[int | None], **fields: Any) -> Ranking:
    rating = fields.pop("rating", 4)
    items = [
        RankedItem(response_id=uuid.UUID(key), rank=rank, rating=rating, flags=fields.get("flags", []))
        for key, rank in zip(assignment.presented_order, ranks, strict=True)
    ]
    fields.pop("flags", None)
    shared = {"submission_id": uuid.uuid4(), "started_at": None, "active_seconds": 1, "by": assignment.labeler}
    return ranking_submit(assignment=assignment, items=items, **shared | fields)


@pytest.fixture
def ranking(project: Project, alice: Membership) -> Assignment:
    RankingTaskFactory(prompt__project=project, answers=3)
    return lease(alice)


def test_publishing_adds_a_version_and_says_what_changed(project: Project, ada: Membership) -> None:
    before = FormVersion.objects.get().fields
    form = publish(project, ada, allow_partial=True)
    assert (form.version, form.created_by, form_current(project)) == (2, ada.user, form)
    assert FormVersion.objects.get(version=1).fields == before
    event = AuditEvent.objects.get(verb="form.publish")
    assert event.detail == {"version": 2, "changed": ["An answer may be left unranked now."]}
    assert publish(project, ada) == form and FormVersion.objects.count() == 2  # the same again is no version


def test_a_change_made_from_an_older_version_is_refused(project: Project, ada: Membership, rex: Membership) -> None:
    publish(project, ada, allow_partial=True)
    fields = FormVersion.objects.get(version=1).fields | {"allow_ties": False}
    with pytest.raises(FormProblem, match="Version 2 was published meanwhile"):
        form_publish(project=project, fields=fields, based_on=1, by=rex)
    assert FormVersion.objects.count() == 2


def test_a_task_in_hand_keeps_the_form_it_came_with(ranking: Assignment, ada: Membership) -> None:
    publish(ranking.task.project, ada, flags=[], rating={"minimum": 1, "maximum": 5})
    assert form_in_hand(ranking).version == 1
    label = rank(ranking, [1, 2, 3], rating=7, flags=["hallucination"])
    assert label.form is not None and label.form.version == 1
    assert [row.rating for row in label.ranked_responses.all()] == [7, 7, 7]


def test_what_is_said_to_have_been_shown_is_what_counts(ranking: Assignment, ada: Membership) -> None:
    publish(ranking.task.project, ada, rating={"minimum": 0, "maximum": 10}, prompt_fields=[QUESTION])
    with pytest.raises(LabelError, match="from 1 to 7"):
        rank(ranking, [1, 2, 3], rating=10)
    label = rank(ranking, [1, 2, 3], rating=10, form_version=2, prompt_fields={"audience": "child"})
    assert label.form is not None and label.form.version == 2 and label.prompt_fields == {"audience": "child"}
    with pytest.raises(FormProblem, match="no version 7"):
        rank(ranking, [1, 2, 3], form_version=7)


def test_editing_an_older_label_uses_its_own_form(ranking: Assignment, alice: Membership, ada: Membership) -> None:
    publish(ranking.task.project, ada, rating={"minimum": 1, "maximum": 9})
    rank(ranking, [1, 2, 3], rating=9, form_version=2)
    publish(ranking.task.project, ada, rating={"minimum": 1, "maximum": 3})
    edited = rank(ranking, [3, 2, 1], rating=8)
    assert edited.revision == 2 and edited.form is not None and edited.form.version == 2
    RankingTaskFactory(prompt__project=ranking.task.project, answers=3)
    with pytest.raises(LabelError, match="from 1 to 3"):  # a task handed out since asks the new form
        rank(lease(alice), [1, 2, 3], rating=6)


def test_a_label_that_says_something_else_of_the_prompt_is_an_edit(ranking: Assignment, ada: Membership) -> None:
    publish(ranking.task.project, ada, prompt_fields=[QUESTION])
    key = uuid.uuid4()
    for said in ("child", "child", "expert"):
        rank(ranking, [1, 2, 3], submission_id=key, form_version=2, prompt_fields={"audience": said})
    assert [label.prompt_fields["audience"] for label in Ranking.objects.order_by("revision")] == ["child", "expert"]


def test_a_partial_order_goes_through_as_it_is(ranking: Assignment, ada: Membership) -> None:
    project = ranking.task.project
    publish(project, ada, allow_partial=True, allow_ties=False, prompt_fields=[QUESTION])
    with pytest.raises(RankingProblem, match="at least two"):
        rank(ranking, [1, None, None], form_version=2)
    with pytest.raises(RankingProblem, match="no ties"):
        rank(ranking, [1, 1, None], form_version=2)
    rank(ranking, [2, None, 1], form_version=2, prompt_fields={"audience": "child"})
    row = ranking_row(rankings_with_all(project).get())
    by_id = dict(zip([answer["id"] for answer in row["completions"]], row["ranks"], strict=True))
    assert [by_id[key] for key in ranking.presented_order] == [2, None, 1]
    assert row["prompt_fields"] == {"category": "other", "audience": "child"}
    assert (row["form_version"], row["rating_scale"]) == (2, {"minimum": 1, "maximum": 7})


def test_flags_of_ones_own_come_back_from_a_file(ranking: Assignment, ada: Membership) -> None:
    project = ranking.task.project
    publish(project, ada, own_flags=[{"key": "too_long", "label": "Too long"}])
    rank(ranking, [1, 2, 3], form_version=2, flags=["too_long"])
    publish(project, ada, own_flags=[], flags=[])
    assert flags_known(project)[-1] == "too_long"  # asked once, known for ever
    line = (
        b'{"prompt": "What is dew?", "completions": [{"content": "a", "flags": ["too_long"]}, "b"], "ranks": [1, 2]}\n'
    )
    file = SimpleUploadedFile("rankings.jsonl", line)
    batch = import_file(
        project=project, filename="rankings.jsonl", kind="rankings", file=file, pool="rm", source="a test", by=ada
    )
    assert batch.added == 1


@pytest.mark.parametrize("rating", [-1, 11])
def test_the_database_keeps_ratings_within_what_any_form_may_ask(ranking: Assignment, rating: int) -> None:
    label = rank(ranking, [1, 2, 3])
    with pytest.raises(IntegrityError):
        label.ranked_responses.update(rating=rating)
