"""The file store: folders and files named by their hash, and the rooms of running attempts.

    <FILES_DIR>/<kind>/<sha256>...              finished things, never changed, each with an `Artifact` row
    <FILES_DIR>/runs/<run>/attempts/<n>/        one attempt's own room
    <FILES_DIR>/jobs/<job>/                     an export, until it expires

The hash of a folder is that of its sorted lines "<sha256>  <relative path>", the same as the core's, so either side
can check what the other wrote.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

from django.conf import settings
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from training.models import Artifact, ArtifactKind, Checkpoint

ASIDE_SECONDS = 24 * 3600.0


class FileStoreError(PlackettError):
    """A file that is missing, or is not what its hash says."""


def root() -> Path:
    return Path(settings.FILES_DIR)


def file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_hash(path: Path, known: Mapping[str, str] | None = None) -> str:
    """known: hashes of files in it that were computed while they were written."""
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    hashes = known or {}
    lines = "".join(f"{hashes.get(name) or file_hash(file)}  {name}\n" for name, file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


class HashedFile:
    """A new file that knows its size and its hash when its last line is written, so that nobody reads it for them."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb", buffering=1 << 20)
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, line: bytes) -> None:
        self.file.write(line)
        self.digest.update(line)
        self.size += len(line)

    @property
    def sha256(self) -> str:
        return self.digest.hexdigest()

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def sha256_of(path: Path) -> str:
    return folder_hash(path) if path.is_dir() else file_hash(path)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def path_of(artifact: Artifact) -> Path:
    return below(root(), artifact.storage_key)


def attempt_folder(run_id: UUID, attempt: int) -> Path:
    return root() / "runs" / str(run_id) / "attempts" / str(attempt)


def run_folder(run_id: UUID) -> Path:
    return root() / "runs" / str(run_id)


def job_folder(job_id: UUID) -> Path:
    return root() / "jobs" / str(job_id)


def checkpoint_path(checkpoint: Checkpoint) -> Path:
    """Where it lies: in the room of the attempt that wrote it."""
    return attempt_folder(checkpoint.run_id, checkpoint.attempt) / "checkpoints" / f"step_{checkpoint.step:08d}"


def below(folder: Path, relative: str) -> Path:
    """The path of `relative` below `folder`. Raises FileStoreError for one that leaves it."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()) or "\x00" in relative:
        raise FileStoreError(_("The path %(relative)s leaves its folder.") % {"relative": repr(relative)})
    return path


def fresh_folder() -> Path:
    """An empty folder on the store's own disk, to write aside in."""
    path = root() / "aside" / uuid4().hex
    path.mkdir(parents=True)
    return path


def clear_aside(older_than_seconds: float = ASIDE_SECONDS) -> None:
    """Remove what a killed process left half written."""
    for path in (root() / "aside").glob("*"):
        try:
            if time.time() - path.stat().st_mtime > older_than_seconds:
                remove(path)
        except FileNotFoundError:  # its writer has just given it its name
            continue


def publish(*, path: Path, kind: ArtifactKind, sha256: str) -> Artifact:
    """Give a finished file or folder its name in the store, then its row. `sha256` is its hash, computed by the caller.

    Publishing the same bytes twice keeps the first copy. Call it inside the transaction that makes the row's owner:
    files without a row are litter, a row without files would be a loss.
    """
    key = f"{kind.value}/{sha256}{path.suffix}"
    final = root() / key
    if final.exists() and (not path.exists() or sha256_of(final) == sha256):
        remove(path)
    else:
        remove(final)  # same name, other bytes: damaged since, and here are the right ones
        final.parent.mkdir(parents=True, exist_ok=True)
        sync_tree(path)
        move(path, final)
        sync(final.parent)
    size = size_of(final)
    artifact, _ = Artifact.objects.get_or_create(
        kind=kind.value, sha256=sha256, defaults={"size": size, "storage_key": key}
    )
    return artifact


def move(path: Path, final: Path) -> None:
    """Rename; what another process published under the same hash meanwhile is the same bytes."""
    try:
        path.rename(final)
    except OSError:
        if not final.exists():
            raise
        remove(path)


def verify(path: Path, sha256: str, what: str) -> None:
    """Raise FileStoreError if a file or folder is gone or is not what its hash says."""
    if not path.exists():
        raise FileStoreError(
            _("%(what)s is gone from the file store (%(path)s). Restore it from a backup.")
            % {"what": what, "path": path.name}
        )
    if sha256_of(path) != sha256:
        raise FileStoreError(
            _("%(what)s was changed in the file store: its hash differs. Restore it from a backup.") % {"what": what}
        )


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_tree(path: Path) -> None:
    """Make sure that the disk has it: every file, and the lists of names."""
    for item in [*path.rglob("*"), path] if path.is_dir() else [path]:
        sync(item)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
