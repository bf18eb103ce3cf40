"""A run from the inside: what it was given, where it writes, and what it has to say.

The harness in `__main__` opens the workspace, iterates the stage, and turns every end into an event and an exit code. A
stage uses it for its inputs, for `resume`, for events between steps, and for publishing. Every event is one line of
`events.jsonl`, flushed as it is written; the process that watches the run follows that file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import platform
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch

from training.rlhf import parallel
from training.rlhf.adapters import save_model
from training.rlhf.checkpoint import (
    Saved,
    Snapshot,
    Stateful,
    fresh_folder,
    load_state,
    numerics_of,
    publish_folder,
    sha256_of,
    take_snapshot,
)
from training.rlhf.config import Numerics, StageConfig, config_from_dict, numerics_from_dict
from training.rlhf.errors import DataError, NumericsError, Stopped
from training.rlhf.numerics import device_of, multiplies_bfloat16, settled
from training.rlhf.saving import Saver
from training.rlhf.watch import Watch

PROGRESS_SECONDS = 1.0  # progress is said at most this often
FULL_DISK_SECONDS = 60.0  # until a checkpoint that could not be written is tried again


@dataclass(frozen=True)
class StepMetrics:
    """What a stage yields after each optimiser step (or update, in PPO)."""

    step: int
    metrics: dict[str, float]


class Saveable(Protocol):
    """A policy, a reward model, or a tokenizer."""

    def save_pretrained(self, folder: Any) -> Any: ...


@dataclass
class Workspace:
    """One attempt at a run."""

    stage: str
    config: StageConfig
    seed: int
    numerics: Numerics
    inputs: dict[str, Path]
    input_hashes: dict[str, str]
    output: Path
    checkpoint: Path | None = None
    """The checkpoint to resume from."""
    checkpoint_hash: str = ""
    supervised: bool = False
    """Whether someone registers the checkpoints, and deletes old ones once the newer are registered."""

    stop_requested: bool = False
    """Set by SIGTERM and SIGINT; the harness then saves at the next step and ends."""
    total_steps: int = 0
    started: bool = False
    step: int = 0
    last_saved: int = -1
    _state: Mapping[str, Stateful] = field(default_factory=dict)
    _saved_at: float = 0.0
    _progress_at: float = 0.0
    _due_by_steps: bool = False
    _value: float | None = None
    _values: dict[int, float | None] = field(default_factory=dict)
    _torn: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.watch = Watch(self.stage, self.config)
        self.saver = Saver(self.output / "checkpoints", self.checkpoint_saved, self.checkpoint_failed)

    @classmethod
    def open(cls, run: Mapping[str, Any]) -> Workspace:
        """The workspace of a run.json; its output folder is made. Raises ConfigError or DataError in words."""
        missing = [name for name in ("stage", "output", "inputs") if name not in run]
        if missing:
            raise DataError(f"run.json lacks {missing[0]!r}")
        resume = run.get("resume") or {}
        checkpoint = Path(resume["path"]) if resume else None
        work = cls(
            stage=run["stage"],
            config=config_from_dict(run["stage"], run.get("config") or {}),
            seed=int(run.get("seed", 0)),
            numerics=settled(as_begun(numerics_from_dict(run.get("numerics") or {}), checkpoint)),
            inputs={name: Path(given["path"]) for name, given in run["inputs"].items()},
            input_hashes={name: given.get("sha256") or "" for name, given in run["inputs"].items()},
            output=Path(run["output"]),
            checkpoint=checkpoint,
            checkpoint_hash=resume.get("sha256") or "",
            supervised=bool(run.get("supervised", False)),
        )
        parallel.join(work.stage, work.numerics)
        work.output.mkdir(parents=True, exist_ok=True)
        return work

    def verify_inputs(self) -> None:
        """Compare every input with the hash that it was given by. Raises DataError for one that is gone or differs."""
        given = [(name, path, self.input_hashes[name]) for name, path in self.inputs.items()]
        if self.checkpoint:
            given.append(("checkpoint", self.checkpoint, self.checkpoint_hash))
        for name, path, wanted in given:
            if not path.exists():
                raise DataError(f"the input {name} is not at {path}")
            if wanted:
                self.progress("checking inputs")
                if sha256_of(path) != wanted:
                    raise DataError(f"the input {name} at {path} is not what the run was given: its hash differs")

    def input(self, name: str) -> Path:
        """The path of an input that the stage cannot do without. Raises DataError."""
        if name not in self.inputs:
            raise DataError(f"the stage {self.stage} needs the input {name!r} in run.json")
        return self.inputs[name]

    # Events

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event; a number that is not finite raises NumericsError instead of being written."""
        if parallel.rank():  # rank 0 speaks for all
            return
        record = {"event": kind, "time": round(time.time(), 3), **fields}
        try:
            line = json.dumps(record, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise NumericsError(f"a number in the event {kind} at step {self.step} is not finite") from error
        with self._lock:  # the thread that writes checkpoints has its say too
            self.append(line + "\n")

    def append(self, line: str) -> None:
        """One write; after one that a full disk cut short, a line begins anew, or it would not be read."""
        torn, self._torn = self._torn, True
        with (self.output / "events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write("\n" + line if torn else line)
        self._torn = False

    def note(self, message: str, level: str = "info", problem: str = "") -> None:
        """A sentence for the run's log; with a problem, one that someone should hear of though the run goes on."""
        self.event("note", message=message, level=level, **({"problem": problem} if problem else {}))

    def data(self, split: str, kept: int, reasons: Mapping[str, int]) -> None:
        """How many rows of an input are used, and why others are not."""
        self.event("data", split=split, kept=kept, filtered=sum(reasons.values()), reasons=dict(reasons))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """The metrics of a step. Raises NumericsError, with advice, if one is NaN or infinite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise NumericsError(
                    f"{name} became {value} at step {step}; lower the learning rate, or compute in float32"
                )
        self.step = step
        self._value = self.watch.value_of(values)
        self.event("metrics", step=step, metrics={name: float(value) for name, value in values.items()})
        self.watch.look(step, values)

    def progress(self, phase: str, step: int | None = None) -> None:
        """A sign of life between steps, at most one a second. Before the first step it obeys a request to stop."""
        if self.stop_requested and not self.started:
            raise Stopped
        if time.monotonic() - self._progress_at >= PROGRESS_SECONDS:
            self._progress_at = time.monotonic()
            step = self.step if step is None else step
            self.event("progress", step=step, total_steps=self.total_steps, phase=phase)

    def pause_point(self, phase: str) -> None:
        """A sign of life where the state is still that of the last step: a request to stop is obeyed here and now."""
        self.progress(phase)
        if self.stop_requested:
            self.save_checkpoint(self.step)
            raise Stopped

    def sample(
        self,
        step: int,
        prompt: Sequence[Mapping[str, Any]],
        response: str,
        score: float | None = None,
        tokens: int = 0,
        ended: bool = True,
    ) -> None:
        """One answer for people to look at; `ended` is False where the length limit cut it off."""
        self.event("sample", step=step, prompt=list(prompt), response=response, score=score, tokens=tokens, ended=ended)

    # Checkpoints

    def resume(self, state: Mapping[str, Stateful], total_steps: int = 0) -> int:
        """Say that the run starts, restore `state` from the checkpoint if there is one; returns the step reached, or 0.

        The workspace keeps `state` and saves it when the stage yields; whatever decides later steps must be in it.
        """
        self._state, self.total_steps = {**state, "watch": self.watch}, total_steps
        if self.checkpoint:
            self.step = load_state(self.checkpoint, self._state, optional=("watch",))
            self.last_saved = self.step
        self._saved_at = time.monotonic()
        self.event(
            "started",
            pid=os.getpid(),
            total_steps=total_steps,
            resumed_from=self.step,
            device=device_name(self.numerics),
            code_version=code_version(),
            versions={name: version(name) for name in ("torch", "transformers", "tokenizers")}
            | processor(self.numerics),
        )
        if self.numerics.dtype == "bfloat16" and not multiplies_bfloat16(device_of(self.numerics)):
            self.note(
                "this machine emulates bfloat16, several times slower than float32: a run that was begun in it goes on "
                "in it; move it to a machine that multiplies in it, or start anew with numerics.dtype float32",
                level="warning",
            )
        if self.stop_requested:
            raise Stopped
        self.started = True
        return self.step

    def checkpoint_due(self, step: int) -> bool:
        """Whether a checkpoint is wanted after this step, and none is on its way.

        One that falls due meanwhile comes at a later step: training does not wait for the disk. Raises what ended the
        last write, where that is no matter of the disk.
        """
        self.saver.check()
        steps = getattr(self.config, "checkpoint_every_steps", 0)
        seconds = getattr(self.config, "checkpoint_every_seconds", 0)
        self._due_by_steps = self._due_by_steps or bool(steps and step % steps == 0)
        by_clock = 0 < seconds <= time.monotonic() - self._saved_at
        due = self._due_by_steps or by_clock or self.watch.is_best(self._value)
        return due and 0 < step < self.total_steps and not self.saver.busy

    def start_checkpoint(self, step: int) -> None:
        """Copy the state of a finished step; it is written beside the steps that follow."""
        if parallel.rank():
            return
        self._due_by_steps, self._saved_at = False, time.monotonic()
        self.watch.saved(self._value)  # before the copy, which holds what is watched
        self._values[step] = self._value
        precision = {"dtype": self.numerics.dtype, "matmul": self.numerics.matmul}
        self.saver.start(take_snapshot(self._state, step, precision))

    def save_checkpoint(self, step: int) -> None:
        """Have the state of a finished step on the disk, if it is not there already. Raises OSError where it can't."""
        if parallel.rank():
            return
        self.saver.wait()
        if self.last_saved >= step:
            return
        self.start_checkpoint(step)
        self.saver.wait()
        if self.saver.problem:
            raise self.saver.problem

    def checkpoint_saved(self, saved: Saved) -> None:
        """Say so, now that the disk has it. Called in the thread that writes."""
        self.last_saved = saved.step
        value = self._values.get(saved.step)
        best = {} if self.watch.best is None or value is None else {"metric": self.watch.best[0], "value": value}
        name = f"checkpoints/{saved.path.name}"
        self.event("checkpoint", step=saved.step, path=name, sha256=saved.sha256, size=saved.size, **best)
        if not self.supervised:
            self.delete_old_checkpoints()

    def checkpoint_failed(self, snapshot: Snapshot, error: OSError) -> None:
        """The disk did not take it: say so, keep the older ones, and try again in a while."""
        self.watch.unsaved(self._values.get(snapshot.step))
        seconds = getattr(self.config, "checkpoint_every_seconds", 0) or FULL_DISK_SECONDS
        self._saved_at = time.monotonic() - max(0.0, seconds - FULL_DISK_SECONDS)
        kept = f"the one at step {self.last_saved} is kept" if self.last_saved > 0 else "there is none yet"
        message = (
            f"The checkpoint at step {snapshot.step} could not be written ({error.strerror or error}); {kept}. "
            f"Free some space where {self.output} is: training goes on, and tries again with the next checkpoint."
        )
        with contextlib.suppress(OSError):
            self.note(message, level="warning", problem="disk")

    def delete_old_checkpoints(self) -> None:
        """Those of this attempt beyond the newest and the best; where nobody else looks after them."""
        kept = sorted(step for step in self._values if self.checkpoint_folder(step).exists())
        known = {step: value for step in kept if (value := self._values[step]) is not None}
        chosen = set(kept[-getattr(self.config, "keep_checkpoints", 2) :])
        if self.watch.best and known:
            choose = max if self.watch.best[1] == "highest" else min
            chosen.add(choose(known, key=lambda step: known[step]))
        for step in set(kept) - chosen:
            if self.checkpoint_folder(step) != self.checkpoint:
                shutil.rmtree(self.checkpoint_folder(step))

    def checkpoint_folder(self, step: int) -> Path:
        return self.output / "checkpoints" / f"step_{step:08d}"

    # Results

    def publish_model(
        self,
        model: Saveable,
        tokenizer: Saveable,
        result: Mapping[str, float],
        report: Mapping[str, Any] | None = None,
    ) -> None:
        """Write `model/` as a Hugging Face folder with plackett.json in it, and say that the run is finished.

        plackett.json holds where the model comes from, and beside it what `report` adds.
        """
        check_finite(model)
        self.saver.wait()
        if parallel.rank():
            return
        aside = fresh_folder(self.output / "model.tmp")
        save_model(model, aside)
        tokenizer.save_pretrained(aside)
        card = self.provenance(result) | dict(report or {})
        (aside / "plackett.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        digest = publish_folder(aside, self.output / "model")
        self.event("finished", path="model", sha256=digest, result=dict(result))

    def publish_file(self, name: str, text: str, result: Mapping[str, float]) -> None:
        """Write one file of results (responses.jsonl, report.json), and say that the run is finished."""
        self.saver.wait()
        final = self.output / name
        aside = final.with_name(name + ".tmp")
        with aside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        aside.rename(final)
        self.event("finished", path=name, sha256=sha256_of(final), result=dict(result))

    def provenance(self, result: Mapping[str, float]) -> dict[str, Any]:
        """Where a result comes from; no time, host or path in it, so that the same run gives the same bytes."""
        return {
            "stage": self.stage,
            "config": dataclasses.asdict(self.config),
            "seed": self.seed,
            "numerics": dataclasses.asdict(self.numerics),
            "inputs": {name: self.input_hashes[name] or sha256_of(path) for name, path in self.inputs.items()},
            "metrics": dict(result),
            "code_version": code_version(),
        }


def as_begun(asked: Numerics, checkpoint: Path | None) -> Numerics:
    """What was left to the machine stays as the one decided that began the run: another may decide otherwise, and one
    run would be computed in two precisions."""
    begun = numerics_of(checkpoint) if checkpoint else {}
    kept = {name: begun[name] for name in ("dtype", "matmul") if name in begun and getattr(asked, name) == "auto"}
    return numerics_from_dict(dataclasses.asdict(asked) | kept)


def check_finite(model: Any) -> None:
    """Raise NumericsError if a weight is NaN or infinite: such a model must not be published."""
    for name, weight in model.named_parameters() if isinstance(model, torch.nn.Module) else ():
        if not torch.isfinite(weight).all():
            raise NumericsError(f"the weight {name} is not finite after training; lower the learning rate")


def device_name(numerics: Numerics) -> str:
    """The device as people name it: cpu, or the GPU's name."""
    device = device_of(numerics)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def processor(numerics: Numerics) -> dict[str, str]:
    """The CPU's model and the instructions that torch uses on it, where it does the arithmetic: another adds up in
    another order, so the same run gives the same weights there to tolerance only."""
    if device_of(numerics).type != "cpu":
        return {}
    return {"cpu": f"{cpu_model()} ({torch.backends.cpu.get_cpu_capability()})"}


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # macOS
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache
def code_version() -> str:
    """A hash over the source of this package: two runs with the same one ran the same code."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"{source.name}\n".encode() + source.read_bytes())
    return digest.hexdigest()[:16]
