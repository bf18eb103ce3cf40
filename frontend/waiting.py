"""What waits in each of a person's projects, for their first page. Two queries, however many projects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count

from annotation.models import Project, Task, TaskKind, TaskState
from training.models import HELD, Run, RunState


@dataclass
class Waiting:
    demonstrations: int = 0
    rankings: int = 0
    runs: int = 0


def waiting_in(projects: Iterable[Project]) -> dict[UUID, Waiting]:
    """Open tasks and the runs that go on, by project."""
    ids = [project.pk for project in projects]
    waiting: dict[UUID, Waiting] = defaultdict(Waiting)
    open_tasks = Task.objects.filter(project__in=ids, state=TaskState.OPEN, open_slots__gt=0).order_by()
    for project_id, kind, number in open_tasks.values_list("project", "kind").annotate(number=Count("pk")):
        if kind == TaskKind.DEMONSTRATION:
            waiting[project_id].demonstrations = number
        elif kind == TaskKind.RANKING:
            waiting[project_id].rankings = number
    runs = Run.objects.filter(project__in=ids, state__in=[*HELD, RunState.QUEUED]).order_by()
    for project_id, number in runs.values_list("project").annotate(number=Count("pk")):
        waiting[project_id].runs = number
    return waiting
