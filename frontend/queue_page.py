"""The queue of runs as one person may see it: their own projects' runs by name, others as places in the line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.urls import reverse

from annotation.access import projects_where
from annotation.models import User
from annotation.roles import Capability
from frontend.access import ProjectAccess
from training.models import Run
from training.selectors.workers import Line, Queued, Wait, lines


def readable_projects(user: User) -> set[UUID]:
    """The projects whose runs this person may see."""
    return projects_where(user, Capability.READ_RUNS)


@dataclass(frozen=True)
class Row:
    queued: Queued
    visible: bool
    moves: frozenset[str]
    """Which ways this person may move it."""
    blockers: list[tuple[Run, str]]
    """Running runs that it waits for, with their addresses."""
    hidden_blockers: int


@dataclass(frozen=True)
class LineShown:
    line: Line
    rows: list[Row]
    more: int
    there: int
    drained: int


def queue_context(access: ProjectAccess) -> dict[str, Any]:
    readable = readable_projects(access.user)
    shown = [line_shown(access, line, readable) for line in lines()]
    return {"lines": shown, "waiting": sum(each.line.count for each in shown)}


def line_shown(access: ProjectAccess, line: Line, readable: set[UUID]) -> LineShown:
    movable = [queued.run.pk for queued in line.shown if may_move(access, queued.run)]
    rows = [
        Row(
            queued,
            queued.run.project_id in readable,
            moves_of(queued.run, movable),
            *blockers_of(queued.wait, readable),
        )
        for queued in line.shown
    ]
    drained = sum(1 for each in line.listeners if each.drain)
    return LineShown(line, rows, line.count - len(rows), len(line.listeners), drained)


def may_move(access: ProjectAccess, run: Run) -> bool:
    if not access.can(Capability.LAUNCH):
        return False
    return access.user.is_superuser or run.project_id == access.project.pk


def moves_of(run: Run, movable: Sequence[UUID]) -> frozenset[str]:
    """Up where something that may be moved is above it, down where something is below."""
    if run.pk not in movable:
        return frozenset()
    place = movable.index(run.pk)
    up = {"up", "top"} if place > 0 else set()
    return frozenset(up | ({"down"} if place < len(movable) - 1 else set()))


def blockers_of(wait: Wait, readable: set[UUID]) -> tuple[list[tuple[Run, str]], int]:
    """(runs that this person may see, with their addresses; how many others)."""
    seen = [run for run in wait.runs if run.project_id in readable]
    return [(run, reverse("frontend:run", args=[run.project.slug, run.pk])) for run in seen], len(wait.runs) - len(seen)
