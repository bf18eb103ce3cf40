"""How the queue does, for its lead: pace, time a label, backlog, days to the target. Few queries, whatever there is."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDate
from django.utils import timezone

from annotation.fields import Category
from annotation.models import Demonstration, Origin, Project, Ranking, TaskKind, WrittenPrompt
from annotation.pace import days_left, pace, quantile
from annotation.selectors.queue import tasks_in_work
from annotation.selectors.queue_settings import kind_settings
from annotation.selectors.taken import labels_taken

DAYS_SHOWN = 14
LABELS_TIMED = 2000
"""Time a label is of the latest so many of each table: what it takes now, and no more to read as labels grow."""
AnyTable = type[Demonstration] | type[Ranking] | type[WrittenPrompt]
LABEL_TABLES: tuple[AnyTable, ...] = (Demonstration, Ranking, WrittenPrompt)


@dataclass
class KindHealth:
    """One kind of task. `a_day` holds the labels of the last days, the oldest first, today last."""

    kind: str
    label: str = ""
    a_day: list[int] = field(default_factory=list)
    pace: float = 0.0
    median_seconds: float | None = None
    p90_seconds: float | None = None
    backlog: dict[str, int] = field(default_factory=dict)
    """{category: labels that tasks still want and nobody is at work on}"""
    in_work: int = 0
    labels: int = 0
    target_labels: int | None = None
    days_left: int | None = None

    @property
    def waiting(self) -> int:
        return sum(self.backlog.values())

    @property
    def backlog_rows(self) -> list[tuple[str, int]]:
        """The backlog under the categories' names, the largest first."""
        largest_first = sorted(self.backlog.items(), key=lambda item: (-item[1], item[0]))
        return [(str(Category(category).label), number) for category, number in largest_first]


def queue_health(project: Project) -> tuple[list[date], list[KindHealth]]:
    """Return the days shown, the oldest first, and how each kind of task does."""
    days = last_days()
    a_day, seconds = labels_a_day(project, days), seconds_a_label(project)
    in_work, taken, settings = tasks_in_work(project), labels_taken(project), kind_settings(project)
    found = []
    for kind in TaskKind:
        health = KindHealth(kind=kind.value, label=str(kind.label), a_day=a_day[kind], pace=pace(a_day[kind]))
        health.median_seconds = quantile(seconds[kind], 0.5)
        health.p90_seconds = quantile(seconds[kind], 0.9)
        health.backlog = {category: count.waiting for category, count in taken[kind].items() if count.waiting}
        health.in_work = in_work.get(kind, 0)
        health.labels = max(0, sum(count.taken for count in taken[kind].values()) - health.in_work)
        health.target_labels = target = settings[kind].target_labels
        wanted = health.waiting + health.in_work if target is None else target - health.labels
        health.days_left = days_left(wanted, health.pace)
        found.append(health)
    return days, found


def last_days() -> list[date]:
    today = timezone.localdate()
    return [today - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1)]


def own_labels(table: AnyTable, project: Project) -> QuerySet[Any]:
    """First submits by people here: edits, imported and simulated labels say nothing about the pace."""
    labels: QuerySet[Any] = table._default_manager.filter(project=project, revision=1, origin=Origin.HUMAN)
    return labels


def labels_a_day(project: Project, days: list[date]) -> dict[str, list[int]]:
    """How many labels each of the days brought, {kind: [count a day]}. One query a table."""
    since = timezone.make_aware(datetime.combine(days[0], time()))
    counted: dict[tuple[str, date], int] = defaultdict(int)
    for table in LABEL_TABLES:
        labels = own_labels(table, project).filter(submitted_at__gte=since).order_by()
        rows = labels.annotate(day=TruncDate("submitted_at")).values_list("task__kind", "day")
        for kind, day, number in rows.annotate(number=Count("id")):
            counted[kind, day] += number
    return {str(kind): [counted[kind, day] for day in days] for kind in TaskKind.values}


def seconds_a_label(project: Project) -> dict[str, list[float]]:
    """Active seconds of the latest labels, {kind: [seconds]}. One query a table."""
    found: dict[str, list[float]] = defaultdict(list)
    for table in LABEL_TABLES:
        latest = own_labels(table, project).order_by("-submitted_at")
        for kind, seconds in latest.values_list("task__kind", "active_seconds")[:LABELS_TIMED]:
            found[kind].append(seconds)
    return found
