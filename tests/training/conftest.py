"""What the tests of runs share: a corpus, a queued run, and a core of our own that misbehaves on demand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotation.models import Membership, Project
from training import launcher
from training.models import Run, Snapshot
from training.services.runs import run_create
from training.services.snapshots import corpus_add

FAKE_CORE = Path(__file__).parent / "fake_core.py"

TINY_PRETRAIN = {
    "vocab_size": 300,
    "hidden_size": 16,
    "layers": 1,
    "heads": 2,
    "context_length": 32,
    "batch_size": 4,
    "max_steps": 6,
    "eval_every": 3,
    "sample_every": 3,
    "checkpoint_every_steps": 2,
}


@pytest.fixture(autouse=True)
def _one_thread(settings: Any) -> None:
    settings.RUN_THREADS = 1


@pytest.fixture
def corpus(project: Project, ada: Membership) -> Snapshot:
    words = ["the red boat", "a small town", "our old friend", "the long road", "that green hill"]
    texts = [
        f"{words[n % 5]} number {n} is near {words[(n * 3 + 1) % 5]} and {words[(n * 7 + 2) % 5]}." for n in range(80)
    ]
    return corpus_add(project=project, texts=texts, by=ada)


@pytest.fixture
def run(corpus: Snapshot, ada: Membership) -> Run:
    """A queued pretraining run, as small as can be."""
    return make_run(corpus, ada)


def make_run(corpus: Snapshot, by: Membership, **values: Any) -> Run:
    config = TINY_PRETRAIN | values.pop("config", {})
    return run_create(
        project=corpus.project, stage="pretrain", config=config, inputs={"train": corpus}, by=by, **values
    )


@pytest.fixture
def fake_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs start `fake_core.py` with these words instead of the real core: what a core may do wrong, on demand."""

    def use(*words: str) -> None:
        def command(stage: str, run_json: Path) -> list[str]:
            return [sys.executable, str(FAKE_CORE), str(run_json), *words]

        monkeypatch.setattr(launcher, "core_command", command)

    yield use
