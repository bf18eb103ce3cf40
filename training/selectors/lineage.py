"""What came of what: from a model to every label behind it, from a label to every model that it shaped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from training.models import Model, Run, RunInput, Snapshot, SnapshotKind, SnapshotLabel


@dataclass(frozen=True)
class LabelsBehind:
    """The labels that a model was trained on, by itself or through the models that it came from."""

    total: int
    kinds: list[tuple[str, int]]
    """(kind of label, how many different ones)"""
    snapshots: list[Snapshot]


def run_inputs(runs: set[UUID]) -> list[RunInput]:
    return list(RunInput.objects.filter(run__in=runs).select_related("snapshot", "model"))


def ancestry(model: Model) -> tuple[list[Model], list[Snapshot]]:
    """(models that it came from, snapshots that it or they were made of); a query for each generation."""
    parents: dict[UUID, Model] = {}
    snapshots: dict[UUID, Snapshot] = {}
    generation = {model.run_id} - {None}
    while generation:
        inputs = run_inputs({run for run in generation if run})
        snapshots |= {item.snapshot.pk: item.snapshot for item in inputs if item.snapshot}
        fresh = {item.model.pk: item.model for item in inputs if item.model and item.model.pk not in parents}
        parents |= fresh
        generation = {found.run_id for found in fresh.values()} - {None}
    return list(parents.values()), list(snapshots.values())


def erased_behind(model: Model) -> list[Snapshot]:
    """The erased snapshots that it, or a model that it came from, was trained on."""
    return [snapshot for snapshot in ancestry(model)[1] if snapshot.erased_at]


def labels_behind(model: Model) -> LabelsBehind:
    snapshots = ancestry(model)[1]
    kinds = {snapshot.pk: SnapshotKind(snapshot.kind) for snapshot in snapshots}
    labels = SnapshotLabel.objects.filter(snapshot__in=kinds).values_list("label_id", "snapshot_id")
    kind_of = {label: kinds[snapshot] for label, snapshot in labels}
    counts = Counter(kind_of.values())
    return LabelsBehind(
        total=len(kind_of),
        kinds=[(str(kind.label), counts[kind]) for kind in SnapshotKind if counts[kind]],
        snapshots=[item for item in snapshots if item.kind in {SnapshotKind.DEMONSTRATIONS, SnapshotKind.RANKINGS}],
    )


def models_shaped_by(label_id: UUID) -> list[Model]:
    """Every model that a label went into, directly or through a model made of it, oldest first."""
    direct = Run.objects.filter(inputs__snapshot__labels__label_id=label_id).values_list("pk", flat=True)
    shaped: dict[UUID, Model] = {}
    generation = {model.pk: model for model in Model.objects.filter(run__in=list(direct))}
    while generation:
        shaped |= generation
        children = Model.objects.filter(run__inputs__model__in=generation).exclude(pk__in=shaped).distinct()
        generation = {model.pk: model for model in children}
    return sorted(shaped.values(), key=lambda model: (model.created_at, model.pk))


def parents_of(run: Run) -> list[RunInput]:
    """What a run reads."""
    return run_inputs({run.pk})


def children_of(run: Run) -> list[Run]:
    """The runs that read the model which this run made."""
    return list(Run.objects.filter(inputs__model__run=run).distinct().order_by("created_at"))
