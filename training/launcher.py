"""From a claimed run to its core: the attempt's folder with `run.json`, and a process group with a lifeline."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from annotation import store
from training import files
from training.files import FileStoreError
from training.inputs import SPLITS_READ, STAGE_INPUTS, VALIDATION
from training.models import Checkpoint, Model, Run, RunInput, Snapshot

# What the core may know of the machine. All else stays here: it needs no database, no secret, no address.
ENVIRONMENT_NAMES = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "VIRTUAL_ENV", "SHELL"})
ENVIRONMENT_PREFIXES = (
    *("LC_", "LD_", "DYLD_", "CUDA_", "NVIDIA_", "NCCL_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_"),
    *("OMP_", "MKL_", "KMP_", "GOMP_", "MALLOC_", "XDG_CACHE_"),
)


@dataclass(frozen=True)
class Layout:
    """An attempt's folder, ready to start in."""

    folder: Path
    resume: Checkpoint | None
    unusable: tuple[str, ...] = ()
    """Checkpoints that were passed over, and why."""
    uses: tuple[Path, ...] = ()
    """What must stay on this host while the attempt lasts."""

    @property
    def run_json(self) -> Path:
        return self.folder / "run.json"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "core.log"


def lay_out(run: Run) -> Layout:
    """Make the attempt's folder and write run.json. Raises FileStoreError for an input that is gone or damaged.

    With an object store, this is where inputs and the checkpoint come to this host.
    """
    folder = files.attempt_folder(run.pk, run.attempt)
    folder.mkdir(parents=True)
    resume, unusable = newest_checkpoint(run)
    uses = [folder, *inputs_here(run)] + ([files.attempt_folder(run.pk, resume.attempt)] if resume else [])
    content = {
        "version": 1,
        "stage": run.stage,
        "seed": run.seed,
        "config": run.config,
        "inputs": resolve_inputs(run, folder),
        "resume": {"path": str(files.checkpoint_path(resume)), "sha256": resume.artifact.sha256} if resume else None,
        "output": str(folder),
        "numerics": run.numerics,
        "supervised": True,
    }
    layout = Layout(folder, resume, tuple(unusable), tuple(uses))
    layout.run_json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return layout


def inputs_here(run: Run) -> list[Path]:
    """Where its inputs lie on this host, fetched where need be; a copy that was damaged since is fetched again."""
    found = []
    for item in run.inputs.select_related("snapshot__artifact", "model__artifact"):
        source = item.model or item.snapshot
        assert source is not None
        found.append(files.path_of(source.artifact, checked=True))
    return found


def newest_checkpoint(run: Run) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose files are what their hash says, and what was wrong with newer ones."""
    unusable: list[Checkpoint] = []
    chosen = None
    for checkpoint in run.checkpoints.filter(set_aside=False).select_related("artifact").order_by("-step", "-attempt"):
        problem = problem_of(checkpoint)
        if problem != checkpoint.problem:  # a disk that was away may be back
            Checkpoint.objects.filter(pk=checkpoint.pk).update(problem=problem)
        if not problem:
            chosen = checkpoint
            break
        unusable.append(checkpoint)
    instead = f"the one at step {chosen.step} is used" if chosen else "no other is there, so the run begins anew"
    return chosen, [f"The checkpoint at step {found.step} is gone or damaged; {instead}." for found in unusable]


def problem_of(checkpoint: Checkpoint) -> str:
    """What is wrong with its files; empty where they are what their hash says."""
    try:
        path, sha256 = files.checkpoint_path(checkpoint), checkpoint.artifact.sha256
        if store.is_remote():
            files.present(files.key_of(path), sha256, checked=True)
        else:
            files.verify(path, sha256, "The checkpoint")
    except FileStoreError as error:
        return error.message[:200]
    except OSError as error:
        if error.errno == errno.ENOSPC:  # it could not be fetched: no fault of its own
            raise
        return f"The checkpoint can't be read: {error.strerror}."[:200]
    return ""


def resolve_inputs(run: Run, folder: Path) -> dict[str, dict[str, str]]:
    """Each input of the core with its path here and its hash."""
    resolved: dict[str, dict[str, str]] = {}
    for item in run.inputs.select_related("snapshot__artifact", "model__artifact"):
        resolved[item.name] = resolve_input(item, folder)
    implied_validation(run, resolved)
    return resolved


def resolve_input(item: RunInput, folder: Path) -> dict[str, str]:
    if item.model:
        return model_input(item.model)
    assert item.snapshot is not None
    return snapshot_input(item.snapshot, SPLITS_READ[item.name], folder / "inputs" / f"{item.name}.jsonl")


def model_input(model: Model) -> dict[str, str]:
    return {"path": str(files.path_of(model.artifact)), "sha256": model.artifact.sha256}


def snapshot_input(snapshot: Snapshot, splits: tuple[str, ...], joined: Path) -> dict[str, str]:
    """The file of a split; or several files as one, written to `joined`."""
    parts = [split for split in splits if snapshot.counts.get(split)]
    if len(parts) == 1:
        path, sha256 = snapshot_file(snapshot, parts[0])
        return {"path": str(path), "sha256": sha256}
    joined.parent.mkdir(exist_ok=True)
    with joined.open("wb") as target:
        for split in parts:
            path, sha256 = snapshot_file(snapshot, split)
            files.verify(path, sha256, f"The file {path.name} of the snapshot {snapshot.name}")
            with path.open("rb") as source:
                shutil.copyfileobj(source, target)
    return {"path": str(joined), "sha256": files.file_hash(joined)}


def snapshot_file(snapshot: Snapshot, split: str) -> tuple[Path, str]:
    """(path, hash) of one of a snapshot's files."""
    name = f"{split}.jsonl"
    return files.path_of(snapshot.artifact) / name, snapshot.manifest["files"][name]["sha256"]


