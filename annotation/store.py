"""The object store: what hosts without a shared disk have in common, where the installation has one (STORE_URL).

Everything in it has a key, which is its path below the file store's folder:

    <key>            the bytes of a file
    <key>/<path>     those of the files of a folder
    <key>.list       which files there are, each with size and hash; written last

What has no list is not there: a host that dies in the middle of an upload leaves litter, never half a model. The list
of a folder hashes to the hash of the folder, so whoever knows that hash, from its row, can check all that it gets.
Without STORE_URL there is no object store, and every function here does nothing: the folder is the store.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol, cast
from uuid import uuid4

from django.conf import settings
from django.core.files.storage import FileSystemStorage, storages
from django.utils.translation import gettext as _

from annotation.errors import PlackettError

logger = logging.getLogger(__name__)

BLOCK = 1 << 20
LARGEST_LIST = 64 << 20
RESUMES = 5  # how often a broken download goes on where it was, before it counts as an outage
AGAIN_SECONDS = 1.0


class FileStoreError(PlackettError):
    """A file that is missing, or is not what its hash says."""


class StoreAway(PlackettError):
    """The object store does not answer, or lets us do nothing: to be tried again, and no fault of any file."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            _("The file store does not answer (%(reason)s). Try again in a while.") % {"reason": reason[:200]}
        )


class Remote(Protocol):
    """What is asked of a storage. Each raises StoreAway; `annotation.s3` is the one that there is."""

    def read(self, name: str, start: int = 0) -> Iterator[bytes]: ...

    def write(self, name: str, path: Path, tick: Callable[[], object]) -> None: ...

    def write_bytes(self, name: str, content: bytes) -> None: ...

    def size_of(self, name: str) -> int | None: ...

    def names_below(self, prefix: str) -> Iterable[tuple[str, datetime]]: ...

    def remove_name(self, name: str) -> None: ...

    def copy_name(self, source: str, target: str) -> None: ...


@dataclass(frozen=True)
class Part:
    """One file of a thing; `path` is empty where the thing is a file itself."""

    path: str
    sha256: str
    size: int


def remote() -> Remote | None:
    """The object store, or None where a folder is the store."""
    found = storages["default"]
    return None if isinstance(found, FileSystemStorage) else cast(Remote, found)


def is_remote() -> bool:
    return remote() is not None


def there() -> Remote:
    found = remote()
    assert found is not None, "only where there is an object store"
    return found


# --- Patience: whether to wait for a store that is away, and what to look at meanwhile ----------------------


LONG_OUTAGE_SECONDS = 300.0  # after which people are told that a run waits for the store, or its checkpoints do

Away = Callable[[str, float], object]


@dataclass(frozen=True)
class Patience:
    """How to wait."""

    look: Callable[[], object] = lambda: None
    """Called now and then while bytes move or nothing does. What it raises ends the wait."""
    away: Away | None = None
    """Told why, at each try of an outage, and for how many seconds it has lasted: 0 at the first. Where it is None,
    nobody waits: StoreAway is raised at once."""


NO_PATIENCE = Patience()
patience: ContextVar[Patience] = ContextVar("patience", default=NO_PATIENCE)


@contextmanager
def patient(look: Callable[[], object], away: Away | None) -> Iterator[None]:
    """Inside, an upload or download is done again until it succeeds, or `look` raises; only once without `away`."""
    token = patience.set(Patience(look, away))
    try:
        yield
    finally:
        patience.reset(token)


@contextmanager
def impatient() -> Iterator[None]:
    """Inside, nothing waits: for what happens in a transaction."""
    with patient(patience.get().look, None):
        yield


def again_and_again(do: Callable[[], None]) -> None:
    ours = patience.get()
    since: float | None = None
    while True:
        try:
            return do()
        except StoreAway as error:
            if ours.away is None:
                raise
            now = time.monotonic()
            since = since or now
            ours.away(error.reason, now - since)
            until = time.monotonic() + AGAIN_SECONDS
            while time.monotonic() < until:
                ours.look()
                time.sleep(0.1)


# --- Lists --------------------------------------------------------------------------------------------------


def list_name(key: str) -> str:
    return f"{key}.list"


def parts_of(path: Path) -> list[Part]:
    """What a folder or file here consists of."""
    if path.is_file():
        return [part_of(path, "")]
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    return [part_of(file, name) for name, file in files]


def part_of(file: Path, name: str) -> Part:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Part(name, digest, file.stat().st_size)


def hash_of(parts: list[Part]) -> str:
    """The hash of a folder is that of its sorted lines "<sha256>  <path>"; that of a file is its own."""
    if [part.path for part in parts] == [""]:
        return parts[0].sha256
    lines = "".join(f"{part.sha256}  {part.path}\n" for part in sorted(parts, key=lambda part: part.path))
    return hashlib.sha256(lines.encode()).hexdigest()


def list_bytes(parts: list[Part]) -> bytes:
    return json.dumps({"version": 1, "files": [asdict(part) for part in parts]}, sort_keys=True).encode()


