"""What the tests of runs share: a corpus, a queued run, and a core of our own that misbehaves on demand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now

from annotation.models import Membership, Project
from training import launcher
from training.models import ENDED, HELD, Run, Snapshot
from training.services.claims import lease_end
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


# A way from queued to each state, by changes that the database allows.
WAYS: dict[str, tuple[str, ...]] = {
    "queued": (),
    "running": ("running",),
    "cancelling": ("running", "cancelling"),
    "pausing": ("running", "pausing"),
    "paused": ("running", "pausing", "paused"),
    "succeeded": ("running", "succeeded"),
    "failed": ("running", "failed"),
    "cancelled": ("running", "cancelling", "cancelled"),
}


def step_to(run: Run, state: str) -> None:
    """Write one change of state past the services, with what goes with it."""
    claims = run.state == "queued" and state == "running"
    Run.objects.filter(pk=run.pk).update(
        state=state,
        attempt=F("attempt") + (1 if claims else 0),
        lease_until=lease_end() if state in HELD else None,
        ended_at=Now() if state in ENDED else None,
    )
    run.refresh_from_db()


def walk_to(run: Run, state: str) -> Run:
    """Bring a queued run into a state, past the services, as a test may; attempt 1 wherever that is."""
    for step in ("running", "queued") if state == "queued" else WAYS[state]:
        step_to(run, step)
    return run


def taken_by_another(run: Run) -> None:
    """As if its lease had run out and another worker had claimed it."""
    run.refresh_from_db()
    step_to(run, "queued")
    step_to(run, "running")


@pytest.fixture
def fake_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs start `fake_core.py` with these words instead of the real core: what a core may do wrong, on demand."""

    def use(*words: str) -> None:
        def command(stage: str, run_json: Path) -> list[str]:
            return [sys.executable, str(FAKE_CORE), str(run_json), *words]

        monkeypatch.setattr(launcher, "core_command", command)

    yield use
