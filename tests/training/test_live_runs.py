"""Runs on real processes: Celery workers from the command line, the real core, the test's database and queue.

What kills do is tried on PostgreSQL by `manage.py faults --short`, as it is in CI.
"""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from annotation.models import Membership
from config.celery import app
from tests.conftest import LiveProcesses, forget_keys, wait_for
from tests.training.conftest import make_run
from tests.training.test_claims import let_lease_run_out
from tests.training.test_supervisor import gone
from training import files
from training.models import Attempt, Run, RunState, Snapshot, Worker, node_of
from training.selectors.runs import metric_series
from training.selectors.workers import waits_of
from training.services.runs import run_cancel, run_pause, run_resume
from training.services.workers import worker_drain, worker_undrain
from training.tasks import sweep

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("live-runs")]

# Long enough to act on while it runs, and the same weights whether it is interrupted or not.
LONG = {"epochs": 1000, "max_steps": 800, "checkpoint_every_steps": 20, "sample_every": 0, "eval_every": 200}
ENDLESS = LONG | {"max_steps": 50_000}  # until it is told to stop


def state_of(run: Run) -> str:
    run.refresh_from_db()
    return run.state


def until(run: Run, *states: str) -> Run:
    ends = {*states, RunState.FAILED, RunState.SUCCEEDED}
    wait_for(lambda: state_of(run) in ends, what=f"{run.name} to be {' or '.join(states)}")
    assert run.state in states, (run.state, run.message)
    return run


def until_step(run: Run, step: int) -> None:
    def reached() -> bool:
        run.refresh_from_db()
        assert not run.is_over, (run.state, run.message)
        return run.step >= step

    wait_for(reached, what=f"step {step}")


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


@pytest.mark.services
def test_a_drained_worker_hands_back_and_takes_nothing_until_it_may(
    live_processes: LiveProcesses, corpus: Snapshot, ada: Membership
) -> None:
    """Through the database alone: the worker is told nothing else."""
    run = make_run(corpus, ada, config=ENDLESS)
    live_processes.worker("gpu")
    until_step(run, 25)
    node = node_of(run.worker)
    worker_drain(node=node, how="hand_back", by=ada)
    until(run, RunState.QUEUED)
    assert Attempt.objects.get(run=run).outcome == "stopped"
    app.send_task("training.tasks.work", args=["gpu"], queue="gpu")
    sweep()
    assert (waits_of([run])[run.pk].wait.code, state_of(run), run.attempt) == ("drained", "queued", 1)
    worker_undrain(node=node, by=ada)
    sweep()
    until(run, RunState.RUNNING)
    assert run.attempt == 2
    wait_for(
        lambda: Attempt.objects.get(run=run, number=2).resumed_from >= 20, what="the checkpoint to be gone on from"
    )
    run_cancel(run=run, by=ada)
    until(run, RunState.CANCELLED)


@pytest.mark.services
def test_runs_happen_whatever_becomes_of_the_messages(
    live_processes: LiveProcesses, corpus: Snapshot, ada: Membership
) -> None:
    """Redis is flushed while no worker is there, then under an idle one; messages that do come, come three times."""
    first = make_run(corpus, ada)
    forget_keys()
    live_processes.worker("gpu")
    until(first, RunState.SUCCEEDED)
    assert first.step == first.total_steps == 6
    assert files.folder_hash(files.path_of(first.model.artifact)) == first.model.artifact.sha256
    assert first.latest_metrics["perplexity/validation"] > 1
    wait_for(lambda: Worker.objects.filter(queues="gpu").exists(), what="an idle worker")
    second = make_run(corpus, ada, seed=1)
    forget_keys()
    for _ in range(3):
        app.send_task("training.tasks.work", args=["gpu"], queue="gpu")
    sweep()
    until(second, RunState.SUCCEEDED)
    assert [attempt.outcome for attempt in Attempt.objects.order_by("run_id")] == ["finished", "finished"]
    assert weights(first) != weights(second)


def test_a_run_that_lost_two_workers_ends_in_the_same_weights(
    live_processes: LiveProcesses, corpus: Snapshot, ada: Membership
) -> None:
    """One is killed, and takes its core along; one is told to stop, and hands the run back."""
    whole, run = make_run(corpus, ada, config=LONG), make_run(corpus, ada, config=LONG)
    assert run.config_hash == whole.config_hash
    killed = live_processes.worker("gpu")
    until(whole, RunState.SUCCEEDED)
    until_step(run, 40)
    pid = core_pid(run)
    live_processes.kill(killed)
    wait_for(gone(pid), what="the core's end")
    let_lease_run_out(run)  # which takes half a minute by itself
    sweep()
    assert state_of(run) == RunState.QUEUED
    stopped = live_processes.worker("gpu")
    until_step(run, run.step + 40)
    pid = core_pid(run)
    assert live_processes.stop(stopped) == 0
    assert state_of(run) == RunState.QUEUED
    assert gone(pid)() and not Worker.objects.filter(name__endswith=f":{stopped.pid}").exists()
    live_processes.worker("gpu")
    until(run, RunState.SUCCEEDED)
    assert (run.attempt, run.lost_count) == (3, 1)
    assert all(Attempt.objects.filter(run=run, number__gt=1).values_list("resumed_from", flat=True))
    assert weights(run) == weights(whole)
    assert metric_series(run, points=10_000)["step"] == list(range(1, LONG["max_steps"] + 1))
    assert metric_series(run, ["loss/train"], 10_000) == metric_series(whole, ["loss/train"], 10_000)


def test_a_killed_core_a_pause_and_a_cancel(live_processes: LiveProcesses, corpus: Snapshot, ada: Membership) -> None:
    live_processes.worker("gpu")
    run = make_run(corpus, ada, config=ENDLESS)
    until_step(run, 30)
    os.kill(core_pid(run), signal.SIGKILL)
    wait_for(lambda: state_of(run) == RunState.RUNNING and run.attempt == 2, what="the second attempt")
    until_step(run, run.step + 30)
    run_pause(run=run, by=ada)
    until(run, RunState.PAUSED)
    step = run.step
    run_resume(run=run, by=ada)
    until_step(run, step + 10)
    run_cancel(run=run, by=ada)
    until(run, RunState.CANCELLED)
    assert (run.attempt, run.lost_count) == (3, 1)
    steps = metric_series(run, points=100_000)["step"]
    assert steps == list(range(1, len(steps) + 1))
