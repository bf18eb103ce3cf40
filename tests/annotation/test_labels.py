"""Submitting labels: once, in words when wrong, revised when edited, kept when late."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from annotation.conversations import ConversationProblem
from annotation.models import (
    Assignment,
    AuditEvent,
    Demonstration,
    FormVersion,
    Guideline,
    Membership,
    Project,
    Ranking,
    Response,
    Task,
)
from annotation.rankings import RankingProblem
from annotation.selectors.labels import done_by, label_current, label_history, labels_of, responses_presented
from annotation.services.accounts import simulated_labeler
from annotation.services.guidelines import guideline_publish
from annotation.services.labels import LabelError, RankedItem, demonstration_submit, ranking_submit
from annotation.services.queue import NotYours, assignment_skip, draft_save
from annotation.services.rules import rules_changed
from tests.factories import RankingTaskFactory, TaskFactory, lease


def write(assignment: Assignment, text: str = "an answer", **fields: Any) -> Demonstration:
    fields = {
        "submission_id": uuid.uuid4(),
        "started_at": None,
        "active_seconds": 2.5,
        "by": assignment.labeler,
    } | fields
    return demonstration_submit(assignment=assignment, text=text, **fields)


def rank(assignment: Assignment, ranks: Sequence[Any], **fields: Any) -> Ranking:
    items = [
        RankedItem(response_id=uuid.UUID(key), rank=value, rating=8 - (value or 4), flags=["hallucination"])
        for key, value in zip(assignment.presented_order, ranks, strict=True)
    ]
    shared = {"submission_id": uuid.uuid4(), "started_at": None, "active_seconds": 2.5, "by": assignment.labeler}
    return ranking_submit(assignment=assignment, items=fields.pop("items", items), **shared | fields)


@pytest.fixture
def writing(project: Project, alice: Membership) -> Assignment:
    TaskFactory(prompt__project=project)
    return lease(alice)


@pytest.fixture
def ranking(project: Project, alice: Membership) -> Assignment:
    RankingTaskFactory(prompt__project=project, answers=3)
    return lease(alice)


def test_a_demonstration_knows_where_it_comes_from(writing: Assignment, alice: Membership) -> None:
    draft_save(assignment=writing, draft={"text": "an ans"})
    began = timezone.now() - timedelta(minutes=3)
    label = write(writing, "an\r\nanswer", started_at=began)
    assert (label.response.text, label.response.origin, label.response.author) == ("an\nanswer", "human", alice)
    assert (label.task, label.prompt, label.labeler, label.revision) == (writing.task, writing.task.prompt, alice, 1)
    assert (label.is_current, label.counts, label.origin, label.purpose) == (True, True, "human", "train")
    assert (label.started_at, label.active_seconds) == (began, 2.5)
    assert label.guideline == Guideline.objects.get()
    writing.refresh_from_db()
    assert (writing.status, writing.slot, writing.draft) == ("submitted", 1, {})
    assert Task.objects.get().state == "complete"
    event = AuditEvent.objects.get(verb="demonstration.submit")
    assert (event.actor, event.target_id, event.project) == (alice.user, str(label.pk), label.project)


def test_a_ranking_keeps_order_ratings_flags_and_places(ranking: Assignment) -> None:
    label = rank(ranking, [3, 1, 1])
    kept = list(label.ranked_responses.order_by("position"))
    assert [str(item.response_id) for item in kept] == ranking.presented_order
    assert [(item.rank, item.rating, item.flags) for item in kept] == [
        (2, 5, ["hallucination"]),  # 3, 1, 1 without its gap
        (1, 7, ["hallucination"]),
        (1, 7, ["hallucination"]),
    ]
    assert label.form == FormVersion.objects.get()
    assert [response.pk for response in responses_presented(ranking)] == [item.response_id for item in kept]


def test_the_eval_purpose_of_a_task_is_its_labels(project: Project, alice: Membership) -> None:
    RankingTaskFactory(prompt__project=project, answers=2, purpose="eval")
    assert rank(lease(alice), [1, 2]).purpose == "eval"


def test_a_label_is_made_under_the_guidelines_that_its_work_began_under(writing: Assignment, ada: Membership) -> None:
    began = timezone.now()
    guideline_publish(project=writing.task.project, body="New rules.", by=ada)
    label = write(writing, started_at=began)
    assert label.guideline is not None and label.guideline.version == 1
    label = write(writing, "better", started_at=timezone.now())
    assert label.guideline is not None and label.guideline.version == 2


@pytest.mark.parametrize(
    ("seconds", "kept"), [(float("nan"), 0), (float("inf"), 0), (-4, 0), (10**9, 24 * 3600), (3, 3)]
)
def test_a_broken_clock_costs_no_label(writing: Assignment, seconds: float, kept: float) -> None:
    label = write(writing, active_seconds=seconds, started_at=timezone.now() + timedelta(days=400))
    assert label.active_seconds == kept
    assert label.started_at <= timezone.now()


# --- Once ------------------------------------------------------------------------------------------


def test_the_same_form_sent_again_is_the_same_label(ranking: Assignment) -> None:
    key = uuid.uuid4()
    first = rank(ranking, [1, 2, 3], submission_id=key)
    assert rank(ranking, [1, 2, 3], submission_id=key) == first
    assert Ranking.objects.count() == 1
    assert AuditEvent.objects.filter(verb="ranking.submit").count() == 1


def test_a_form_gone_back_to_and_changed_is_an_edit(writing: Assignment) -> None:
    """The browser's back button brings the old form with its old submission id."""
    key = uuid.uuid4()
    first, second = write(writing, "one", submission_id=key), write(writing, "two", submission_id=key)
    assert (first.revision, second.revision) == (1, 2)
    assert write(writing, "two", submission_id=key) == second
    assert label_current(writing) == second


