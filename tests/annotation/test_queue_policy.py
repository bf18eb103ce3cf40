"""The queue obeys its policy: weights, quotas, uncertainty, and the review of what is skipped often."""

from __future__ import annotations

import math
import uuid
from collections import Counter

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.models import AuditEvent, Membership, Project, QueuePolicy, Task
from annotation.selectors import taken as taken_module
from annotation.selectors.reviews import tasks_in_review
from annotation.selectors.taken import Taken, labels_taken
from annotation.services.queue import assignment_next, assignment_skip, candidates
from annotation.services.queue_settings import QueueSettingsError, kind_settings_update, queue_policy_update
from annotation.services.reviews import ReviewError, task_put_back, task_withdraw
from annotation.services.uncertainties import ScoreError, uncertainties_set
from tests.factories import MembershipFactory, PromptFactory, RankingTaskFactory, TaskFactory, lease


def waiting(project: Project, category: str, count: int, **more: object) -> list[Task]:
    return TaskFactory.create_batch(count, prompt__project=project, prompt__category=category, **more)


def worked_off(labeler: Membership, count: int) -> list[Task]:
    """The next tasks, each given up at once so that the labeler is free for the one after."""
    tasks = []
    for _ in range(count):
        assignment = lease(labeler)
        tasks.append(assignment.task)
        assignment.status = "submitted"
        assignment.save(update_fields=["status"])
    return tasks


def test_categories_come_by_their_quotas(project: Project, ada: Membership, alice: Membership) -> None:
    for category in ("generation", "chat", "other"):
        waiting(project, category, 8)
    queue_policy_update(project=project, quotas={"generation": 75, "chat": 25}, by=ada)
    assert Counter(task.category for task in worked_off(alice, 8)) == {"generation": 6, "chat": 2}
    # One category has run out: the others go on, the one without a quota last.
    assert Counter(task.category for task in worked_off(alice, 16)) == {"generation": 2, "chat": 6, "other": 8}


def test_a_category_of_higher_priority_comes_before_the_one_that_lacks_most(
    project: Project, ada: Membership, alice: Membership
) -> None:
    waiting(project, "generation", 2)
    urgent = waiting(project, "chat", 2, priority=1)
    queue_policy_update(project=project, quotas={"generation": 99, "chat": 1}, by=ada)
    tasks = worked_off(alice, 4)
    assert tasks[:2] == urgent and {task.category for task in tasks[2:]} == {"generation"}


def test_of_one_category_the_most_uncertain_comes_first_under_quotas_too(
    project: Project, ada: Membership, alice: Membership
) -> None:
    queue_policy_update(project=project, uncertain_first=True, by=ada)
    _sure, unsure = waiting(project, "chat", 2)
    Task.objects.filter(pk=unsure.pk).update(uncertainty=0.9)
    assert worked_off(alice, 1) == [unsure]
    waiting(project, "generation", 1, uncertainty=0.1)
    assert [task.category for task in worked_off(alice, 2)] == ["generation", "chat"]


def test_without_quotas_the_oldest_comes_first_whatever_its_category(
    project: Project, ada: Membership, alice: Membership
) -> None:
    queue_policy_update(project=project, quotas=dict.fromkeys(["generation", "chat"], 0), by=ada)
    tasks = [waiting(project, category, 1)[0] for category in ("extract", "generation", "chat", "extract")]
    assert worked_off(alice, 4) == tasks


def test_a_kind_of_weight_0_is_not_handed_out(project: Project, ada: Membership, alice: Membership) -> None:
    TaskFactory(prompt__project=project)
    RankingTaskFactory(prompt__project=project)
    kind_settings_update(project=project, kind="demonstration", weight=0, by=ada)
    assert worked_off(alice, 1)[0].kind == "ranking"
    assert assignment_next(labeler=alice) is None
    assert assignment_next(labeler=alice, kind="demonstration") is None


