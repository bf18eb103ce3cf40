"""Everything a run needs to go on as if it had never stopped, in a folder that is either whole or absent.

The state of a stage is a dict of named objects with `state_dict` and `load_state_dict` (a module, an optimiser, a
cursor). Tensors go to `state.safetensors`, the rest to `state.json`; nothing is pickled, so a checkpoint from elsewhere
cannot run code. Python writes a float so that it reads back the same, bit for bit.

Saving has two halves: `take_snapshot` copies the state to the CPU's memory between two steps, and `write_checkpoint`
brings the copy to the disk, which may happen beside the steps that follow (`saving`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from training.rlhf.errors import DataError, NumericsError

FORMAT = 2  # 2 added what the run watches; 1 is still read
DTYPES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"},
    torch.bool: "BOOL",
}  # by safetensors' names
LARGEST_WRITE = 2**26


class Stateful(Protocol):
    """What a checkpoint can hold: modules, optimisers, and this package's own cursors and records."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


class CheckpointError(DataError):
    """A checkpoint that cannot be used; the message says why."""


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes, or of a folder: of its sorted lines "<sha256>  <relative path>"."""
    if path.is_dir():
        files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
        lines = "".join(f"{sha256_of(file)}  {name}\n" for name, file in files)
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def sync_tree(folder: Path) -> None:
    """Make sure that the disk has every file of the folder, and the folder's own list of names."""
    for path in [*folder.rglob("*"), folder]:
        sync_path(path)


def sync_path(path: Path) -> None:
    """Make sure that the disk has one file's bytes, or one folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_folder(aside: Path, final: Path) -> str:
    """Sync a folder that was written aside, give it its name, and return its hash. `final` is replaced if it exists."""
    sync_tree(aside)
    digest = sha256_of(aside)
    if final.exists():
        shutil.rmtree(final)
    aside.rename(final)
    sync_path(final.parent)
    return digest


def fresh_folder(path: Path) -> Path:
    """An empty folder at `path`; what a killed attempt left there is removed."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


class Snapshot(NamedTuple):
    """The state after a step, in memory that the steps that follow do not touch."""

    step: int
    tree: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    numerics: Mapping[str, Any] | None = None
    """What was left to the machine, as it decided: see `numerics_of`."""


class Saved(NamedTuple):
    """A checkpoint that the disk has."""

    step: int
    path: Path
    sha256: str
    size: int


def take_snapshot(state: Mapping[str, Stateful], step: int, numerics: Mapping[str, Any] | None = None) -> Snapshot:
    """Copy the state, and the random generators', to the CPU's memory."""
    tensors: dict[str, torch.Tensor] = {}
    names: dict[tuple[Any, ...], str] = {}
    tree = {name: _to_json(part.state_dict(), tensors, names) for name, part in state.items()}
    tree["random"] = _to_json(random_state(), tensors, names)
    return Snapshot(step, tree, tensors, numerics)


def write_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Write it into an existing folder."""
    write_tensors(folder / "state.safetensors", snapshot.tensors)
    content = {
        "version": FORMAT,
        "step": snapshot.step,
        "numerics": snapshot.numerics,
        "state": snapshot.tree,
    }
    (folder / "state.json").write_text(json.dumps(content))


def save_state(folder: Path, state: Mapping[str, Stateful], step: int) -> None:
    """Write the state, and the random generators', into an existing folder."""
    write_snapshot(folder, take_snapshot(state, step))


def write_checkpoint(folder: Path, snapshot: Snapshot) -> Saved:
    """Write a snapshot aside, sync it, hash it, and give it its name below `folder`; return when the disk has it.

    Raises NumericsError for a state that is not finite, which must not push out a good one; and OSError, with nothing
    left behind, where the disk is full.
    """
    check_snapshot(snapshot)
    final = folder / f"step_{snapshot.step:08d}"
    aside = final.with_suffix(".tmp")
    try:
        write_snapshot(fresh_folder(aside), snapshot)
        digest = publish_folder(aside, final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)  # what was half written may be all the room that is left
        raise
    return Saved(snapshot.step, final, digest, size_of(final))


def check_snapshot(snapshot: Snapshot) -> None:
    """Raise NumericsError where a number in it is NaN or infinite."""
    for tensor in snapshot.tensors.values():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NumericsError(
                f"the weights were no longer finite at step {snapshot.step}, so they were not saved; lower the "
                "learning rate, or compute in float32, and retry from the last checkpoint"
            )


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a safetensors file in pieces that leave Python's lock to the steps that go on meanwhile.

    The library's own writer holds the lock until the last byte is written, and copies every tensor first.
    """
    widest_first = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {}
    offset = 0
    for name, tensor in widest_first:
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb", buffering=0) as stream:
        write_all(stream, struct.pack("<Q", len(text)) + text)
        for _, tensor in widest_first:
            if tensor.numel():
                write_all(stream, memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))


def write_all(stream: io.RawIOBase | io.FileIO, content: bytes | memoryview) -> None:
    """All of it: a raw write may stop short, above all where the disk is nearly full."""
    rest = memoryview(content)
    while rest:
        rest = rest[stream.write(rest[:LARGEST_WRITE]) :]


def numerics_of(folder: Path) -> dict[str, Any]:
    """The precision in which the run that saved a checkpoint computes; empty where none is told, or none can be read.

    What cannot be read is said by `load_state`, in words.
    """
    try:
        found = json.loads((folder / "state.json").read_text()).get("numerics")
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def load_state(folder: Path, state: Mapping[str, Stateful], optional: Collection[str] = ()) -> int:
    """Put a checkpoint back into the objects of `state`; returns its step. Raises CheckpointError in words.

    `optional` names what a checkpoint of an older format may lack.
    """
    try:
        saved = json.loads((folder / "state.json").read_text())
        tensors = load_file(folder / "state.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"the checkpoint {folder} cannot be read ({error}); resume from an older one") from error
    version = saved.get("version")
    if version not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"the checkpoint {folder} has the format {version}, and this code reads up to {FORMAT}: update Plackett on "
            "this worker, or retry the run from its start"
        )
    tree = saved["state"]
    needed = {*state, "random"}
    if not needed - set(optional) <= set(tree) <= needed:
        raise CheckpointError(f"the checkpoint {folder} holds {sorted(tree)}, this stage needs {sorted(state)}")
    for name, part in state.items():
        if name not in tree:
            continue
        try:
            part.load_state_dict(_from_json(tree[name], tensors))
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(f"the {name} in {folder} belongs to another model or config: {error}") from error
    set_random_state(_from_json(tree["random"], tensors))
    return int(saved["step"])


def random_state() -> dict[str, Any]:
    """The state of every random generator that a stage may draw from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned; a GPU that is gone is left out."""
    random.setstate(state["python"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _to_json(value: Any, tensors: dict[str, torch.Tensor], names: dict[tuple[Any, ...], str]) -> Any:
    """`value` as JSON, its tensors taken out by name; tied tensors (one storage, two names) are stored once."""
    if isinstance(value, torch.Tensor):
        storage = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
        name = names.get(storage) if value.numel() else None
        if name is None:
            name = names[storage] = f"t{len(tensors)}"
            tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[key, _to_json(item, tensors, names)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_to_json(item, tensors, names) for item in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _from_json(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _from_json(item, tensors) for key, item in content}
    items = [_from_json(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
