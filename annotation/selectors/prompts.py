"""Prompts as pages and programs list them."""

from __future__ import annotations

import json
from uuid import UUID

from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from annotation.models import Assignment, AssignmentStatus, ImportState, Project, Prompt, Response

UNSEEN = [state for state in ImportState.values if state != ImportState.SUCCEEDED]


def prompts_list(
    project: Project,
    *,
    pool: str = "",
    split: str = "",
    category: str = "",
    language: str = "",
    text: str = "",
    withdrawn: bool | None = False,
) -> QuerySet[Prompt]:
    """The project's prompts, oldest first, each with `response_count` and `label_count`.

    An empty filter filters nothing; `withdrawn` None shows both kinds.
    """
    wanted = {"pool": pool, "split": split, "category": category, "language": language}
    prompts = Prompt.objects.filter(project=project, **{name: value for name, value in wanted.items() if value})
    if withdrawn is not None:
        prompts = prompts.filter(withdrawn_at__isnull=not withdrawn)
    if text:
        prompts = prompts.filter(holds_text(text))
    return with_counts(prompts.select_related("batch").order_by("id"))


def holds_text(text: str) -> Q:
    """A condition: the text is in the conversation. SQLite keeps JSON with escapes, PostgreSQL without."""
    escaped = json.dumps(text)[1:-1]
    said = Q(messages__icontains=text)
    if escaped != text:
        said |= Q(messages__icontains=escaped)
    return said | Q(source_id=text) | Q(group=text)


def with_counts(prompts: QuerySet[Prompt]) -> QuerySet[Prompt]:
    responses = Response.objects.filter(prompt=OuterRef("pk"))
    labels = Assignment.objects.filter(task__prompt=OuterRef("pk"), status=AssignmentStatus.SUBMITTED)
    return prompts.annotate(response_count=count_of(responses, "prompt"), label_count=count_of(labels, "task__prompt"))


def count_of(rows: QuerySet[Response] | QuerySet[Assignment], field: str) -> Coalesce:
    """A subquery that counts, so that two counts don't multiply each other as two joins would."""
    counted = rows.order_by().values(field).annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


def prompt_counts(project: Project) -> dict[str, dict[str, int]]:
    """How many prompts are offered, {pool: {split: n}}."""
    counts: dict[str, dict[str, int]] = {}
    offered = Prompt.objects.filter(project=project, withdrawn_at__isnull=True).order_by()
    for pool, split, number in offered.values_list("pool", "split").annotate(number=Count("id")):
        counts.setdefault(pool, {})[split] = number
    return counts


def responses_of(prompt_id: UUID) -> QuerySet[Response]:
    """The answers to a prompt with who wrote them; none of an import that goes on, or ended without showing them."""
    found = Response.objects.filter(prompt=prompt_id).exclude(batch__state__in=UNSEEN)
    return found.select_related("author", "model", "run").order_by("id")