def test_a_form_of_another_task_is_refused(project: Project, alice: Membership) -> None:
    TaskFactory.create_batch(2, prompt__project=project)
    key = uuid.uuid4()
    write(lease(alice), submission_id=key)
    other = lease(alice)
    with pytest.raises(LabelError, match="another task"):
        write(other, submission_id=key)
    other.refresh_from_db()
    assert other.status == "leased"
    assert Demonstration.objects.count() == 1


# --- Edits -----------------------------------------------------------------------------------------


def test_an_edit_is_a_revision_and_the_old_one_stays(ranking: Assignment) -> None:
    first, second = rank(ranking, [1, 2, 3]), rank(ranking, [3, 2, 1])
    first.refresh_from_db()
    assert (first.is_current, second.is_current, second.revision) == (False, True, 2)
    assert [item.rank for item in first.ranked_responses.order_by("position")] == [1, 2, 3]
    assert label_history(ranking) == [second, first]
    task = Task.objects.get()
    assert (task.state, task.open_slots) == ("complete", 0)


def test_an_edited_demonstration_leaves_the_first_text_as_it_was(writing: Assignment) -> None:
    first, second = write(writing, "one"), write(writing, "two")
    assert first.response != second.response
    assert set(Response.objects.values_list("text", flat=True)) == {"one", "two"}


# --- Late ------------------------------------------------------------------------------------------


def expire(assignment: Assignment) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_late_with_a_free_slot_counts(writing: Assignment) -> None:
    expire(writing)
    assert write(writing).counts


def test_late_without_a_free_slot_is_kept_and_does_not_count(writing: Assignment, bob: Membership) -> None:
    expire(writing)
    write(lease(bob), "bob was faster")
    label = write(writing, "alice was late")
    writing.refresh_from_db()
    assert (label.counts, writing.status, writing.slot) == (False, "submitted", None)
    assert Task.objects.get().open_slots == 0
    assert not write(writing, "an edit counts no more").counts


def test_who_skipped_and_thought_better_of_it_may_submit(writing: Assignment, alice: Membership) -> None:
    assignment_skip(assignment=writing, reason="unclear", by=alice)
    assert write(writing).counts
    writing.refresh_from_db()
    assert (writing.status, writing.skip_reason) == ("submitted", "")


def test_a_label_for_a_withdrawn_task_is_kept(writing: Assignment) -> None:
    Task.objects.update(state="withdrawn")
    assert write(writing).counts  # it held its slot
    assert Task.objects.get().state == "withdrawn"


# --- Who -------------------------------------------------------------------------------------------


def test_only_the_labeler_submits(writing: Assignment, alice: Membership, bob: Membership, ada: Membership) -> None:
    for other in (bob, ada, bob.user):
        with pytest.raises(NotYours, match="somebody else"):
            write(writing, by=other)
    assert write(writing, by=alice.user).labeler == alice


def test_who_left_the_project_submits_no_more(writing: Assignment, alice: Membership) -> None:
    Membership.objects.filter(pk=alice.pk).update(is_active=False)
    writing.labeler.refresh_from_db()
    with pytest.raises(NotYours, match="don't label"):
        write(writing)


