"""What a reward model is unsure of: kept on the task, so that a queue may hand out the most uncertain first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.models import Project, Task, TaskKind, TaskResponse, TaskState
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.uncertainty import pair_uncertainty

MAX_SCORES = 50_000


class ScoreError(PlackettError):
    """Scores that can't be used."""


@transaction.atomic
def uncertainties_set(*, project: Project, scores: Mapping[UUID, float], by: Actor) -> int:
    """Note how unsure a reward model is of each open ranking task, and return of how many.

    scores: {response id: the model's score}. Only tasks all of whose answers have a score are noted.
    """
    if len(scores) > MAX_SCORES:
        raise ScoreError(_("These are too many scores at once; send at most %(limit)s.") % {"limit": MAX_SCORES})
    if not all(math.isfinite(score) for score in scores.values()):
        raise ScoreError(_("A score is not a finite number."))
    rows = TaskResponse.objects.filter(
        task__project=project, task__kind=TaskKind.RANKING, task__state=TaskState.OPEN, response__in=list(scores)
    )
    groups: dict[UUID, list[UUID]] = {}
    wanted = TaskResponse.objects.filter(task__in=rows.values("task")).order_by("task", "id")
    for task_id, response_id in wanted.values_list("task_id", "response_id"):
        groups.setdefault(task_id, []).append(response_id)
    tasks = [
        Task(pk=task_id, uncertainty=pair_uncertainty([scores[key] for key in group]))
        for task_id, group in groups.items()
        if all(key in scores for key in group)
    ]
    Task.objects.bulk_update(tasks, ["uncertainty"], batch_size=500)
    if tasks:
        audit.record(project=project, by=by, verb="queue.scores", target=project, tasks=len(tasks))
    return len(tasks)
