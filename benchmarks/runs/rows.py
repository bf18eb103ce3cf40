"""What 20 runs write at once: as fast as they can, and at a steady pace, where it matters how far behind the page is.

A row is one step of one run with its ten metrics, as it comes out of the curves again; the database keeps 256 of them
in one record. The runs' cores only write (`stub_core.py`); claim, lease, supervision and publishing are the product's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.runs.figures import figure, percentile
from benchmarks.runs.ground import Ground
from benchmarks.runs.stub_core import METRICS
from tests.faults.servers import end_with_parent

RUNS = 20
STEPS, QUICK_STEPS = 10_000, 500
PACE = 20  # steps a second of each run
PACED_STEPS, QUICK_PACED_STEPS = 600, 60
CONFIG = {"hidden_size": 32, "layers": 1, "heads": 2, "context_length": 64, "vocab_size": 300}
LOOK_SECONDS = 0.5


def measure(ground: Ground, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    ground.only("default")
    steps = QUICK_STEPS if options.quick else STEPS
    runs = queued(ground)
    used = carry_out(ground, runs, steps, rate=0)[0]
    seconds = span(runs)
    yield figure(
        *("rows", ground.database, f"steps written, {RUNS} runs at once, as fast as they can"),
        [RUNS * steps / seconds],
        "rows/s",
        digits=0,
        values_per_second=round(RUNS * steps * len(METRICS) / seconds),
        rows=RUNS * steps,
        missing=missing(runs, steps),
        supervisors_ms_per_row=round(1000 * used / (RUNS * steps), 3),
    )
    steps = QUICK_PACED_STEPS if options.quick else PACED_STEPS
    runs = queued(ground)
    used, behind = carry_out(ground, runs, steps, rate=PACE)
    yield figure(
        *("rows", ground.database, f"how far behind the database is, {RUNS} runs at {PACE} steps a second"),
        behind,
        "s",
        p95=round(percentile(behind, 0.95), 2),
        rows_per_second=round(RUNS * steps / span(runs)),
        missing=missing(runs, steps),
        supervisors_cpu_percent_a_run=round(100 * used / span(runs) / RUNS, 2),
    )


def queued(ground: Ground) -> list[Any]:
    return [ground.launch(CONFIG) for _ in range(RUNS)]


def carry_out(ground: Ground, runs: list[Any], steps: int, rate: int) -> tuple[float, list[float]]:
    """Two workers carry out all of them; (their processor seconds, how far behind each run was at each look)."""
    processes = max(1, min(2, os.cpu_count() or 1))
    command = [sys.executable, "-m", "benchmarks.runs.supervisors", str(RUNS // processes), str(steps), str(rate)]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=end_with_parent(9)) for _ in range(processes)
    ]
    behind: list[float] = []
    while any(worker.poll() is None for worker in workers):
        if rate:
            behind += lags(runs, steps, rate)
        time.sleep(LOOK_SECONDS)
    told = [json.loads(worker.communicate()[0] or b"{}") for worker in workers]
    return sum(each.get("processor_seconds", 0.0) for each in told), behind


def lags(runs: list[Any], steps: int, rate: int) -> list[float]:
    """For each run that is under way: seconds since the step that the database knows as its newest was told."""
    from training.models import Attempt

    rows = Attempt.objects.filter(run__in=runs, run__state="running", run__step__gt=0, run__step__lt=steps)
    now = time.time()
    return [now - began(run) - step / rate for run, step in rows.values_list("run", "run__step")]


def began(run_id: Any) -> float:
    """When its core said that it started, by the first line of its events."""
    from training import files

    with (files.attempt_folder(run_id, 1) / "events.jsonl").open() as stream:
        return float(json.loads(stream.readline())["time"])


def span(runs: list[Any]) -> float:
    """From the first claim to the last end."""
    from django.db.models import Max, Min

    from training.models import Run

    of = Run.objects.filter(pk__in=[run.pk for run in runs])
    if of.exclude(state="succeeded").exists():
        raise SystemExit(f"the runs ended as {sorted(of.values_list('state', flat=True))}")
    times = of.aggregate(first=Min("started_at"), last=Max("ended_at"))
    return float((times["last"] - times["first"]).total_seconds())


def missing(runs: list[Any], steps: int) -> int:
    """Steps that are not in the curves afterwards."""
    from training.models import Run
    from training.selectors.runs import metric_series

    found = [metric_series(run, points=10**6)["step"] for run in Run.objects.filter(pk__in=[run.pk for run in runs])]
    return sum(len(set(range(1, steps + 1)) ^ set(each)) for each in found)