def implied_validation(run: Run, resolved: dict[str, dict[str, str]]) -> None:
    """A training snapshot with held-out rows brings its own validation file, unless the run names another."""
    if VALIDATION in resolved or VALIDATION not in STAGE_INPUTS[run.stage]:
        return
    train = run.inputs.select_related("snapshot__artifact").get(name="train").snapshot
    if train and train.counts.get(VALIDATION):
        path, sha256 = snapshot_file(train, VALIDATION)
        resolved[VALIDATION] = {"path": str(path), "sha256": sha256}


def core_command(stage: str, run_json: Path) -> list[str]:
    return [sys.executable, "-m", "training.rlhf", stage, "--config", str(run_json)]


def core_environment(threads: int) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ENVIRONMENT_NAMES or name.startswith(ENVIRONMENT_PREFIXES)
    }
    return kept | {
        "OMP_NUM_THREADS": str(threads or 1),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(settings.BASE_DIR),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }


@dataclass
class Core:
    """A running core: the leader of a process group, and the pipe whose end-of-file ends it should we die."""

    process: subprocess.Popen[bytes]
    lifeline: int
    closing: threading.Lock = field(default_factory=threading.Lock)
    """The watch writes to the lifeline until after the core's end: never to a number that is someone else's by then."""

    @classmethod
    def start(cls, command: list[str], log: Path, environment: dict[str, str]) -> Core:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)  # a core that reads nothing must not hold up its watcher
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    command,
                    cwd=settings.BASE_DIR,
                    env=environment
                    | {
                        "PLACKETT_LIFELINE_FD": str(read_end),
                        "PLACKETT_LIFELINE_SECONDS": str(settings.RUN_LEASE_SECONDS),
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=(read_end,),
                )
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        return cls(process, write_end)

    @classmethod
    def of(cls, run: Run, layout: Layout) -> Core:
        environment = core_environment(int(run.numerics.get("threads") or 0))
        return cls.start(core_command(run.stage, layout.run_json), layout.log, environment)

    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self.process.poll()

    def ask_to_stop(self) -> None:
        self.signal(signal.SIGTERM)

    def ask_where_it_is(self) -> None:
        """Have it write the stacks of its threads to its log."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self.process.send_signal(signal.SIGUSR1)

    def keep_alive(self) -> None:
        """Tell it that the lease holds for another while; without that it ends by itself."""
        with self.closing, contextlib.suppress(OSError):
            if self.lifeline >= 0:
                os.write(self.lifeline, b".")

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, which outlives its leader where the core has children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        """Kill what is left of it and wait, so that nothing keeps the device."""
        self.kill()
        self.process.wait()
        with self.closing:
            if self.lifeline >= 0:
                os.close(self.lifeline)
            self.lifeline = -1


def log_tail(path: Path, lines: int = 8) -> str:
    """The last lines that the core wrote to its log."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4096))
            text = stream.read().decode(errors="replace").replace("\x00", "")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])
