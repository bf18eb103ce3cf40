"""The queue: who gets what, leases, skips, drafts. Races are in test_queue_races.py."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.models import Assignment, AuditEvent, Membership, Project, Task
from annotation.selectors.queue import queue_counts, waiting_for
from annotation.services.labels import demonstration_submit
from annotation.services.queue import (
    RELEASES,
    NotYours,
    QueueError,
    assignment_heartbeat,
    assignment_next,
    assignment_skip,
    candidates,
    draft_save,
    leases_release_expired,
)
from tests.factories import MembershipFactory, PromptFactory, RankingTaskFactory, ResponseFactory, TaskFactory, lease


def run_out(assignment: Assignment) -> None:
    """Let the lease run out, as if the labeler had gone to lunch."""
    Assignment.objects.filter(pk=assignment.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def submit(assignment: Assignment, text: str = "an answer") -> None:
    demonstration_submit(
        assignment=assignment,
        text=text,
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=assignment.labeler,
    )


def consistent(task: Task) -> bool:
    """The counter says what the assignments say, and the state what both say."""
    task.refresh_from_db()
    held = list(task.assignments.filter(slot__isnull=False).values_list("slot", "status"))
    done = [slot for slot, status in held if status == "submitted"]
    return task.open_slots == task.overlap - len(held) and (task.state == "complete") == (len(done) == task.overlap)


def test_the_next_task_is_leased_to_one_labeler(project: Project, alice: Membership, bob: Membership) -> None:
    task = TaskFactory(prompt__project=project)
    assignment = lease(alice)
    assert (assignment.task, assignment.status, assignment.slot) == (task, "leased", 1)
    assert timezone.now() + timedelta(minutes=29) < assignment.lease_until < timezone.now() + timedelta(minutes=31)
    assert assignment_next(labeler=bob) is None
    assert consistent(task)


def test_a_labeler_gets_the_task_in_hand_again(project: Project, alice: Membership) -> None:
    TaskFactory.create_batch(2, prompt__project=project)
    first = lease(alice)
    Assignment.objects.update(lease_until=timezone.now() + timedelta(seconds=5))
    again = lease(alice)
    assert again == first
    assert again.lease_until > timezone.now() + timedelta(minutes=5)


def test_priority_across_kinds_then_age_within_one(project: Project, alice: Membership) -> None:
    old, young = TaskFactory.create_batch(2, prompt__project=project)
    RankingTaskFactory(prompt__project=project, priority=-1)
    urgent = RankingTaskFactory(prompt__project=project, priority=1)
    taken = []
    for _ in range(3):
        taken.append(lease(alice).task)
        assignment_skip(assignment=Assignment.objects.get(status="leased"), reason="other", by=alice)
    assert taken == [urgent, old, young]


def test_a_kind_can_be_asked_for(project: Project, alice: Membership) -> None:
    TaskFactory(prompt__project=project)
    ranking = RankingTaskFactory(prompt__project=project)
    assert lease(alice, "ranking").task == ranking
    assert lease(alice, "demonstration").task.kind == "demonstration"


def test_other_projects_and_closed_tasks_are_not_handed_out(project: Project, alice: Membership) -> None:
    TaskFactory()
    TaskFactory(prompt__project=project, state="withdrawn")
    TaskFactory(prompt__project=project, state="complete", open_slots=0)
    assert assignment_next(labeler=alice) is None
    assert not any(waiting_for(alice).values())


@pytest.mark.parametrize("role", ["researcher"])
def test_who_does_not_label_gets_no_task(project: Project, role: str) -> None:
    TaskFactory(prompt__project=project)
    with pytest.raises(NotYours, match="don't label"):
        assignment_next(labeler=MembershipFactory(project=project, role=role))
    with pytest.raises(NotYours):
        assignment_next(labeler=MembershipFactory(project=project, is_active=False))


def test_overlap_gives_a_task_to_so_many_labelers(project: Project, alice: Membership, bob: Membership) -> None:
    task = TaskFactory(prompt__project=project, overlap=2)
    carol = MembershipFactory(project=project)
    assert [lease(alice).slot, lease(bob).slot] == [1, 2]
    assert assignment_next(labeler=carol) is None
    for assignment in task.assignments.all():
        submit(assignment)
    task.refresh_from_db()
    assert task.state == "complete"
    assert consistent(task)


def test_nobody_ranks_an_answer_they_wrote(project: Project, alice: Membership, bob: Membership) -> None:
    prompt = PromptFactory(project=project)
    answers = [ResponseFactory(prompt=prompt, author=alice), ResponseFactory(prompt=prompt)]
    task = RankingTaskFactory(prompt=prompt, answers=answers)
    assert assignment_next(labeler=alice) is None
    assert waiting_for(alice)["ranking"] == 0
    assert lease(bob).task == task


def test_answers_are_shown_in_a_stored_random_order(project: Project, alice: Membership) -> None:
    shown = set()
    for _ in range(12):
        task = RankingTaskFactory(prompt__project=project, answers=3)
        assignment = lease(alice)
        ids = [str(key) for key in task.responses.order_by("pk").values_list("pk", flat=True)]
        assert sorted(assignment.presented_order) == sorted(ids)
        assert lease(alice).presented_order == assignment.presented_order
        shown.add(tuple(ids.index(key) for key in assignment.presented_order))
        assignment_skip(assignment=assignment, reason="other", by=alice)
    assert len(shown) > 1  # twelve times the same of six orders: once in 6^11


# --- Leases ----------------------------------------------------------------------------------------


def test_a_lease_that_ran_out_goes_to_the_next_labeler(project: Project, alice: Membership, bob: Membership) -> None:
    task = TaskFactory(prompt__project=project)
    lost = lease(alice)
    run_out(lost)
    gained = lease(bob)
    lost.refresh_from_db()
    assert (lost.status, lost.slot) == ("expired", None)
    assert (gained.task, gained.slot) == (task, 1)
    assert consistent(task)


def test_the_labeler_who_comes_back_in_time_keeps_their_task(project: Project, alice: Membership) -> None:
    TaskFactory.create_batch(2, prompt__project=project)
    held = lease(alice)
    run_out(held)
    assert lease(alice) == held


def test_a_lost_task_comes_back_with_its_draft_before_any_other(
    project: Project, alice: Membership, bob: Membership
) -> None:
    task = TaskFactory(prompt__project=project)
    lost = lease(alice)
    draft_save(assignment=lost, draft={"text": "half a"})
    run_out(lost)
    TaskFactory(prompt__project=project, priority=9)
    lease(bob)  # releases alice's lease and takes the urgent task
    regained = lease(alice)
    assert (regained.pk, regained.task, regained.draft) == (lost.pk, task, {"text": "half a"})
    assert consistent(task)


def test_the_lowest_free_slot_is_taken(project: Project) -> None:
    task = TaskFactory(prompt__project=project, overlap=3)
    people = MembershipFactory.create_batch(4, project=project)
    held = [lease(person) for person in people[:3]]
    assignment_skip(assignment=held[1], reason="unclear", by=people[1])
    assert lease(people[3]).slot == 2
    assert consistent(task)


def test_a_heartbeat_extends_the_lease(project: Project, alice: Membership) -> None:
    TaskFactory(prompt__project=project)
    assignment = lease(alice)
    run_out(assignment)
    assert assignment_heartbeat(assignment=assignment) > timezone.now() + timedelta(minutes=29)


def test_a_heartbeat_takes_a_lost_task_up_again(project: Project, alice: Membership, bob: Membership) -> None:
    task = TaskFactory(prompt__project=project)
    assignment = lease(alice)
    run_out(assignment)
    assignment_skip(assignment=lease(bob), reason="other", by=bob)
    assignment.refresh_from_db()
    assert assignment.status == "expired"
    assignment_heartbeat(assignment=assignment)
    assert (assignment.status, assignment.slot) == ("leased", 1)
    assert consistent(task)


def test_a_heartbeat_says_what_became_of_the_task(project: Project, alice: Membership, bob: Membership) -> None:
    TaskFactory(prompt__project=project)
    lost = lease(alice)
    run_out(lost)
    theirs = lease(bob)
    with pytest.raises(QueueError, match="others have taken it"):
        assignment_heartbeat(assignment=lost)
    submit(theirs)
    with pytest.raises(QueueError, match="submitted"):
        assignment_heartbeat(assignment=theirs)


def test_a_slot_that_ran_out_comes_before_there_is_nothing(
    alice: Membership, bob: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TaskFactory(prompt__project=alice.project)
    run_out(lease(alice))
    monkeypatch.setattr(RELEASES, "due_at", time.monotonic() + 60)
    assert lease(bob).task == task


def test_where_there_is_more_to_do_slots_that_ran_out_are_looked_for_now_and_then(
    alice: Membership, bob: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _third = TaskFactory.create_batch(3, prompt__project=alice.project)
    carol = MembershipFactory(project=alice.project)
    run_out(lease(alice))
    monkeypatch.setattr(RELEASES, "due_at", time.monotonic() + 60)
    assert lease(bob).task == second
    monkeypatch.setattr(RELEASES, "due_at", 0.0)
    assert lease(carol).task == first
    assert not RELEASES.is_due()  # within the second nobody looks again


# --- Skips and drafts ------------------------------------------------------------------------------


def test_a_skipped_task_goes_to_others_and_never_back(project: Project, alice: Membership, bob: Membership) -> None:
    task = TaskFactory(prompt__project=project)
    skipped = assignment_skip(assignment=lease(alice), reason="sensitive", note="my\0 uncle", by=alice)
    assert (skipped.status, skipped.slot, skipped.skip_note) == ("skipped", None, "my uncle")
    assert assignment_next(labeler=alice) is None
    assert lease(bob).task == task
    assert consistent(task)
    assert AuditEvent.objects.get(verb="assignment.skip").detail == {"reason": "sensitive"}


def test_a_skip_twice_gives_one_slot_back(project: Project, alice: Membership) -> None:
    task = TaskFactory(prompt__project=project)
    assignment = lease(alice)
    for _ in range(2):
        assignment_skip(assignment=assignment, reason="other", by=alice)
    assert consistent(task)


def test_wrong_skips_are_refused(project: Project, alice: Membership, bob: Membership) -> None:
    TaskFactory(prompt__project=project)
    assignment = lease(alice)
    with pytest.raises(QueueError, match="why"):
        assignment_skip(assignment=assignment, reason="", by=alice)
    with pytest.raises(NotYours, match="somebody else"):
        assignment_skip(assignment=assignment, reason="other", by=bob)
    submit(assignment)
    with pytest.raises(QueueError, match="submitted this task already"):
        assignment_skip(assignment=assignment, reason="other", by=alice)


def test_a_draft_is_kept_whatever_became_of_the_lease(project: Project, alice: Membership, bob: Membership) -> None:
    TaskFactory(prompt__project=project)
    assignment = lease(alice)
    run_out(assignment)
    lease(bob)
    saved_at = draft_save(assignment=assignment, draft={"text": "a\0b\ud800", "flags-0": ["x"]})
    assert timezone.now() - timedelta(seconds=30) < saved_at < timezone.now() + timedelta(seconds=30)
    assignment.refresh_from_db()
    assert assignment.draft == {"text": "ab?", "flags-0": ["x"]}


# --- Cost ------------------------------------------------------------------------------------------


def test_counts_of_the_queue(project: Project, alice: Membership, bob: Membership) -> None:
    TaskFactory.create_batch(3, prompt__project=project, overlap=2)
    RankingTaskFactory(prompt__project=project)
    submit(lease(alice, "demonstration"))
    run_out(lease(alice, "demonstration"))
    leases_release_expired(labeler=bob)
    lease(bob, "ranking")
    with CaptureQueriesContext(connection) as captured:
        counts = queue_counts(project)
    assert len(captured) == 2
    written, ranked = counts["demonstration"], counts["ranking"]
    assert (written.open, written.complete, written.open_slots, written.in_work, written.total) == (3, 0, 5, 0, 3)
    assert (ranked.open, ranked.open_slots, ranked.in_work) == (1, 0, 1)
    assert waiting_for(alice) == {"demonstration": 1, "ranking": 0, "comparison": 0, "correction": 0, "prompt": 0}


def test_the_next_task_costs_the_same_whatever_the_queue_holds(project: Project) -> None:
    def queries() -> int:
        labeler = MembershipFactory(project=project)
        with CaptureQueriesContext(connection) as captured:
            lease(labeler)
        return len(captured)

    TaskFactory.create_batch(3, prompt__project=project, overlap=9)
    queries()  # a task's first slot is given without a look at the others
    few = queries()
    TaskFactory.create_batch(30, prompt__project=project, overlap=9)
    assert queries() == few <= 16


def test_the_query_for_the_next_task_uses_the_queues_index(project: Project, alice: Membership) -> None:
    TaskFactory.create_batch(30, prompt__project=project)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # so small a table would be read whole
            cursor.execute("SET LOCAL enable_bitmapscan = off")
    plan = candidates(alice, "demonstration")[:1].explain()
    assert "task_queue" in plan
    assert "TEMP B-TREE" not in plan and "Sort" not in plan
