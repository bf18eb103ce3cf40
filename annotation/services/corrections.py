"""Correcting what a model answered: the correction is a demonstration, and a new answer to the prompt."""

from __future__ import annotations

from itertools import islice
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.models import Project, Prompt, Response, Task, TaskKind, TaskResponse
from annotation.overlaps import Overlap
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.comparisons import latest_answers
from annotation.services.tasks import CHUNK, TaskError, group_key, labels_wanted, purpose_of, with_slots


@transaction.atomic
def correction_tasks_create(*, project: Project, model: UUID, by: Actor | None, limit: int | None = None) -> int:
    """Make a task for the model's latest answer to each prompt, and return how many are new.

    model: its id. An empty answer has nothing to correct. limit: at most so many answers.
    """
    answers = Response.objects.filter(project=project, model=model, prompt__withdrawn_at__isnull=True)
    if not answers.exists():
        words = _("The model %(model)s has answered nothing here. Sample from it first.")
        raise TaskError(words % {"model": model})
    latest = islice(latest_answers(answers.exclude(text="").order_by("prompt_id", "id").iterator()), limit)
    made, wanted = 0, labels_wanted(project, TaskKind.CORRECTION, None)
    while chunk := list(islice(latest, CHUNK)):
        made += correction_chunk(project, chunk, wanted)
    if made:
        audit.record(
            project=project, by=by, verb="tasks.create", target=project, kind="correction", made=made, model=str(model)
        )
    return made


def correction_chunk(project: Project, answers: list[Response], labels: Overlap) -> int:
    prompts = Prompt.objects.in_bulk([answer.prompt_id for answer in answers])
    wanted = {group_key([answer.pk]): answer for answer in answers}
    stored = Task.objects.filter(project=project, kind=TaskKind.CORRECTION, group_key__in=wanted)
    have = set(stored.values_list("group_key", flat=True))
    fresh = {key: answer for key, answer in wanted.items() if key not in have}
    tasks = [correction_task(project, prompts[answer.prompt_id], key, labels) for key, answer in fresh.items()]
    Task.objects.bulk_create(tasks, ignore_conflicts=True)
    made = set(Task.objects.filter(pk__in=[task.pk for task in tasks]).values_list("pk", flat=True))
    TaskResponse.objects.bulk_create(
        TaskResponse(task=task, response=fresh[task.group_key]) for task in tasks if task.pk in made
    )
    return len(made)


def correction_task(project: Project, prompt: Prompt, key: str, labels: Overlap) -> Task:
    task = Task(
        project=project,
        kind=TaskKind.CORRECTION,
        prompt=prompt,
        category=prompt.category,
        language=prompt.language,
        purpose=purpose_of(prompt),
        group_key=key,
    )
    return with_slots(task, labels, key=key)
