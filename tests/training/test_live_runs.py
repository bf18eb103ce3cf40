"""Runs on real processes: Celery workers from the command line, the real core, the test's database and queue."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from annotation.models import Membership
from config.celery import app
from tests.conftest import LiveProcesses, forget_keys, wait_for
from tests.training.conftest import make_run
from tests.training.test_supervisor import gone
from training import files
from training.models import Attempt, Run, RunState, Snapshot, Worker
from training.selectors.runs import metric_series
from training.services.runs import run_cancel, run_pause, run_resume
from training.tasks import sweep

pytestmark = [pytest.mark.services, pytest.mark.timeout(170), pytest.mark.xdist_group("live-runs")]

# Long enough to act on while it runs, and the same weights whether it is interrupted or not.
LONG = {"max_steps": 400, "checkpoint_every_steps": 20, "sample_every": 0, "eval_every": 100}


def state_of(run: Run) -> str:
    run.refresh_from_db()
    return run.state


def until(run: Run, *states: str, seconds: float = 90) -> Run:
    ends = {*states, RunState.FAILED}
    wait_for(lambda: state_of(run) in ends, seconds=seconds, what=f"{run.name} to be {' or '.join(states)}")
    assert run.state in states, (run.state, run.message)
    return run


def until_step(run: Run, step: int) -> None:
    def reached() -> bool:
        run.refresh_from_db()
        assert not run.is_over, (run.state, run.message)
        return run.step >= step

    wait_for(reached, seconds=60, what=f"step {step}")


def core_pid(run: Run) -> int:
    """The leader of the core's process group: the process that was started with this attempt's run.json."""
    wanted = str(files.attempt_folder(run.pk, run.attempt))
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\x00")
            except OSError:
                continue
            if any(wanted in argument for argument in arguments):
                return int(process.name)
    raise AssertionError("no core is running")


def weights(run: Run) -> str:
    return hashlib.sha256((files.path_of(run.model.artifact) / "model.safetensors").read_bytes()).hexdigest()


def test_a_worker_carries_runs_from_the_queue_to_their_models(
    live_processes: LiveProcesses, corpus: Snapshot, ada: Membership
) -> None:
    """Redis is flushed before a worker is there: no message is left, and the runs happen all the same."""
    first, second = make_run(corpus, ada), make_run(corpus, ada, seed=1)
    forget_keys()
    live_processes.worker("gpu")
    for run in (first, second):
        until(run, RunState.SUCCEEDED)
    assert first.step == first.total_steps == 6
    assert files.folder_hash(files.path_of(first.model.artifact)) == first.model.artifact.sha256
    assert first.latest_metrics["perplexity/validation"] > 1
    assert Attempt.objects.get(run=first).outcome == "finished"
    assert weights(first) != weights(second)
    wait_for(lambda: Worker.objects.filter(queue="gpu", run=None).exists(), what="an idle worker")


def test_the_sweep_finds_what_a_lost_message_left_and_duplicates_do_no_harm(
    live_processes: LiveProcesses, corpus: Snapshot, ada: Membership
) -> None:
    live_processes.worker("gpu")
    wait_for(lambda: Worker.objects.filter(queue="gpu", run=None).exists(), what="an idle worker")
    run = make_run(corpus, ada)
    forget_keys()
    for _ in range(3):
        app.send_task("training.tasks.work", args=["gpu"], queue="gpu")
    sweep()
    until(run, RunState.SUCCEEDED)
    assert Attempt.objects.filter(run=run).count() == 1


def test_a_killed_worker_takes_its_core_along_and_the_run_ends_in_the_same_weights(
    live_processes: LiveProcesses, corpus: Snapshot, ada: Membership, settings: Any
) -> None:
    settings.RUN_LEASE_SECONDS = 4
    whole = make_run(corpus, ada, config=LONG)
    worker = live_processes.worker("gpu", RUN_LEASE_SECONDS="4")
    until(whole, RunState.SUCCEEDED)
    run = make_run(corpus, ada, config=LONG)
    assert run.config_hash == whole.config_hash
    until_step(run, 40)
    pid = core_pid(run)
    live_processes.kill(worker)
    wait_for(gone(pid), seconds=5, what="the core's end")
    live_processes.worker("gpu", RUN_LEASE_SECONDS="4")
    wait_for(lambda: sweep() or state_of(run) != RunState.RUNNING or run.attempt > 1, what="the reaper")
    until(run, RunState.SUCCEEDED)
    assert (run.attempt, run.lost_count) == (2, 1)
    assert Attempt.objects.get(run=run, number=2).resumed_from > 0
    assert weights(run) == weights(whole)
    assert metric_series(run, points=10_000)["step"] == list(range(1, 401))
    assert metric_series(run, ["loss/train"], 10_000) == metric_series(whole, ["loss/train"], 10_000)


def test_a_worker_that_is_told_to_stop_hands_its_run_to_the_next(
    live_processes: LiveProcesses, corpus: Snapshot, ada: Membership
) -> None:
    worker = live_processes.worker("gpu")
    run = make_run(corpus, ada, config=LONG)
    until_step(run, 30)
    pid = core_pid(run)
    assert live_processes.stop(worker, seconds=30) == 0
    until(run, RunState.QUEUED, seconds=1)
    assert (run.lost_count, gone(pid)()) == (0, True)
    assert not Worker.objects.exists()
    live_processes.worker("gpu")
    until(run, RunState.SUCCEEDED)
    assert Attempt.objects.get(run=run, number=2).resumed_from >= 30


def test_a_killed_core_a_pause_and_a_cancel(live_processes: LiveProcesses, corpus: Snapshot, ada: Membership) -> None:
    live_processes.worker("gpu")
    run = make_run(corpus, ada, config=LONG | {"max_steps": 5000})
    until_step(run, 30)
    os.kill(core_pid(run), signal.SIGKILL)
    wait_for(lambda: state_of(run) == RunState.RUNNING and run.attempt == 2, seconds=30, what="the second attempt")
    until_step(run, 60)
    run_pause(run=run, by=ada)
    until(run, RunState.PAUSED, seconds=30)
    step = run.step
    run_resume(run=run, by=ada)
    until_step(run, step + 10)
    run_cancel(run=run, by=ada)
    until(run, RunState.CANCELLED, seconds=10)
    assert run.attempt == 3
    steps = metric_series(run, points=10_000)["step"]
    assert steps == list(range(1, len(steps) + 1))
