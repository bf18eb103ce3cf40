"""What labelers said when they compared models blind."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, F, OuterRef, Q, Subquery, UUIDField

from annotation.models import Project, RankedResponse, TaskKind


@dataclass(frozen=True)
class Comparison:
    """Two models by their ids, and how often which answer was the better one."""

    first: UUID
    second: UUID
    first_wins: int
    second_wins: int
    ties: int

    @property
    def compared(self) -> int:
        return self.first_wins + self.second_wins + self.ties

    @property
    def win_rate(self) -> float:
        """The share of comparisons that the first model won, a tie counting half."""
        return (self.first_wins + self.ties / 2) / self.compared

    @property
    def percent(self) -> float:
        return 100 * self.win_rate


def comparison_results(project: Project) -> list[Comparison]:
    """Return what is known of each pair of models, from current labels that count. One query."""
    ranked = RankedResponse.objects.filter(
        ranking__project=project,
        ranking__task__kind=TaskKind.COMPARISON,
        ranking__is_current=True,
        ranking__counts=True,
        response__model__isnull=False,
    )
    other = RankedResponse.objects.filter(ranking=OuterRef("ranking")).exclude(pk=OuterRef("pk"))
    pairs = ranked.annotate(
        # Said, since SQLite keeps ids as text.
        other=Subquery(other.values("response__model")[:1], output_field=UUIDField()),
        other_rank=Subquery(other.values("rank")[:1]),
    ).filter(response__model__lt=F("other"))  # each pair once, whichever answer stood first
    rows = (
        pairs.order_by()
        .values("response__model", "other")
        .annotate(
            won=Count("pk", filter=Q(rank__lt=F("other_rank"))),
            lost=Count("pk", filter=Q(rank__gt=F("other_rank"))),
            tied=Count("pk", filter=Q(rank=F("other_rank"))),
        )
        .order_by("response__model", "other")
    )
    return [Comparison(row["response__model"], row["other"], row["won"], row["lost"], row["tied"]) for row in rows]