def test_weights_are_about_kept(project: Project, ada: Membership, alice: Membership) -> None:
    kind_settings_update(project=project, kind="ranking", weight=9, by=ada)
    TaskFactory.create_batch(20, prompt__project=project)
    RankingTaskFactory.create_batch(20, prompt__project=project, answers=2)
    kinds = Counter(task.kind for task in worked_off(alice, 20))
    assert kinds["ranking"] > 10  # fewer than 11 of 20 at 9 to 1: once in a million


def test_the_most_uncertain_group_comes_first_where_asked_for(
    project: Project, ada: Membership, alice: Membership
) -> None:
    sure, unsure, unscored = (RankingTaskFactory(prompt__project=project, answers=2) for _ in range(3))
    other = RankingTaskFactory(answers=2)
    scores = {}
    for task, margin in ((sure, 5.0), (unsure, 0.1), (other, 0.0)):
        first, second = task.responses.all()
        scores |= {first.pk: 0.0, second.pk: margin}
    scores[unscored.responses.all()[0].pk] = 1.0
    assert uncertainties_set(project=project, scores=scores, by=ada) == 2
    unsure.refresh_from_db()
    assert unsure.uncertainty == pytest.approx(0.9982, abs=1e-4)
    assert list(candidates(alice, "ranking")) == [sure, unsure, unscored]
    queue_policy_update(project=project, uncertain_first=True, by=ada)
    assert worked_off(alice, 3) == [unsure, sure, unscored]


def test_scores_that_say_nothing_are_refused(project: Project, ada: Membership) -> None:
    with pytest.raises(ScoreError, match="finite"):
        uncertainties_set(project=project, scores={uuid.uuid4(): math.nan}, by=ada)


# --- Counting --------------------------------------------------------------------------------------


def test_labels_are_counted_by_kind_and_category(project: Project, alice: Membership) -> None:
    waiting(project, "chat", 2, overlap=3)
    waiting(project, "chat", 1, state="withdrawn")
    lease(alice)
    assert labels_taken(project)["demonstration"] == {"chat": Taken(1, 5)}
    assert labels_taken(project)["ranking"] == {}


def test_a_large_project_is_not_counted_for_every_task(
    project: Project, alice: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taken_module, "COUNTED_AFRESH_UP_TO", 3)
    waiting(project, "chat", 4)
    before = labels_taken(project)
    late = waiting(project, "extract", 1)[0]
    with CaptureQueriesContext(connection) as captured:
        assert labels_taken(project) == before
    assert len(captured) == 0
    assert worked_off(alice, 5)[-1] == late, "a category that is not counted yet is starved"


def test_while_somebody_counts_the_others_use_what_was_counted_before(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taken_module, "COUNTED_AFRESH_UP_TO", 3)
    waiting(project, "chat", 4)
    before = labels_taken(project)
    monkeypatch.setattr(taken_module, "SECONDS_KEPT", 0)
    waiting(project, "chat", 1)
    cache.add(f"labels-taken:{project.pk}:counting", True, 60)
    assert labels_taken(project) == before
    cache.delete(f"labels-taken:{project.pk}:counting")
    assert labels_taken(project)["demonstration"]["chat"].waiting == 5


def test_the_next_task_of_many_categories_costs_the_same_whatever_they_hold(project: Project) -> None:
    def queries() -> int:
        labeler = MembershipFactory(project=project)
        with CaptureQueriesContext(connection) as captured:
            lease(labeler)
        return len(captured)

    for category in ("chat", "other", "extract"):
        waiting(project, category, 2, overlap=9)
        RankingTaskFactory.create_batch(2, prompt__project=project, prompt__category=category, overlap=9, answers=2)
    queries()  # a task's first slot is given without a look at the others
    few = queries()
    for category in ("chat", "other", "extract", "rewrite"):
        waiting(project, category, 20, overlap=9)
    assert queries() == few <= 22


