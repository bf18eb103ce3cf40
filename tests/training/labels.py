"""Labels by the real services, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

from annotation.models import Assignment, Demonstration, Membership, Project, Prompt, Ranking, Response
from annotation.services.labels import RankedItem, demonstration_submit, ranking_submit
from annotation.services.prompts import PromptRow, prompts_add
from annotation.services.queue import assignment_next
from annotation.services.tasks import demonstration_tasks_create
from tests.factories import PromptFactory


def add_prompts(project: Project, by: Membership, texts: Sequence[str], pool: str) -> list[Prompt]:
    rows = [PromptRow(messages=[{"role": "user", "content": text}]) for text in texts]
    prompts_add(project=project, rows=rows, pool=pool, source="labeler", by=by)
    return list(Prompt.objects.filter(project=project, pool=pool).order_by("id"))


def demonstrate(prompt: Prompt, labeler: Membership, text: str) -> Demonstration:
    demonstration_tasks_create(project=prompt.project, prompts=[prompt], by=labeler)
    assignment = assignment_next(labeler=labeler, kind="demonstration")
    assert assignment is not None
    return submit_demonstration(assignment, text)


def submit_demonstration(assignment: Assignment, text: str) -> Demonstration:
    return demonstration_submit(
        assignment=assignment,
        text=text,
        submission_id=uuid4(),
        started_at=None,
        active_seconds=3,
        by=assignment.labeler,
    )


def demonstrations(project: Project, labeler: Membership, number: int, **values: object) -> list[Demonstration]:
    """So many demonstrations of prompts in the train split (or as `values` say)."""
    prompts = [PromptFactory(project=project, pool="sft", **values) for _ in range(number)]
    return [demonstrate(prompt, labeler, f"It is the answer {prompt.text}") for prompt in prompts]


def rank(assignment: Assignment, score: Callable[[Response], float]) -> Ranking:
    """Rank by a score, best first; equal scores are ties."""
    responses = list(Response.objects.filter(tasks=assignment.task))
    levels = sorted({score(response) for response in responses}, reverse=True)
    items = [RankedItem(response_id=item.pk, rank=levels.index(score(item)) + 1, rating=4) for item in responses]
    return ranking_submit(
        assignment=assignment,
        items=items,
        submission_id=uuid4(),
        started_at=None,
        active_seconds=3,
        by=assignment.labeler,
    )


def rank_everything(labeler: Membership, score: Callable[[Response], float]) -> int:
    count = 0
    while assignment := assignment_next(labeler=labeler, kind="ranking"):
        rank(assignment, score)
        count += 1
    return count
