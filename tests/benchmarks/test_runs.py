"""The figures of `bench runs`, and that its stub of a core speaks what a worker reads."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from annotation.models import Membership
from benchmarks.runs.figures import figure, percentile
from benchmarks.runs.stub_core import METRICS
from benchmarks.runs.supervisors import STUB
from tests.training.conftest import TINY_PRETRAIN
from training import launcher
from training.models import Run, Snapshot
from training.selectors.runs import metric_series, samples_of
from training.services.runs import run_create
from training.services.snapshots import corpus_add


def test_the_median_is_compared_with_the_aim() -> None:
    found = figure("recovery", "sqlite", "x", [40.0, 90.0, 50.0], "s", aim=60.0)
    assert (found["ours"], found["min"], found["max"], found["met"], found["times"]) == (50.0, 40.0, 90.0, True, 3)
    assert figure("recovery", "sqlite", "x", [61.0], "s", aim=60.0)["met"] is False
    assert figure("start", "sqlite", "x", [61.0], "s")["met"] is None


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([float(n) for n in range(1, 21)], 0.95) == 19.0
    assert percentile([7.0], 0.95) == 7.0


@pytest.mark.django_db(transaction=True)
def test_what_the_stub_writes_arrives_and_is_published(
    project: Any, ada: Membership, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training.test_supervisor import carry_out

    monkeypatch.setattr(
        launcher, "core_command", lambda stage, path: [sys.executable, "-S", str(STUB), str(path), "250", "0"]
    )
    corpus: Snapshot = corpus_add(project=project, texts=["the red boat"] * 40, by=ada)
    run_create(project=project, stage="pretrain", config=TINY_PRETRAIN, inputs={"train": corpus}, by=ada)
    run: Run = carry_out()
    assert (run.state, run.step, run.message) == ("succeeded", 250, "")
    series = metric_series(run, points=10**6)
    assert series["step"] == list(range(1, 251)) and set(METRICS) < set(series)
    assert [one.step for one in samples_of(run)] == [200, 100]


def test_it_names_its_parts() -> None:
    command = [sys.executable, "-m", "benchmarks.runs", "--only", "nothing"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2 and "the parts are start, overhead, rows, recovery, pages" in answer.stderr
