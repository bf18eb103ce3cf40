"""What a lost attempt still writes is refused; and with the fence taken out, the same test sees it land."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import Value

from training import files
from training.events import Event
from training.models import (
    Attempt,
    Checkpoint,
    MetricChunk,
    Model,
    Run,
    RunLine,
    RunSample,
    RunState,
)
from training.services import claims, publishing, recording
from training.services.claims import Fence, LeaseLost, run_claim, run_extend_lease, run_hand_back, run_lost
from training.services.publishing import run_cancelled, run_fail, run_succeed
from training.services.recording import run_prune_checkpoints, run_record, run_say
from training.services.transitions import Transition

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

SAMPLE = {"step": 4, "prompt": "?", "response": "late", "tokens": 1, "ended": True}
EVENTS = [
    Event("metrics", {"step": 4, "metrics": {"loss/train": 1.0}}),
    Event("sample", SAMPLE),
    Event("note", {"message": "a late word"}),
]


def checkpoint_event(fence: Fence) -> Event:
    folder = files.attempt_folder(fence.run_id, fence.attempt) / "checkpoints" / "step_00000004"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text("{}")
    return Event("checkpoint", {"step": 4, "sha256": files.folder_hash(folder), "size": 2})


def model_hash(fence: Fence) -> str:
    folder = files.attempt_folder(fence.run_id, fence.attempt) / "model"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama", "max_position_embeddings": 8}')
    (folder / "plackett.json").write_text("{}")
    header = b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return files.folder_hash(folder)


WRITES: dict[str, Callable[[Fence], Any]] = {
    "metrics, samples and lines": lambda fence: run_record(fence=fence, events=EVENTS),
    "a checkpoint": lambda fence: run_record(fence=fence, events=[checkpoint_event(fence)]),
    "a line": lambda fence: run_say(fence=fence, text="late"),
    "deleting checkpoints": lambda fence: run_prune_checkpoints(fence=fence, resume=None),
    "its lease": lambda fence: run_extend_lease(fence=fence),
    "handing back": lambda fence: run_hand_back(fence=fence, message="stopped"),
    "being lost": lambda fence: run_lost(fence=fence, message="gone"),
    "failing": lambda fence: run_fail(fence=fence, reason="crash", message="late"),
    "being cancelled": lambda fence: run_cancelled(fence=fence),
    "a model": lambda fence: run_succeed(fence=fence, stage="pretrain", sha256=model_hash(fence), result={}),
}
# What writes nothing but under the run's row is fenced by `hold`; what changes its state, by `change`.
BY_HOLD = ("metrics, samples and lines", "a checkpoint", "a line", "deleting checkpoints")
BY_CHANGE = ("handing back", "being lost", "failing", "a model")


@pytest.fixture
def stale(run: Run) -> Fence:
    """The first attempt's number, after the run has gone to a second one, which has a checkpoint."""
    for worker in ("first", "second"):
        claimed = run_claim(queue="gpu", worker=worker)
        assert claimed is not None
        if worker == "first":
            run_lost(fence=Fence(run.pk, 1), message="went away")
    second = Fence(run.pk, 2)
    for step in (1, 2, 3):
        event = checkpoint_event(second)
        folder = files.attempt_folder(run.pk, 2) / "checkpoints"
        if step < 4:
            (folder / "step_00000004").rename(folder / f"step_{step:08d}")
        run_record(fence=second, events=[Event("checkpoint", {**event.fields, "step": step})])
    return Fence(run.pk, 1)


def everything(run: Run) -> dict[str, Any]:
    """All that a stale attempt might have changed: rows, and files outside its own room."""
    rows = Run.objects.filter(pk=run.pk).values().get()
    outside = [
        path.relative_to(files.root()).as_posix()
        for path in files.root().rglob("*")
        if path.is_file() and not path.is_relative_to(files.attempt_folder(run.pk, 1))
    ]
    counts = {
        table.__name__: sorted(str(row) for row in table.objects.filter(run=run).values_list())
        for table in (Attempt, Checkpoint, MetricChunk, RunLine, RunSample)
    }
    return {"run": rows, "files": sorted(outside), "models": Model.objects.count(), **counts}


@pytest.mark.parametrize("what", WRITES)
def test_a_stale_attempt_can_write_nothing(run: Run, stale: Fence, what: str) -> None:
    before = everything(run)
    with pytest.raises(LeaseLost):
        WRITES[what](stale)
    assert everything(run) == before


def without_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the row by its id alone, whatever the attempt."""

    def hold(fence: Fence, **values: Any) -> None:
        Run.objects.filter(pk=fence.run_id).update(**(values or {"seed": 0}))

    monkeypatch.setattr(recording, "hold", hold)


def without_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the state whatever the attempt."""
    real = claims.change

    def change(run_id: Any, transition: Transition, *, of_attempt: int | None = None, **values: Any) -> bool:
        return real(run_id, transition, **values)

    for module in (claims, publishing):
        monkeypatch.setattr(module, "change", change)


@pytest.mark.parametrize("what", BY_HOLD)
def test_without_the_hold_on_the_row_a_stale_attempt_writes(
    run: Run, stale: Fence, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails when the fence is gone: it is the fence that it tests."""
    without_hold(monkeypatch)
    before = everything(run)
    WRITES[what](stale)
    assert everything(run) != before


@pytest.mark.parametrize("what", BY_CHANGE)
def test_without_the_attempt_in_the_condition_a_stale_attempt_ends_the_run(
    run: Run, stale: Fence, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_attempt(monkeypatch)
    if what == "being lost":  # it also asks for the state as its attempt
        monkeypatch.setattr(claims, "run_state", lambda fence: RunState.RUNNING)
    WRITES[what](stale)
    assert Run.objects.get(pk=run.pk).state != RunState.RUNNING


def test_without_the_state_in_the_claim_the_database_keeps_two_workers_from_one_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The condition of the claim's UPDATE does it; were it forgotten, the database refuses the second claim."""
    assert run_claim(queue="gpu", worker="first") is not None
    assert run_claim(queue="gpu", worker="second") is None
    monkeypatch.setattr(claims, "best_waiting", lambda queue: run.pk)

    def change(run_id: Any, transition: Transition, *, why: str = "", only_if: Any = None, **values: Any) -> bool:
        return bool(Run.objects.filter(pk=run_id).update(state=Value("running"), **values))

    with monkeypatch.context() as patch:
        patch.setattr(claims, "change", change)
        with pytest.raises(IntegrityError, match="only a claim"), transaction.atomic():
            run_claim(queue="gpu", worker="second")
    assert Run.objects.get(pk=run.pk).attempt == 1


def test_a_stale_file_is_never_what_is_resumed_from(run: Run, stale: Fence) -> None:
    """A lost attempt may still write into its own room; what is not registered is not read."""
    from training.launcher import newest_checkpoint

    late = files.attempt_folder(run.pk, 1) / "checkpoints" / "step_00000099"
    late.mkdir(parents=True)
    (late / "state.json").write_text("{}")
    with contextlib.suppress(LeaseLost):
        run_record(fence=stale, events=[Event("checkpoint", {"step": 99, "sha256": files.folder_hash(late)})])
    chosen, unusable = newest_checkpoint(Run.objects.get(pk=run.pk))
    assert chosen is not None and (chosen.attempt, chosen.step) == (2, 3)
    assert unusable == []
