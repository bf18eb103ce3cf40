"""How the queue stands."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q, Sum
from django.db.models.functions import Now

from annotation.models import Assignment, AssignmentStatus, Membership, Project, Task, TaskKind, TaskState
from annotation.selectors.limits import left_today
from annotation.selectors.rules import rules_of
from annotation.services.queue import candidates

COUNTED_AT_MOST = 1000


@dataclass
class KindCounts:
    """One kind of task: how many of each state, the labels wanted still, the leases that are out now."""

    open: int = 0
    complete: int = 0
    withdrawn: int = 0
    review: int = 0
    open_slots: int = 0
    in_work: int = 0

    @property
    def total(self) -> int:
        return self.open + self.complete + self.withdrawn + self.review


def queue_counts(project: Project) -> dict[str, KindCounts]:
    """How the project's queue stands, by kind of task, in two queries."""
    counts = {str(kind): KindCounts() for kind in TaskKind.values}
    states = Task.objects.filter(project=project).order_by().values_list("kind", "state")
    for kind, state, number, slots in states.annotate(number=Count("id"), slots=Sum("open_slots")):
        setattr(counts[kind], state, number)
        if state == TaskState.OPEN:
            counts[kind].open_slots = slots or 0
    for kind, number in tasks_in_work(project).items():
        counts[kind].in_work = number
    return counts


def tasks_in_work(project: Project) -> dict[str, int]:
    """How many leases are out now, by kind of task."""
    live = Assignment.objects.filter(
        Q(status=AssignmentStatus.LEASED, lease_until__gte=Now()), task__project=project
    ).order_by()
    return dict(live.values_list("task__kind").annotate(number=Count("id")))


def waiting_for(labeler: Membership) -> dict[str, int]:
    """How many tasks of each kind this labeler could be given now, counted to a thousand or to their day's limit."""
    policy = rules_of(labeler.project).policy
    left = left_today(labeler)
    most = COUNTED_AT_MOST if left is None else min(left, COUNTED_AT_MOST)
    return {
        str(kind): candidates(labeler, kind).order_by()[:most].count() if policy.weight(kind) and most else 0
        for kind in TaskKind.values
    }
