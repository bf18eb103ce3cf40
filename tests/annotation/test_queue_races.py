"""Many labelers at once, on the real database: none over, none starved, none twice, whatever leases do meanwhile."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from django.utils import timezone

from annotation.models import Assignment, Demonstration, Membership, Project, Ranking, Task
from annotation.services.labels import RankedItem, demonstration_submit, ranking_submit
from annotation.services.queue import (
    QueueError,
    assignment_heartbeat,
    assignment_next,
    assignment_skip,
    leases_release_expired,
)
from annotation.services.queue_settings import queue_policy_update
from tests.annotation.races import together
from tests.factories import MembershipFactory, ProjectFactory, RankingTaskFactory, TaskFactory, lease

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

LABELERS = 8


@pytest.fixture
def crowd() -> list[Membership]:
    return MembershipFactory.create_batch(LABELERS, project=ProjectFactory())


def rank(assignment: Assignment, submission_id: uuid.UUID | None = None) -> Ranking:
    return ranking_submit(
        assignment=assignment,
        items=[
            RankedItem(response_id=uuid.UUID(key), rank=place, rating=4)
            for place, key in enumerate(assignment.presented_order, start=1)
        ],
        submission_id=submission_id or uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=assignment.labeler,
    )


def check_everything(project: Project) -> None:
    """What must hold of the tables whatever happened."""
    for task in Task.objects.filter(project=project).prefetch_related("assignments"):
        assignments = list(task.assignments.all())
        slots = [assignment.slot for assignment in assignments if assignment.slot is not None]
        assert len(set(slots)) == len(slots) <= task.overlap, "a slot twice, or more than there are"
        assert all(1 <= slot <= task.overlap for slot in slots)
        assert task.open_slots == task.overlap - len(slots), "the counter drifted"
        assert len({assignment.labeler_id for assignment in assignments}) == len(assignments), "a labeler twice"
        counting = Ranking.objects.filter(task=task, is_current=True, counts=True).count()
        counting += Demonstration.objects.filter(task=task, is_current=True, counts=True).count()
        submitted = [one for one in assignments if one.status == "submitted"]
        assert counting == sum(one.slot is not None for one in submitted) <= task.overlap
        if task.state != "review":
            assert (task.state == "complete") == (counting == task.overlap)


def test_eight_labelers_with_overlap_two(crowd: list[Membership]) -> None:
    project = crowd[0].project
    RankingTaskFactory.create_batch(20, prompt__project=project, overlap=2, answers=2)

    def work(labeler: Membership) -> Callable[[], int]:
        def until_empty() -> int:
            done = 0
            while (assignment := assignment_next(labeler=labeler)) is not None:
                rank(assignment)
                done += 1
            return done

        return until_empty

    with ThreadPoolExecutor(LABELERS) as threads:
        done = together(threads, [work(labeler) for labeler in crowd])
    assert sum(done) == 40 == Ranking.objects.count()
    assert set(Task.objects.values_list("state", flat=True)) == {"complete"}
    check_everything(project)


def test_the_last_slots_are_not_starved(crowd: list[Membership]) -> None:
    """Eight ask at one moment for a queue of one task with eight slots: each gets one, though all want the same row."""
    TaskFactory(prompt__project=crowd[0].project, overlap=LABELERS)
    with ThreadPoolExecutor(LABELERS) as threads:
        got = together(threads, [lambda labeler=labeler: assignment_next(labeler=labeler) for labeler in crowd])
    assert sorted(assignment.slot or 0 for assignment in got if assignment) == list(range(1, LABELERS + 1))
    check_everything(crowd[0].project)


def test_one_labeler_in_eight_tabs_gets_one_task(crowd: list[Membership]) -> None:
    TaskFactory.create_batch(10, prompt__project=crowd[0].project)
    with ThreadPoolExecutor(8) as threads:
        got = together(threads, [lambda: assignment_next(labeler=crowd[0])] * 8)
    assert len({assignment.pk for assignment in got if assignment}) == 1 == Assignment.objects.count()
    check_everything(crowd[0].project)


def test_leases_that_run_out_skips_and_late_submits_break_nothing(crowd: list[Membership]) -> None:
    project = crowd[0].project
    for category in ("generation", "chat", "extract"):
        TaskFactory.create_batch(2, prompt__project=project, prompt__category=category, overlap=2)
        RankingTaskFactory.create_batch(2, prompt__project=project, prompt__category=category, overlap=3, answers=2)
    queue_policy_update(project=project, review_after_skips=4, by=crowd[0])

    def submit(assignment: Assignment) -> None:
        if assignment.task.kind == "ranking":
            rank(assignment)
        else:
            demonstration_submit(
                assignment=assignment,
                text="an answer",
                submission_id=uuid.uuid4(),
                started_at=None,
                active_seconds=1,
                by=assignment.labeler,
            )

    def careless(labeler: Membership, seed: int) -> Callable[[], int]:
        def work() -> int:
            dice, submitted = random.Random(seed), 0
            for _ in range(14):
                assignment = assignment_next(labeler=labeler)
                if assignment is None:
                    break
                fate = dice.random()
                if fate < 0.15:
                    assignment_skip(assignment=assignment, reason="other", by=labeler)
                    continue
                if fate < 0.5:  # goes to lunch; others may take it; comes back and submits late, or not at all
                    past = timezone.now() - timedelta(seconds=1)
                    Assignment.objects.filter(pk=assignment.pk, status="leased").update(lease_until=past)
                    leases_release_expired(labeler=crowd[(seed + 1) % LABELERS])
                    if fate < 0.2:
                        continue
                    if fate < 0.3:
                        with suppress(QueueError):
                            assignment_heartbeat(assignment=assignment)
                submit(assignment)
                submitted += 1
            return submitted

        return work

    with ThreadPoolExecutor(LABELERS) as threads:
        counts = together(threads, [careless(labeler, seed) for seed, labeler in enumerate(crowd)])
    labels = Demonstration.objects.filter(is_current=True).count() + Ranking.objects.filter(is_current=True).count()
    assert labels == sum(counts), "a submitted label was lost, or made twice"
    check_everything(project)


def test_one_form_sent_six_times_is_one_label(crowd: list[Membership]) -> None:
    RankingTaskFactory(prompt__project=crowd[0].project, answers=3)
    assignment, key = lease(crowd[0]), uuid.uuid4()
    with ThreadPoolExecutor(6) as threads:
        labels = together(threads, [lambda: rank(Assignment.objects.get(pk=assignment.pk), key)] * 6)
    assert {label.pk for label in labels} == {Ranking.objects.get().pk}
    assert Counter(Ranking.objects.values_list("revision", "is_current")) == {(1, True): 1}


def test_six_edits_at_once_are_six_revisions_of_which_one_is_current(crowd: list[Membership]) -> None:
    RankingTaskFactory(prompt__project=crowd[0].project, answers=3)
    assignment = lease(crowd[0])
    with ThreadPoolExecutor(6) as threads:
        together(threads, [lambda: rank(Assignment.objects.get(pk=assignment.pk))] * 6)
    assert sorted(Ranking.objects.values_list("revision", flat=True)) == [1, 2, 3, 4, 5, 6]
    assert Ranking.objects.get(is_current=True).revision == 6
    check_everything(crowd[0].project)


def test_late_submitters_share_out_the_slots_that_are_left(crowd: list[Membership]) -> None:
    """Six leases ran out, two slots are free: all six labels are kept, two of them count."""
    task = TaskFactory(prompt__project=crowd[0].project, overlap=6)
    late = [lease(labeler) for labeler in crowd[:6]]
    Assignment.objects.update(status="expired", slot=None)
    Task.objects.update(overlap=2, open_slots=2)

    def submit(assignment: Assignment) -> bool:
        return demonstration_submit(
            assignment=assignment,
            text="an answer",
            submission_id=uuid.uuid4(),
            started_at=None,
            active_seconds=1,
            by=assignment.labeler,
        ).counts

    with ThreadPoolExecutor(6) as threads:
        counted = together(threads, [lambda assignment=assignment: submit(assignment) for assignment in late])
    assert sorted(counted) == [False] * 4 + [True] * 2
    check_everything(task.project)
