"""Reading runs: curves joined over attempts and thinned to what a screen shows, samples, log lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Q

from training import metrics
from training.models import MetricChunk, Run, RunLine, RunSample

Points = list[tuple[int, dict[str, float]]]


def metric_series(run: Run, names: Iterable[str] | None = None, points: int = 500) -> dict[str, list[Any]]:
    """{"step": [...], "<metric>": [value or None, ...]} over all attempts, at most about `points` steps.

    A later attempt supersedes what earlier ones wrote after the checkpoint that it started
    from. Three queries, however long the run.
    """
    wanted = set(names) if names is not None else None
    joined = superseded(attempt_points(run, max(points, 1)), starts(run))
    factor = -(-len(joined) // max(points, 1))
    if factor > 1:
        joined = thin(joined, factor)
    return columns(joined, wanted)


def starts(run: Run) -> dict[int, int]:
    """The step that each attempt began after."""
    return dict(run.attempts.values_list("number", "resumed_from"))


def attempt_points(run: Run, points: int) -> dict[int, Points]:
    """Each attempt's points: thinned ones where there are enough, and the finer ones of what was not thinned yet."""
    found: dict[int, Points] = {}
    for attempt, chunk_columns in needed_chunks(run, metrics.level_for(run.step, points)):
        known = found.setdefault(attempt, [])
        end = known[-1][0] if known else -1
        known.extend(point for point in metrics.points_of(chunk_columns) if point[0] > end)
    return found


def needed_chunks(run: Run, level: int) -> Iterable[tuple[int, metrics.Columns]]:
    """(attempt, columns) of the chunks of this level, and of finer ones only where no coarser one reaches.

    What is needed is decided from the chunks' numbers, so that no others are read.
    """
    chunks = MetricChunk.objects.filter(run=run, level__lte=level).order_by("attempt", "-level", "first_step")
    reached: dict[int, int] = {}
    needed = []
    for pk, attempt, last_step in chunks.values_list("pk", "attempt", "last_step"):
        if last_step > reached.get(attempt, -1):
            needed.append(pk)
            reached[attempt] = last_step
    return chunks.filter(pk__in=needed).values_list("attempt", "columns")


def superseded(found: dict[int, Points], resumed_from: dict[int, int]) -> Points:
    """One line through the attempts: each counts up to where the next one that wrote something began."""
    joined: Points = []
    end: float = float("inf")
    for attempt in sorted(found, reverse=True):
        joined = [point for point in found[attempt] if point[0] <= end] + joined
        end = min(end, resumed_from.get(attempt) or -1)  # one that began anew tells step 0 again
    return joined


def thin(points: Points, factor: int) -> Points:
    """Means of `factor` points each; the last point stays as it is, so that a curve ends where the run is."""
    head, last = points[:-1], points[-1]
    return [metrics.merged(head[start : start + factor]) for start in range(0, len(head), factor)] + [last]


def columns(points: Points, wanted: set[str] | None) -> dict[str, list[Any]]:
    names = sorted({name for _, values in points for name in values if wanted is None or name in wanted})
    return {"step": [step for step, _ in points]} | {name: [values.get(name) for _, values in points] for name in names}


def samples_of(run: Run, steps: Sequence[int] | None = None) -> list[RunSample]:
    """What the model answered, newest step first."""
    rows = RunSample.objects.filter(counted(run)).order_by("-step", "index")
    return list(rows if steps is None else rows.filter(step__in=steps))


def sample_steps(run: Run) -> list[int]:
    """The steps with samples, in order."""
    return sorted(RunSample.objects.filter(counted(run)).order_by().values_list("step", flat=True).distinct())


def counted(run: Run) -> Q:
    """The samples that count: each attempt's, up to the step that the next one to start went on from.

    So when someone goes back to an earlier checkpoint, what was answered beyond it is not shown as the newest.
    """
    found, end = Q(pk__in=[]), float("inf")
    for attempt, start, versions in run.attempts.order_by("-number").values_list("number", "resumed_from", "versions"):
        found |= Q(attempt=attempt) if end == float("inf") else Q(attempt=attempt, step__lte=end)
        if versions:  # told with its first event: it did start
            end = min(end, start or -1)
    return Q(run=run) & found


def lines_of(run: Run, *, after: int = 0, limit: int = 500) -> list[RunLine]:
    """The log's last lines in order, or those after one that was seen."""
    rows = RunLine.objects.filter(run=run, pk__gt=after).order_by("-pk")[:limit]
    return list(reversed(rows))
