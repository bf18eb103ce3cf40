"""The simulated labelers at work: they take tasks from the queue as people do, and their labels are marked."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from itertools import cycle, islice
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotation.fields import SkipReason
from annotation.models import Assignment, Membership, Origin, Project, Task, TaskKind, TaskState
from annotation.services.labels import RankedItem, demonstration_submit, ranking_submit
from annotation.services.queue import assignment_next, assignment_skip
from demo.gold import score
from demo.labelers import Panel, calibrate
from demo.project import simulated_labelers
from demo.prompts import find_prompt
from demo.recipe import WRITING
from demo.records import demonstration_text

TOGETHER: Final = 20
"""Labels in one transaction: quick on a disk that is slow to sync, and short enough that nobody waits."""
LET_OTHERS_WRITE_SECONDS: Final = 0.05
"""A pause between transactions: SQLite is not fair, and a loop without one shuts every other writer out."""
LEFT_FOR_VISITORS: Final = 12
"""Tasks of each kind that the simulated labelers leave in the queue."""


def write_demonstrations(project: Project) -> int:
    """Let simulated labelers write until only the visitor's share is left; returns how many they wrote."""
    return work_through(project, TaskKind.DEMONSTRATION, lambda _name, labeler: write_one(labeler))


def rank_answers(project: Project) -> int:
    """Let simulated labelers rank until only the visitor's share is left; returns how many rankings they made."""
    if open_tasks(project, TaskKind.RANKING) <= visitors_share():
        return 0
    panel = calibrated_panel(project)
    return work_through(project, TaskKind.RANKING, lambda name, labeler: rank_one(labeler, name, panel))


def work_through(project: Project, kind: str, work_one: Callable[[str, Membership], int]) -> int:
    """Give the labelers tasks in turn until enough are done, or none of them gets one any more."""
    if open_tasks(project, kind) <= visitors_share():
        return 0
    labelers = simulated_labelers(project)
    turn = cycle(labelers.items())
    done = idle = 0
    while (left := open_tasks(project, kind) - visitors_share()) > 0 and idle < len(labelers):
        with transaction.atomic():
            for name, labeler in islice(turn, min(TOGETHER, left)):
                made = work_one(name, labeler)
                done += made
                idle = 0 if made else idle + 1
        time.sleep(LET_OTHERS_WRITE_SECONDS)
    return done


def open_tasks(project: Project, kind: str) -> int:
    return Task.objects.filter(project=project, kind=kind, state=TaskState.OPEN, open_slots__gt=0).count()


def visitors_share() -> int:
    return 0 if settings.DEMO_HEADLESS else LEFT_FOR_VISITORS


def write_one(labeler: Membership) -> int:
    assignment = assignment_next(labeler=labeler, kind=TaskKind.DEMONSTRATION)
    if assignment is None:
        return 0
    prompt = find_prompt(assignment.task.messages)
    if prompt is None:
        return pass_on(assignment)
    demonstration_submit(
        assignment=assignment,
        text=demonstration_text(prompt, WRITING, settings.DEMO_SEED),
        submission_id=uuid.uuid4(),
        started_at=timezone.now() - timedelta(seconds=40),
        active_seconds=0,
        by=labeler,
        origin=Origin.SIMULATED,
    )
    return 1


def rank_one(labeler: Membership, name: str, panel: Panel) -> int:
    assignment = assignment_next(labeler=labeler, kind=TaskKind.RANKING)
    if assignment is None:
        return 0
    prompt = find_prompt(assignment.task.messages)
    if prompt is None:
        return pass_on(assignment)
    responses = list(assignment.task.responses.order_by("id"))
    label = panel.rank(prompt.id, name, [score(prompt, response.text) for response in responses])
    items = [
        RankedItem(
            response_id=response.pk, rank=rank, rating=rating, flags=[key for key, seen in flags.items() if seen]
        )
        for response, rank, rating, flags in zip(responses, label.ranks, label.ratings, label.flags, strict=True)
    ]
    ranking_submit(
        assignment=assignment,
        items=items,
        submission_id=uuid.uuid4(),
        started_at=timezone.now() - timedelta(seconds=60),
        active_seconds=0,
        by=labeler,
        origin=Origin.SIMULATED,
    )
    return 1


def pass_on(assignment: Assignment) -> int:
    """A prompt that a visitor brought: the simulated labelers know Fernhill and nothing else."""
    assignment_skip(assignment=assignment, reason=SkipReason.NO_KNOWLEDGE, by=assignment.labeler)
    return 0


def calibrated_panel(project: Project) -> Panel:
    """Labelers as noisy as people are on the answers that are there to be ranked."""
    groups = []
    tasks = Task.objects.filter(project=project, kind=TaskKind.RANKING).select_related("prompt").order_by("id")
    for task in tasks.prefetch_related("responses"):
        prompt = find_prompt(task.messages)
        if prompt is not None:
            groups.append((prompt.id, [score(prompt, response.text) for response in task.responses.all()]))
    return calibrate(groups, seed=settings.DEMO_SEED)
