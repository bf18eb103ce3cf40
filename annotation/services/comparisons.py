"""Comparing two models blind: one answer of each to the same prompt, for evaluation alone.

A comparison is a ranking of two answers whose purpose is `eval`, which the tables insist on, so that it never becomes
training data.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.models import Project, Purpose, Response, TaskKind
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.tasks import CHUNK, TaskError, labels_wanted, ranking_chunk


@transaction.atomic
def comparison_tasks_create(
    *, project: Project, first: UUID, second: UUID, by: Actor | None, limit: int | None = None
) -> int:
    """Make a task for each prompt that both models answered, and return how many are new.

    first, second: the models' ids. Their latest answers are compared; where both say the same there is nothing to
    compare. limit: at most so many.
    """
    if first == second:
        raise TaskError(_("A model is not compared with itself. Choose two."))
    for model in (first, second):
        if not Response.objects.filter(project=project, model=model).exists():
            raise TaskError(
                _("The model %(model)s has answered nothing here. Sample from it first.") % {"model": model}
            )
    made, pairs = 0, islice(answer_pairs(project, first, second), limit)
    wanted = labels_wanted(project, TaskKind.COMPARISON, None)
    shared = {"kind": TaskKind.COMPARISON, "purpose": Purpose.EVAL}
    while chunk := list(islice(pairs, CHUNK)):
        made += ranking_chunk(project, chunk, wanted, shared)
    if made:
        audit.record(
            project=project,
            by=by,
            verb="tasks.create",
            target=project,
            kind="comparison",
            made=made,
            models=[str(first), str(second)],
        )
    return made


def answer_pairs(project: Project, first: UUID, second: UUID) -> Iterator[list[Response]]:
    """Yield the latest answers of the two models to each prompt that both answered, by prompt."""
    ours = latest_answers(Response.objects.filter(project=project, model=first).order_by("prompt_id", "id").iterator())
    while chunk := list(islice(ours, CHUNK)):
        prompts = [answer.prompt_id for answer in chunk]
        answers = Response.objects.filter(model=second, prompt__in=prompts).order_by("prompt_id", "id")
        theirs = {answer.prompt_id: answer for answer in answers}
        yield from ([answer, theirs[answer.prompt_id]] for answer in chunk if answer.prompt_id in theirs)


def latest_answers(answers: Iterator[Response]) -> Iterator[Response]:
    """Yield the last answer of each prompt, from answers in the order of their prompts and age."""
    held: Response | None = None
    for answer in answers:
        if held is not None and held.prompt_id != answer.prompt_id:
            yield held
        held = answer
    if held is not None:
        yield held
