"""How soon a run goes on after each kill: from the kill to the first step of the attempt that follows it.

Leases are the product's 30 seconds, so a lost worker costs up to that, up to 5 more until the sweep, and the start of a
core. What has died is started again at once, as systemd does it; `up` waits a second.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from benchmarks.runs.figures import figure
from benchmarks.runs.ground import Ground
from tests.faults.servers import until

AIM_SECONDS = 60.0
CANCEL_AIM_SECONDS = 10.0
CONFIG = {"hidden_size": 64, "layers": 2, "heads": 2, "context_length": 128, "vocab_size": 280, "batch_size": 8}
LONG = CONFIG | {"max_steps": 100_000, "epochs": 1000, "eval_every": 0, "checkpoint_every_steps": 50}


def kill_core(ground: Ground, run: Any) -> None:
    ground.stack.kill_core(run.pk)


def kill_worker(ground: Ground, run: Any) -> None:
    ground.stack.kill("gpu")


def kill_both(ground: Ground, run: Any) -> None:
    for pid in ground.stack.cores(run.pk):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    ground.stack.kill("gpu")


def kill_everything(ground: Ground, run: Any) -> None:
    ground.stack.kill_everything(run.pk)


KILLS: dict[str, Callable[[Ground, Any], None]] = {
    "the core": kill_core,
    "the worker": kill_worker,
    "the core and the worker": kill_both,
    "everything: web, workers, core, Redis, the database's server": kill_everything,
}
QUICK = ("the core",)


def measure(ground: Ground, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    ground.only("web", "default", "gpu")
    cancels: list[float] = []
    for target in QUICK if options.quick else KILLS:
        found = [one_kill(ground, KILLS[target], cancels) for _ in range(options.kills)]
        seconds, regained = [one[0] for one in found], [one[1] for one in found]
        line = figure(
            *("recovery", ground.database, f"kill -9 of {target}, to the next attempt's first step", seconds, "s"),
            aim=AIM_SECONDS,
            to_the_step_it_had_reached=round(max(regained), 2),
        )
        yield line | {"met": line["max"] <= AIM_SECONDS}
    if not options.quick:
        yield kill_web(ground, options.kills)
    what = "cancelling a running run, to its end"
    yield figure("recovery", ground.database, what, cancels, "s", aim=CANCEL_AIM_SECONDS)


def one_kill(ground: Ground, kill: Callable[[Ground, Any], None], cancels: list[float]) -> tuple[float, float]:
    """(seconds to the next attempt's first step, to a step beyond the one that it was killed at)."""
    run = under_way(ground)
    began = time.monotonic()
    kill(ground, run)
    later = ground.until(run, lambda found: found.attempt > run.attempt and trains(found), "training again")
    seconds = time.monotonic() - began
    ground.until(run, lambda found: found.step > run.step, "where it was")
    regained = time.monotonic() - began
    ground.say(f"{seconds:.1f} s, from step {run.step} to {later.step}")
    cancels.append(cancel(ground, run))
    return seconds, regained


def under_way(ground: Ground) -> Any:
    """A run that has saved a checkpoint and gone on."""
    run = ground.launch(LONG)
    return ground.until(run, lambda found: found.step >= 60 and found.checkpoints.exists(), "under way")


def trains(run: Any) -> bool:
    """Whether its present attempt has taken a step of its own."""
    attempt = run.attempts.get(number=run.attempt)
    return bool(attempt.versions) and run.step > attempt.resumed_from


def cancel(ground: Ground, run: Any) -> float:
    from training.models import Run
    from training.services.runs import run_cancel

    began = time.monotonic()
    run_cancel(run=run, by=ground.owner)
    until(lambda: Run.objects.filter(pk=run.pk, state="cancelled").exists(), "the run's end")
    return time.monotonic() - began


def kill_web(ground: Ground, times: int) -> dict[str, Any]:
    """The run notices nothing; the pages are back."""
    run, seconds, noticed = under_way(ground), [], 0
    for _ in range(times):
        began = time.monotonic()
        ground.stack.kill("web")
        ground.stack.keep_alive()
        until(ground.stack.web_answers, "the web server")
        seconds.append(time.monotonic() - began)
    after = ground.until(run, lambda found: found.step > run.step + 20, "going on")
    noticed = after.attempt - run.attempt
    cancel(ground, run)
    what = "kill -9 of the web server, to its next answer"
    return figure("recovery", ground.database, what, seconds, "s", aim=AIM_SECONDS, run_lost_attempts=noticed)
