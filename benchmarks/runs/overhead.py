"""What watching over a run costs: the worker's processor seconds over the run's, and the same run with nobody there.

In pairs: a run that a worker carries, and the very same `run.json` started by hand. The share is what the whole worker
process used from claim to end (its lease, its reading and writing, its presence, Celery) over what the core used.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.runs.figures import figure
from benchmarks.runs.ground import Ground, processor_seconds, wait_for_children

AIM_PERCENT = 3.0
CONFIG = {"hidden_size": 128, "layers": 4, "heads": 4, "context_length": 128, "vocab_size": 280, "batch_size": 8}
STEPS, QUICK_STEPS = 500, 40


@dataclass(frozen=True)
class Carried:
    """One run, carried by a worker or by nobody."""

    core: float
    """Processor seconds, as all of these."""
    watcher: float
    wall: float
    sha256: str


def measure(ground: Ground, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    ground.only("default", "gpu")
    config = CONFIG | {"max_steps": QUICK_STEPS if options.quick else STEPS, "epochs": 1000, "eval_every": 0}
    pairs: list[tuple[Carried, Carried]] = []
    run_json = Path()  # of the first watched run: what the others start from
    for number in range(options.runs):
        if number % 2:  # in turn, so that what changes on the machine meets both
            alone = by_nobody(run_json, number)
            _, watched = by_a_worker(ground, config)
        else:
            run_json, watched = by_a_worker(ground, config)
            alone = by_nobody(run_json, number)
        pairs.append((watched, alone))
        ground.say(f"{watched.watcher:.2f} s over {watched.core:.1f} s; with nobody there {alone.core:.1f} s")
    share = [100 * watched.watcher / watched.core for watched, _ in pairs]
    yield figure(
        *("overhead", ground.database, "the supervisor's processor time over the run's", share, "%"),
        aim=AIM_PERCENT,
        run_seconds=round(statistics.median(watched.wall for watched, _ in pairs), 1),
        steps=config["max_steps"],
        same_weights=len({one.sha256 for pair in pairs for one in pair}) == 1,
    )
    for what, of in (("core's processor time", "core"), ("time from start to end", "wall")):
        longer = [100 * (getattr(watched, of) / getattr(alone, of) - 1) for watched, alone in pairs]
        yield figure("overhead", ground.database, f"the {what}, watched over alone", longer, "% more")


def by_a_worker(ground: Ground, config: dict[str, Any]) -> tuple[Path, Carried]:
    from training import files

    pid = ground.stack.running["gpu"].pid
    before = processor_seconds(pid)
    run = ground.launch(config)
    found = ground.until(run, lambda run: run.state == "succeeded", "succeeded", seconds=600, every=0.5)
    after = processor_seconds(pid)
    wall = (found.ended_at - found.started_at).total_seconds()
    sha256 = found.output.sha256
    run_json = files.attempt_folder(run.pk, 1) / "run.json"
    return run_json, Carried(after[1] - before[1], after[0] - before[0], wall, sha256)


def by_nobody(run_json: Path, number: int) -> Carried:
    """The same run.json, carried out in a folder of its own, by a process that nobody looks at."""
    from training.launcher import core_command, core_environment

    content = json.loads(run_json.read_text())
    output = run_json.parent.parent / f"alone-{number}"
    output.mkdir()
    (output / "run.json").write_text(json.dumps(content | {"output": str(output), "supervised": False}))
    environment = core_environment(int(content["numerics"].get("threads") or 0))
    began = time.monotonic()
    with (output / "core.log").open("wb") as log:
        command = core_command(content["stage"], output / "run.json")
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=os.getcwd())
        used = wait_for_children(process)
    if process.returncode:
        raise SystemExit(f"the run alone ended with {process.returncode}: {(output / 'core.log').read_text()[-500:]}")
    lines = (output / "events.jsonl").read_text().splitlines()
    return Carried(used, 0.0, time.monotonic() - began, json.loads(lines[-1])["sha256"])
