"""Runs on real processes: a Celery worker from the command line, the real core, the test's database and queue."""

from __future__ import annotations

import pytest

from annotation.models import Membership
from tests.conftest import LiveProcesses, wait_for
from tests.training.conftest import make_run
from training import files
from training.models import Attempt, Run, RunState, Snapshot, Worker

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def state_of(run: Run) -> str:
    run.refresh_from_db()
    return run.state


def test_a_worker_carries_a_run_from_the_queue_to_a_model(
    live_processes: LiveProcesses, corpus: Snapshot, ada: Membership
) -> None:
    run = make_run(corpus, ada)
    live_processes.worker("gpu")
    wait_for(lambda: state_of(run) in {RunState.SUCCEEDED, RunState.FAILED}, seconds=60, what="the run's end")
    assert (run.state, run.message) == (RunState.SUCCEEDED, "")
    assert run.step == run.total_steps == 6
    folder = files.path_of(run.model.artifact)
    assert files.folder_hash(folder) == run.model.artifact.sha256
    assert (folder / "model.safetensors").is_file()
    assert run.latest_metrics["perplexity/validation"] > 1
    assert Attempt.objects.get(run=run).outcome == "finished"
    assert wait_for(lambda: Worker.objects.filter(queue="gpu", run=None).exists(), what="the worker's row")