def test_labels_of_simulated_labelers_are_marked_so(project: Project) -> None:
    TaskFactory(prompt__project=project)
    label = write(lease(simulated_labeler(project=project, number=1)), origin="human")
    assert label.origin == "simulated"
    assert AuditEvent.objects.get(verb="demonstration.submit").actor_name == "simulated labeler 1"


# --- Wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"), [("", "empty"), (" \n", "empty"), ("a\0b", "NUL"), ("x" * 100_001, "at most 100,000")]
)
def test_a_text_that_cannot_be_kept_is_refused(writing: Assignment, text: str, words: str) -> None:
    with pytest.raises(ConversationProblem, match=words):
        write(writing, text)
    assert not Demonstration.objects.exists()
    writing.refresh_from_db()
    assert writing.status == "leased"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": None}, "have no rank"),
        ({"rank": 0}, "whole number"),
        ({"rating": 8}, "from 1 to 7"),
        ({"rating": 0}, "from 1 to 7"),
        ({"rating": 3.5}, "from 1 to 7"),
        ({"rating": True}, "from 1 to 7"),
        ({"flags": ["boring"]}, "no flag boring"),
        ({"flags": "boring"}, "list of names"),
        ({"flags": [3]}, "list of names"),
        ({"response_id": uuid.uuid4()}, "not of this task's answers"),
    ],
)
def test_a_ranking_that_says_nothing_usable_is_refused(ranking: Assignment, change: dict[str, Any], words: str) -> None:
    items = [
        {"response_id": uuid.UUID(key), "rank": place, "rating": 4}
        for place, key in enumerate(ranking.presented_order, 1)
    ]
    items[0] |= change
    with pytest.raises((LabelError, RankingProblem), match=words):
        rank(ranking, [1, 2, 3], items=[RankedItem(**item) for item in items])
    assert not Ranking.objects.exists()


def test_a_group_is_ranked_whole_and_once(ranking: Assignment) -> None:
    items = [RankedItem(response_id=uuid.UUID(key), rank=1) for key in ranking.presented_order]
    with pytest.raises(LabelError, match="not of this task's answers"):
        rank(ranking, [1, 1, 1], items=items[:2])
    with pytest.raises(LabelError, match="twice"):
        rank(ranking, [1, 1, 1], items=[*items, items[0]])


def test_the_projects_form_says_what_is_allowed(ranking: Assignment) -> None:
    form = FormVersion.objects.get()
    fields = {"rating": {"minimum": 1, "maximum": 7}, "flags": ["hallucination"]}
    FormVersion.objects.create(
        project=form.project, kind="ranking", version=2, fields=fields | {"allow_ties": False, "allow_partial": True}
    )
    rules_changed(ranking.task.project)
    with pytest.raises(RankingProblem, match="no ties"):
        rank(ranking, [1, 1, 2], form_version=2)
    label = rank(ranking, [2, None, 1], form_version=2)
    assert [item.rank for item in label.ranked_responses.order_by("position")] == [2, None, 1]
    assert label.form is not None and label.form.version == 2


def test_a_task_wants_its_own_kind_of_label(writing: Assignment, alice: Membership) -> None:
    RankingTaskFactory(prompt__project=writing.task.project)
    with pytest.raises(LabelError, match="another kind"):
        write(lease(alice, "ranking"))
    with pytest.raises(LabelError, match="another kind"):
        rank(writing, [])


# --- Looking back ----------------------------------------------------------------------------------


def test_history_is_newest_first_and_one_page_at_a_time(
    project: Project, alice: Membership, bob: Membership, django_assert_num_queries: Any
) -> None:
    TaskFactory.create_batch(3, prompt__project=project, overlap=2)
    RankingTaskFactory.create_batch(2, prompt__project=project, answers=2)
    made: list[Any] = []
    for _ in range(3):
        made.append(write(lease(alice, "demonstration")))
    for _ in range(2):
        made.append(rank(lease(alice, "ranking"), [1, 2]))
    edited = write(made[0].assignment, "edited")
    write(lease(bob), "not hers")
    history = labels_of(alice)
    assert len(history) == 5
    with django_assert_num_queries(4):
        page = history[0:4]
        assert [(label.task.kind, label.prompt.text, label.assignment_id) for label in page]
    assert page == [edited, *made[:0:-1]][:4]
    assert history[4] == made[1] and list(history) == [edited, *made[:0:-1]]
    assert done_by(alice) == {"today": 5, "total": 5}
    assert label_current(made[0].assignment) == edited
