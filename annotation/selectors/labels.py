"""Labels as their labeler looks back at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload
from uuid import UUID

from django.db.models import Count, QuerySet
from django.utils import timezone

from annotation.models import (
    Assignment,
    AssignmentStatus,
    Demonstration,
    Membership,
    Project,
    Ranking,
    Response,
    WrittenPrompt,
)
from annotation.models.tasks import RANKED, WRITTEN

AnyLabel = Demonstration | Ranking | WrittenPrompt
TABLES: tuple[type[AnyLabel], ...] = (Demonstration, Ranking, WrittenPrompt)
UNFINISHED_SHOWN = 10


class LabelList(Sequence[AnyLabel]):
    """A labeler's current labels of all kinds, newest first, read a page at a time: what a Paginator wants."""

    def __init__(self, labeler: Membership) -> None:
        self.labeler = labeler
        self.length: int | None = None

    def current(self, table: type[AnyLabel]) -> QuerySet[Any]:
        return table._default_manager.filter(labeler=self.labeler, is_current=True)

    def __len__(self) -> int:
        if self.length is None:
            self.length = sum(self.current(table).count() for table in TABLES)
        return self.length

    def count(self, value: object = None) -> int:
        return len(self)

    @overload
    def __getitem__(self, index: int) -> AnyLabel: ...
    @overload
    def __getitem__(self, index: slice) -> list[AnyLabel]: ...
    def __getitem__(self, index: int | slice) -> AnyLabel | list[AnyLabel]:
        if isinstance(index, slice):
            return self.page(index)
        return self.page(slice(index, index + 1))[0]

    def __iter__(self) -> Iterator[AnyLabel]:
        return iter(self.page(slice(None)))

    def page(self, which: slice) -> list[AnyLabel]:
        first, *others = [self.current(table).order_by().values_list("submitted_at", "id") for table in TABLES]
        keys = first.union(*others, all=True).order_by("-submitted_at", "-id")
        ids: list[UUID] = [key for _moment, key in keys[which]]
        found: dict[UUID, AnyLabel] = {}
        for table in TABLES:
            rows = table._default_manager.filter(pk__in=ids).select_related("task", "prompt", "assignment")
            found |= {row.pk: row for row in rows}
        return [found[key] for key in ids]


def labels_of(labeler: Membership) -> LabelList:
    """The labels that a member made, as they stand now."""
    return LabelList(labeler)


def done_by(labeler: Membership) -> dict[str, int]:
    """How many tasks this labeler has labeled: {"today", "total"}."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    counts = {"today": 0, "total": 0}
    for table in TABLES:
        current: QuerySet[Any] = table._default_manager.filter(labeler=labeler, is_current=True)
        counts["total"] += current.count()
        counts["today"] += current.filter(submitted_at__gte=midnight).count()
    return counts


def label_current(assignment: Assignment) -> AnyLabel | None:
    """The label of an assignment as it stands, or None while there is none."""
    return current_of(label_history(assignment))


def current_of(revisions: Sequence[AnyLabel]) -> AnyLabel | None:
    """The one of a label's revisions that stands."""
    return next((label for label in revisions if label.is_current), None)


def label_history(assignment: Assignment) -> list[AnyLabel]:
    """The revisions of an assignment's label, newest first. Who has not submitted it has none: no query."""
    kind = assignment.task.kind
    if assignment.status != AssignmentStatus.SUBMITTED:
        return []
    if kind in RANKED:
        rankings = Ranking.objects.filter(assignment=assignment).select_related("guideline", "form")
        return list(rankings.prefetch_related("ranked_responses__response").order_by("-revision"))
    if kind in WRITTEN:
        written = Demonstration.objects.filter(assignment=assignment).select_related("response", "guideline")
        return list(written.order_by("-revision"))
    prompts = WrittenPrompt.objects.filter(assignment=assignment).select_related("prompt", "guideline")
    return list(prompts.order_by("-revision"))


def responses_presented(assignment: Assignment) -> list[Response]:
    """The task's answers in the order in which this labeler sees them."""
    found = {str(response.pk): response for response in assignment.task.responses.all()}
    return [found[key] for key in assignment.presented_order]


def label_counts(project: Project) -> dict[str, dict[str, int]]:
    """How many current labels there are, {kind: {origin: n}}."""
    counts: dict[str, dict[str, int]] = {}
    for name, kind in (("demonstrations", Demonstration), ("rankings", Ranking)):
        current: QuerySet[Any] = kind._default_manager.filter(project=project, is_current=True).order_by()
        counts[name] = dict(current.values_list("origin").annotate(number=Count("id")))
    return counts


def assignment_of_label(project: Project, label_id: UUID) -> UUID | None:
    """The assignment that a label, or an earlier revision of it, belongs to."""
    for kind in (Demonstration, Ranking, WrittenPrompt):
        labels: QuerySet[Any] = kind._default_manager.filter(project=project, pk=label_id)
        found: UUID | None = labels.values_list("assignment", flat=True).first()
        if found is not None:
            return found
    return None


def unfinished_of(labeler: Membership) -> QuerySet[Assignment]:
    """The labeler's latest drafts of tasks whose lease ran out: nobody hands them these again if others took them."""
    left = labeler.assignments.filter(status=AssignmentStatus.EXPIRED, draft_saved_at__isnull=False)
    return left.select_related("task").order_by("-draft_saved_at")[:UNFINISHED_SHOWN]
