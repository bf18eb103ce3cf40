"""Metrics as columns, and how they are thinned. Pure: no database.

A chunk is {"step": [...], "loss/train": [..., null, ...], ...}: columns as long as "step", null for no value.
Level n holds one point for each 8^n steps: the mean of the values there, at the last step that has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Columns = dict[str, list[Any]]

CHUNK_POINTS = 256
FACTOR = 8
HIGHEST_LEVEL = 4


def append(columns: Columns, step: int, metrics: Mapping[str, float]) -> None:
    """Add a point at the end; a metric that was not there before is null in the points before."""
    for values in columns.values():
        values.append(None)
    columns["step"][-1] = step
    for name, value in metrics.items():
        if name != "step":
            columns.setdefault(name, [None] * len(columns["step"]))[-1] = value


def rising(points: Iterable[tuple[int, Mapping[str, float]]], *, after: int) -> list[tuple[int, dict[str, float]]]:
    """The points in rising order of steps, those of one step merged; what is not after `after` is left out."""
    merged: dict[int, dict[str, float]] = {}
    for step, metrics in points:
        if step > after:
            merged.setdefault(step, {}).update(metrics)
    return sorted(merged.items())


def points_of(columns: Columns) -> list[tuple[int, dict[str, float]]]:
    """The columns' points again, without the nulls."""
    names = [name for name in columns if name != "step"]
    return [
        (step, {name: columns[name][index] for name in names if columns[name][index] is not None})
        for index, step in enumerate(columns["step"])
    ]


def thinned(columns: Columns, factor: int = FACTOR) -> list[tuple[int, dict[str, float]]]:
    """One point for each `factor` points: the mean of each metric's values, at the last step."""
    points = points_of(columns)
    return [merged(points[start : start + factor]) for start in range(0, len(points), factor)]


def merged(points: list[tuple[int, dict[str, float]]]) -> tuple[int, dict[str, float]]:
    values: dict[str, list[float]] = {}
    for _, metrics in points:
        for name, value in metrics.items():
            values.setdefault(name, []).append(value)
    return points[-1][0], {name: sum(found) / len(found) for name, found in values.items()}


def level_for(steps: int, points: int) -> int:
    """The coarsest level that still has so many points for so many steps."""
    level = 0
    while level < HIGHEST_LEVEL and steps // FACTOR ** (level + 1) >= points:
        level += 1
    return level
