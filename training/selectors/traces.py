"""What of a person is where: their labels, the snapshots that froze any, and the models that were made of those."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from annotation.models import Demonstration, Membership, Prompt, RankedResponse, Ranking, Response
from training.models import Model, Run, Snapshot, SnapshotLabel


@dataclass(frozen=True)
class Traces:
    demonstrations: int
    rankings: int
    ranked_by_others: int
    """Rankings of other people in which an answer of theirs is."""
    prompts: int
    snapshots: list[Snapshot]
    models: list[Model]


def answers_by(member: Membership) -> QuerySet[Response]:
    return Response.objects.filter(author=member)


def rankings_of_answers(member: Membership) -> QuerySet[Ranking]:
    """Other people's rankings that hold an answer by this person."""
    ranked = RankedResponse.objects.filter(response__author=member).values("ranking")
    return Ranking.objects.filter(pk__in=ranked).exclude(labeler=member)


def traces_of(member: Membership) -> Traces:
    snapshots = snapshots_with(member)
    return Traces(
        demonstrations=Demonstration.objects.filter(labeler=member).count(),
        rankings=Ranking.objects.filter(labeler=member).count(),
        ranked_by_others=rankings_of_answers(member).count(),
        prompts=Prompt.objects.filter(author=member).count(),
        snapshots=list(snapshots),
        models=models_made_of(snapshots),
    )


def snapshots_with(member: Membership) -> QuerySet[Snapshot]:
    """Snapshots that froze a label of theirs, in any revision, or a ranking that holds an answer of theirs."""
    labels: list[QuerySet[Any]] = [
        Demonstration.objects.filter(labeler=member).values("pk"),
        Ranking.objects.filter(labeler=member).values("pk"),
        rankings_of_answers(member).values("pk"),
    ]
    held = Q()
    for ids in labels:
        held |= Q(label_id__in=ids)
    found = SnapshotLabel.objects.filter(held, snapshot__project=member.project_id).values("snapshot")
    return Snapshot.objects.filter(pk__in=found).select_related("artifact").order_by("-created_at", "-pk")


def models_made_of(snapshots: Iterable[Snapshot]) -> list[Model]:
    """Every model that any of these went into, directly or through a model made of it, oldest first."""
    runs = Run.objects.filter(inputs__snapshot__in=[snapshot.pk for snapshot in snapshots])
    shaped: dict[UUID, Model] = {}
    generation = {model.pk: model for model in Model.objects.filter(run__in=runs)}
    while generation:
        shaped |= generation
        children = Model.objects.filter(run__inputs__model__in=generation).exclude(pk__in=shaped).distinct()
        generation = {model.pk: model for model in children}
    return sorted(shaped.values(), key=lambda model: (model.created_at, model.pk))
