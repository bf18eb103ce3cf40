"""What hangs on a run: what would go with it, and what forbids that it goes."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.models import AssignmentStatus, Demonstration, Ranking, Response, Task
from training.models import ENDED, Model, Round, Run
from training.selectors.lineage import children_of


@dataclass(frozen=True)
class Obstacle:
    """Something that forbids the deletion, and what a person can do about it."""

    words: str
    runs: tuple[Run, ...] = ()


@dataclass
class Dependents:
    """All that hangs on one run."""

    run: Run
    model: Model | None
    responses: int
    tasks: int
    checkpoints: int
    files_bytes: int
    rounds: list[Round]
    children: list[Run]
    obstacles: list[Obstacle] = field(default_factory=list)

    @property
    def may_go(self) -> bool:
        return not self.obstacles


def responses_of(run: Run) -> QuerySet[Response]:
    """Answers that it gave, and those that its model gave in other runs."""
    return Response.objects.filter(Q(run=run) | Q(model__run=run))


def tasks_of(run: Run) -> QuerySet[Task]:
    """Tasks that show at least one of its answers."""
    return Task.objects.filter(task_responses__response__in=responses_of(run)).distinct()


def dependents_of(run: Run) -> Dependents:
    model = Model.objects.filter(run=run).select_related("artifact").first()
    rounds = list(Round.objects.filter(Q(sampling_run=run) | Q(policy__run=run) | Q(reward_model__run=run)))
    checkpoints = list(run.checkpoints.select_related("artifact"))
    size = sum(checkpoint.artifact.size for checkpoint in checkpoints) + (model.artifact.size if model else 0)
    found = Dependents(
        run=run,
        model=model,
        responses=responses_of(run).count(),
        tasks=tasks_of(run).count(),
        checkpoints=len(checkpoints),
        files_bytes=size,
        rounds=rounds,
        children=children_of(run),
    )
    found.obstacles = obstacles_of(found)
    return found


def obstacles_of(found: Dependents) -> list[Obstacle]:
    obstacles = [still_going(found.run), used_by_runs(found.children), labels_on(found.run), in_work(found.run)]
    return [obstacle for obstacle in obstacles if obstacle]


def still_going(run: Run) -> Obstacle | None:
    if run.state in ENDED:
        return None
    words = _("It is not over: it is %(state)s. Cancel it first.")
    return Obstacle(words % {"state": run.get_state_display().lower()})


def used_by_runs(children: list[Run]) -> Obstacle | None:
    """A child's record of what it was made of would lose its ground."""
    if not children:
        return None
    words = ngettext(
        "%(n)s run read its model. Delete that run first.",
        "%(n)s runs read its model. Delete those runs first.",
        len(children),
    )
    return Obstacle(words % {"n": len(children)}, tuple(children))


def labels_on(run: Run) -> Obstacle | None:
    """Labels are never thrown away: what they speak about has to stay."""
    answers = responses_of(run)
    tasks = tasks_of(run)
    labels = Ranking.objects.filter(Q(ranked_responses__response__in=answers) | Q(task__in=tasks)).distinct().count()
    written = Q(corrects__in=answers) | Q(response__in=answers) | Q(task__in=tasks)
    labels += Demonstration.objects.filter(written).distinct().count()
    if not labels:
        return None
    words = ngettext(
        "%(n)s label depends on its answers, and labels are never deleted, so the run stays. Filter it out of the list"
        " if it is in the way.",
        "%(n)s labels depend on its answers, and labels are never deleted, so the run stays. Filter it out of the list"
        " if it is in the way.",
        labels,
    )
    return Obstacle(words % {"n": labels})


def in_work(run: Run) -> Obstacle | None:
    """Someone is writing on a task that shows its answers."""
    held = tasks_of(run).filter(assignments__status=AssignmentStatus.LEASED).distinct().count()
    if not held:
        return None
    words = ngettext(
        "%(n)s task with its answers is in a labeler's hands. Wait until it is handed in or given back.",
        "%(n)s tasks with its answers are in labelers' hands. Wait until they are handed in or given back.",
        held,
    )
    return Obstacle(words % {"n": held})