@pytest.mark.parametrize(
    ("order", "index"),
    [(("-priority", "id"), "task_queue_category"), (("-priority", "-uncertainty", "id"), "task_queue_uncertain")],
)
def test_the_best_task_of_a_category_is_found_by_an_index(
    project: Project, alice: Membership, order: tuple[str, ...], index: str
) -> None:
    waiting(project, "chat", 30)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # so small a table would be read whole
            cursor.execute("SET LOCAL enable_bitmapscan = off")
    plan = candidates(alice, "demonstration").filter(category="chat").order_by(*order)[:1].explain()
    assert index in plan
    assert "TEMP B-TREE" not in plan and "Sort" not in plan


# --- Settings --------------------------------------------------------------------------------------


def test_the_policy_is_of_one_project_and_audited_when_it_changes(project: Project, ada: Membership) -> None:
    for _ in range(2):
        queue_policy_update(project=project, quotas={"chat": 3, "other": 0}, review_after_skips=5, by=ada)
    row = QueuePolicy.objects.get()
    assert (row.quotas, row.review_after_skips) == ({"chat": 3.0}, 5)
    assert AuditEvent.objects.get(verb="queue.policy").detail == {"quotas": {"chat": 3.0}, "review_after_skips": 5}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quotas": {"poems": 5}}, "no category poems"),
        ({"quotas": {"chat": -1}}, "from 0 to 100"),
        ({"quotas": {"chat": math.nan}}, "from 0 to 100"),
        ({"review_after_skips": 101}, "from 0 to 100"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(
    project: Project, ada: Membership, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(QueueSettingsError, match=words):
        queue_policy_update(project=project, by=ada, **changes)
    assert not QueuePolicy.objects.exists()


# --- Review ----------------------------------------------------------------------------------------


def skipped_by(people: list[Membership], reason: str = "unclear") -> None:
    for person in people:
        assignment_skip(assignment=lease(person), reason=reason, by=person)


def test_what_two_skipped_goes_to_review_and_back(project: Project, ada: Membership) -> None:
    queue_policy_update(project=project, review_after_skips=2, by=ada)
    task = TaskFactory(prompt__project=project)
    people = MembershipFactory.create_batch(4, project=project)
    skipped_by(people[:2])
    assert assignment_next(labeler=people[2]) is None
    found = list(tasks_in_review(project))
    assert found == [task]
    assert [(row.labeler, row.skip_reason) for row in found[0].skipped] == [(one, "unclear") for one in people[:2]]
    assert AuditEvent.objects.get(verb="task.to_review").detail == {"skips": 2}
    task_put_back(task=task, by=ada)
    skipped_by([people[2]])  # counted from 0 again
    assert lease(people[3]).task == task


def test_skipping_the_same_task_again_counts_once(project: Project, ada: Membership, alice: Membership) -> None:
    queue_policy_update(project=project, review_after_skips=2, by=ada)
    task = TaskFactory(prompt__project=project)
    assignment = lease(alice)
    for _ in range(3):
        assignment_skip(assignment=assignment, reason="other", by=alice)
    task.refresh_from_db()
    assert (task.skips, task.state) == (1, "open")


def test_a_label_in_work_counts_though_the_task_went_to_review(
    project: Project, ada: Membership, alice: Membership, bob: Membership
) -> None:
    from tests.annotation.test_queue import submit

    queue_policy_update(project=project, review_after_skips=1, by=ada)
    task = TaskFactory(prompt__project=project, overlap=2)
    held = lease(alice)
    skipped_by([bob])
    submit(held)
    task.refresh_from_db()
    assert (task.state, task.open_slots) == ("review", 1)
    task_put_back(task=task, by=ada)
    submit(lease(MembershipFactory(project=project)))
    task.refresh_from_db()
    assert task.state == "complete"


def test_a_withdrawn_task_is_decided_once(project: Project, ada: Membership, alice: Membership) -> None:
    task = TaskFactory(prompt=PromptFactory(project=project), state="review")
    task_withdraw(task=task, by=ada)
    assert assignment_next(labeler=alice) is None and not tasks_in_review(project)
    for decide in (task_withdraw, task_put_back):
        with pytest.raises(ReviewError, match="not in review"):
            decide(task=task, by=ada)
