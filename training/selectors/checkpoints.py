"""Reading a run's checkpoints, and what a copied run differs in from the one that it was copied from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.errors import RunError
from training.models import Checkpoint, Run, RunState
from training.selectors.runs import metric_series
from training.services.runs import check_config

METRICS = ("loss/validation", "objective/score", "accuracy/validation", "loss/train")  # the first that there is
SERIES_POINTS = 500

# What may be done with a checkpoint, by the run's state.
OFFERS = {RunState.FAILED: "go_on", RunState.PAUSED: "go_on", RunState.CANCELLED: "copy"}


@dataclass(frozen=True)
class CheckpointRow:
    checkpoint: Checkpoint
    metric: str
    value: float | None
    newest: bool
    """The one that the next attempt goes on from by itself."""


def checkpoints_of(run: Run) -> list[CheckpointRow]:
    """Newest first, each with the metric that tells most as it stood then. A few queries, however many there are."""
    rows = list(run.checkpoints.select_related("artifact").order_by("-step", "-attempt"))
    if not rows:
        return []
    series = metric_series(run, METRICS, points=SERIES_POINTS)
    name = next((name for name in METRICS if any(value is not None for value in series.get(name, ()))), "")
    newest = next((row.pk for row in rows if not row.set_aside), None)
    return [CheckpointRow(row, name, value_at(series, name, row.step), row.pk == newest) for row in rows]


def value_at(series: dict[str, list[Any]], name: str, step: int) -> float | None:
    """The last value up to this step."""
    known = [value for at, value in zip(series["step"], series.get(name, ()), strict=False) if at <= step]
    return next((value for value in reversed(known) if value is not None), None)


@dataclass(frozen=True)
class Difference:
    kind: str
    """config, input, seed or numerics"""
    name: str
    before: Any
    after: Any


def differences(run: Run) -> list[Difference]:
    """What this run was asked for otherwise than the one it was copied from; empty where nothing, or no such run."""
    parent = run.cloned_from
    if parent is None or parent.stage != run.stage:
        return []
    found = compared("config", whole_config(parent), whole_config(run))
    found += compared("input", input_names(parent), input_names(run))
    found += compared("seed", {"seed": parent.seed}, {"seed": run.seed})
    return found + compared("numerics", parent.numerics, run.numerics)


def compared(kind: str, before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    names = sorted(set(before) | set(after))
    return [
        Difference(kind, name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def whole_config(run: Run) -> dict[str, Any]:
    """With the defaults filled in, so that naming a default is no difference."""
    try:
        return check_config(run.stage, run.config)
    except RunError:  # a setting of an older version
        return run.config


def input_names(run: Run) -> dict[str, str]:
    return {item.name: str(item.model or item.snapshot) for item in run.inputs.select_related("model", "snapshot")}
