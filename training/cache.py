"""This host's copies of what the object store keeps: which there are, what is in use, and which go when room is short.

An attempt holds what it reads, and its own room, by a shared lock on the folder or file itself. The system gives the
lock back when the worker's process ends, however it ends. Whoever makes room takes only what it can lock alone, and
nothing that was asked for within the last minutes: a page may be reading it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from annotation import store
from annotation.store import FileStoreError, StoreAway
from training.folders import fresh_folder, remove, root, size_of
from training.models import ArtifactKind, Checkpoint

logger = logging.getLogger(__name__)

IN_USE_SECONDS = 600.0  # since it was asked for


@dataclass
class Held:
    """Locks on what an attempt uses."""

    descriptors: list[int] = field(default_factory=list)

    def hold(self, path: Path) -> None:
        """Raises FileStoreError where it is not here (any more)."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise FileStoreError(f"{path.name} can't be read here: {error.strerror}.") from error
        self.descriptors.append(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not is_still(descriptor, path):
            raise FileStoreError(f"{path.name} was removed here just now. Try again.")

    def release(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())


@contextmanager
def holding(paths: Iterable[Path]) -> Iterator[None]:
    """Keep these here meanwhile. Where a folder is the store nothing is ever evicted, so nothing is locked."""
    held = Held()
    try:
        if store.is_remote():
            for path in paths:
                held.hold(path)
        yield
    finally:
        held.release()


def is_still(descriptor: int, path: Path) -> bool:
    """Whether what was opened is what the path names now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


@dataclass(frozen=True)
class Copy:
    """Something that may go, since the store has it, or nobody needs it."""

    path: Path
    size: int
    used_at: float

    @property
    def locked_with(self) -> Path:
        """A checkpoint goes with the room of its attempt."""
        return self.path.parent.parent if self.path.parent.name == "checkpoints" else self.path


def copies() -> Iterator[Copy]:
    for kind in ArtifactKind:
        yield from map(copy_at, (root() / kind.value).glob("*"))
    yield from map(copy_at, (root() / "runs").glob("*/attempts/*/checkpoints/step_*"))


def checkpoints_in(room: Path) -> Iterator[Copy]:
    """Those in a run's folder."""
    yield from map(copy_at, room.glob("attempts/*/checkpoints/step_*"))


def copy_at(path: Path) -> Copy:
    try:
        return Copy(path, size_of(path), path.stat().st_mtime)
    except OSError:  # gone while it was looked at
        return Copy(path, 0, time.time())


def make_room() -> None:
    """Remove what was not used for longest, until the copies are within STORE_CACHE_GB again.

    Where a folder is the store these are no copies, and nothing is removed.
    """
    if not store.is_remote():
        return
    found = sorted(copies(), key=lambda copy: copy.used_at)
    total = sum(copy.size for copy in found)
    for copy in found:
        if total <= settings.STORE_CACHE_BYTES or time.time() - copy.used_at < IN_USE_SECONDS:
            break
        try:
            total -= copy.size if drop_copy(copy) else 0
        except StoreAway:
            return  # it can't be asked whether it has them
    if total > settings.STORE_CACHE_BYTES:
        logger.warning("copies of the file store take %.1f GB, all of them in use; see STORE_CACHE_GB", total / 1e9)


def drop_copy(copy: Copy) -> bool:
    """Remove a copy that the store has too, and that nobody holds. Raises StoreAway."""
    return may_go(copy.path) and drop(copy.path, copy.locked_with)


def may_go(path: Path) -> bool:
    """Whether the store has it, or it is a checkpoint that no row names: what a lost attempt has left. Never the only
    copy, as in a folder that was a store before and has not been brought to this one."""
    if store.has(path.relative_to(root()).as_posix()):
        return True
    if path.parent.name != "checkpoints":
        return False
    run_id, attempt, step = path.parts[-5], path.parts[-3], path.name.removeprefix("step_")
    return not Checkpoint.objects.filter(run_id=run_id, attempt=attempt, step=int(step)).exists()


def drop(path: Path, locked_with: Path) -> bool:
    """Remove a copy unless someone holds it; in one rename, so that nobody finds half of it."""
    try:
        descriptor = os.open(locked_with, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_still(descriptor, locked_with):
            return False
        aside = fresh_folder()
        path.rename(aside / path.name)
        remove(aside)
        return True
    except OSError:  # BlockingIOError: it is in use
        return False
    finally:
        os.close(descriptor)