def read_list(key: str) -> list[Part]:
    """The files of a thing in the store. Raises FileStoreError where it is not there, StoreAway."""
    content = b""
    for block in there().read(list_name(key)):
        content += block
        if len(content) > LARGEST_LIST:
            raise damaged(key)
    try:
        found = [
            Part(str(item["path"]), str(item["sha256"]), int(item["size"])) for item in json.loads(content)["files"]
        ]
    except (ValueError, KeyError, TypeError):
        raise damaged(key) from None
    if not all(is_inside(part.path) for part in found):
        raise damaged(key)
    return found


def is_inside(path: str) -> bool:
    """Whether a path from a list stays in its folder."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and "\x00" not in path


def damaged(key: str) -> FileStoreError:
    return FileStoreError(
        _("%(key)s was changed in the file store: its hash differs. Restore it from a backup.") % {"key": key}
    )


# --- In and out ---------------------------------------------------------------------------------------------


def has(key: str) -> bool:
    """Whether the whole of it is in the store. Raises StoreAway."""
    return there().size_of(list_name(key)) is not None


def put(key: str, path: Path, sha256: str) -> None:
    """Bring a folder or file into the store. What is there already is left alone: a key's bytes never change.

    Raises FileStoreError where its bytes here are not what the hash says; StoreAway, or what patience raises.
    """
    if is_remote():
        again_and_again(lambda: put_once(key, path, sha256))


def put_once(key: str, path: Path, sha256: str) -> None:
    if has(key):
        return
    look = patience.get().look
    parts = parts_of(path)
    if hash_of(parts) != sha256:
        raise FileStoreError(_("%(name)s is not what its hash says, so it is not kept.") % {"name": path.name})
    for part in parts:
        look()
        name = f"{key}/{part.path}" if part.path else key
        if there().size_of(name) != part.size:  # an upload that broke off goes on behind its last whole file
            there().write(name, path / part.path if part.path else path, look)
    look()
    there().write_bytes(list_name(key), list_bytes(parts))


def fetch(key: str, sha256: str, target: Path) -> None:
    """Bring it to this path, whole and verified or not at all. Another process may do the same: both are right.

    Raises FileStoreError where it is not in the store or not what its hash says; StoreAway, or what patience raises.
    """
    again_and_again(lambda: fetch_once(key, sha256, target))


def fetch_once(key: str, sha256: str, target: Path) -> None:
    parts = read_list(key)
    if hash_of(parts) != sha256:
        raise damaged(key)
    aside = Path(settings.FILES_DIR) / "aside" / uuid4().hex
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        for part in parts:
            file = aside / part.path if part.path else aside
            file.parent.mkdir(parents=True, exist_ok=True)
            fetch_part(f"{key}/{part.path}" if part.path else key, part, file)
        target.parent.mkdir(parents=True, exist_ok=True)
        rename(aside, target)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def fetch_part(name: str, part: Part, file: Path) -> None:
    """One file, going on where a broken connection left it. Raises FileStoreError unless it has its hash."""
    look, digest, size, breaks = patience.get().look, hashlib.sha256(), 0, 0
    with file.open("xb") as stream:
        while size < part.size:
            try:
                for block in there().read(name, size):
                    stream.write(block)
                    digest.update(block)
                    size += len(block)
                    look()
                    if size > part.size:
                        raise damaged(name)
                break
            except StoreAway:
                breaks += 1
                if breaks > RESUMES or not size:
                    raise
        stream.flush()
        os.fsync(stream.fileno())
    if size != part.size or digest.hexdigest() != part.sha256:
        raise damaged(name)


def rename(aside: Path, target: Path) -> None:
    try:
        aside.rename(target)
    except OSError:
        if not target.exists():  # else another process has just fetched the same bytes
            raise


def check(key: str, sha256: str) -> None:
    """Raise FileStoreError unless it is there, by its list and its files' sizes; their bytes are checked by a fetch."""
    parts = read_list(key)
    if hash_of(parts) != sha256:
        raise damaged(key)
    for part in parts:
        if there().size_of(f"{key}/{part.path}" if part.path else key) != part.size:
            raise damaged(key)


def copy(source: str, target: str) -> None:
    """The same under another key, without a way through this host. Raises FileStoreError, StoreAway."""
    parts = read_list(source)
    for part in parts:
        ending = f"/{part.path}" if part.path else ""
        there().copy_name(source + ending, target + ending)
    there().write_bytes(list_name(target), list_bytes(parts))


def remove(key: str) -> None:
    """Remove it, and all whose key goes on from this one with a slash: its list first. Raises StoreAway."""
    store = there()
    store.remove_name(list_name(key))
    names = sorted((name for name, _ in store.names_below(f"{key}/")), key=lambda name: not name.endswith(".list"))
    for name in [*names, key]:
        store.remove_name(name)


def remove_older(folder: str, seconds: float, needed: set[str]) -> None:
    """Remove the files of a folder that nobody needs and that are older than this. Raises StoreAway."""
    now = time.time()
    for name, written_at in list(there().names_below(f"{folder}/")):
        digest = name.rpartition("/")[2].removesuffix(".list")
        if digest not in needed and now - written_at.timestamp() > seconds:
            there().remove_name(name)
