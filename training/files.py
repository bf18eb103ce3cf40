"""The file store: folders and files named by their hash, and the rooms of running attempts.

    <FILES_DIR>/<kind>/<sha256>...              finished things, never changed, each with an `Artifact` row
    <FILES_DIR>/runs/<run>/attempts/<n>/        one attempt's own room
    <FILES_DIR>/jobs/<job>/                     an export, until it expires

Where the installation has an object store (`annotation.store`), that is where all of it is kept, under the same names;
this folder is then the host's own, with the rooms of what runs here and copies of what was used lately.

The hash of a folder is that of its sorted lines "<sha256>  <relative path>", the same as the core's, so either side
can check what the other wrote.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from uuid import UUID

from django.utils.translation import gettext as _

from annotation import store
from annotation.store import FileStoreError
from training import cache
from training.folders import fresh_folder, remove, root, size_of
from training.models import Artifact, ArtifactKind, Checkpoint, Removal

ASIDE_SECONDS = 24 * 3600.0

__all__ = ["FileStoreError", "fresh_folder", "remove", "root", "size_of"]


def file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_hash(path: Path) -> str:
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    lines = "".join(f"{file_hash(file)}  {name}\n" for name, file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    return folder_hash(path) if path.is_dir() else file_hash(path)


def place_of(artifact: Artifact) -> Path:
    """Where it lies on this host, if it does."""
    return below(root(), artifact.storage_key)


def path_of(artifact: Artifact, *, checked: bool = False) -> Path:
    """Where it lies, to be read; fetched first where it is kept elsewhere. Raises FileStoreError, StoreAway."""
    return present(artifact.storage_key, artifact.sha256, checked=checked)


def present(key: str, sha256: str, *, checked: bool = False) -> Path:
    """The path of what is kept under a key. `checked`: a copy that was damaged here since is fetched again."""
    path = below(root(), key)
    if not store.is_remote():
        return path
    if checked and path.exists() and sha256_of(path) != sha256:
        remove(path)
    if path.exists():
        os.utime(path)  # used just now: see `training.cache`
    else:
        store.fetch(key, sha256, path)
        cache.make_room()
    return path


def attempt_folder(run_id: UUID, attempt: int) -> Path:
    return root() / "runs" / str(run_id) / "attempts" / str(attempt)


def run_folder(run_id: UUID) -> Path:
    return root() / "runs" / str(run_id)


def job_folder(job_id: UUID) -> Path:
    return root() / "jobs" / str(job_id)


def checkpoint_path(checkpoint: Checkpoint) -> Path:
    """Where it lies: in the room of the attempt that wrote it."""
    return attempt_folder(checkpoint.run_id, checkpoint.attempt) / "checkpoints" / f"step_{checkpoint.step:08d}"


def key_of(path: Path) -> str:
    return path.relative_to(root()).as_posix()


def final_key(kind: ArtifactKind, sha256: str, suffix: str) -> str:
    return f"{kind.value}/{sha256}{suffix}"


def send(path: Path, kind: ArtifactKind, sha256: str) -> None:
    """Bring it into the object store, where there is one; before the transaction that publishes it, since it may take
    a while. Raises FileStoreError, StoreAway."""
    store.put(final_key(kind, sha256, path.suffix), path, sha256)


def below(folder: Path, relative: str) -> Path:
    """The path of `relative` below `folder`. Raises FileStoreError for one that leaves it."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()) or "\x00" in relative:
        raise FileStoreError(_("The path %(relative)s leaves its folder.") % {"relative": repr(relative)})
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
    key = final_key(kind, sha256, path.suffix)
    final = root() / key
    if store.is_remote():
        keep_in_store(key, path if path.exists() else final, sha256)
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


def keep_in_store(key: str, path: Path, sha256: str) -> None:
    """Most often `send` has done it, and this is a look. The rows of a removal to come are locked first: whoever is
    removing these very bytes, which someone else had before us, is done then."""
    Removal.objects.filter(key=key).delete()
    with store.impatient():
        store.put(key, path, sha256)


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
