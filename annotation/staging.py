"""Files that wait to be imported: copied into the file store under their hash, so that nobody changes them meanwhile.

    <FILES_DIR>/imports/<sha256>

Where the installation has an object store, they are kept there, and the file here is a copy.

A staged file is removed when its import is over, or nobody started it for a while: it may hold what people wrote.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO
from uuid import uuid4

from django.conf import settings
from django.utils.translation import gettext as _

from annotation import store
from annotation.errors import ImportProblem
from annotation.store import FileStoreError, StoreAway

BLOCK = 1 << 20


def folder() -> Path:
    return Path(settings.FILES_DIR) / "imports"


def key_of(digest: str) -> str:
    return f"imports/{digest}"


def staged_path(digest: str) -> Path:
    """Where it lies, fetched first where another host took it; a path that leads nowhere if it is no longer kept.

    Raises StoreAway.
    """
    path = folder() / digest
    if store.is_remote() and not path.exists():
        with suppress(FileStoreError):
            store.fetch(key_of(digest), digest, path)
    return path


@contextmanager
def staged(blocks: Iterable[bytes], limit: int | None = None) -> Iterator[tuple[str, int]]:
    """Keep a file, of which (sha256, size) is given; all of it is on the disk then, and at the end it gets its name.

    In between its row is written: an import of the same file that ends meanwhile, and would remove it, sees that it is
    wanted.

    Raises: ImportProblem for one that is larger than the limit.
    """
    aside = Path(settings.FILES_DIR) / "aside" / uuid4().hex
    aside.parent.mkdir(parents=True, exist_ok=True)
    digest, size = sha256(), 0
    try:
        with aside.open("xb") as copy:
            for block in blocks:
                size += len(block)
                if limit is not None and size > limit:
                    raise ImportProblem(
                        _(
                            "This file is larger than %(limit)s MB, which is the most that is taken. Split it into "
                            "several."
                        )
                        % {"limit": limit >> 20}
                    )
                digest.update(block)
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
        yield digest.hexdigest(), size
        store.put(key_of(digest.hexdigest()), aside, digest.hexdigest())
        final = folder() / digest.hexdigest()
        final.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(final)
    finally:
        aside.unlink(missing_ok=True)


def blocks_of(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK):
        yield block


def blocks_of_path(path: Path) -> Iterator[bytes]:
    """The blocks of a file that somebody else may be writing. Raises ImportProblem where it changed meanwhile."""
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        while block := file.read(BLOCK):
            yield block
        after = os.stat(path)
        same = (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)
        if not same or file.tell() != after.st_size:
            raise ImportProblem(
                _("%(name)s changed while it was read. Wait until it is written, then import it again.")
                % {"name": path.name}
            )


def verified(digest: str, tick: Callable[[], object] = lambda: None) -> Path:
    """The staged file, checked against its hash. Raises ImportProblem."""
    path = staged_path(digest)
    found = sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                found.update(block)
                tick()
    except FileNotFoundError:
        raise ImportProblem(_("The file is no longer kept. Send it again.")) from None
    if found.hexdigest() != digest:
        raise ImportProblem(_("The kept file was changed: its hash differs. Send it again."))
    return path


def forget(digest: str) -> None:
    (folder() / digest).unlink(missing_ok=True)
    if store.is_remote():
        with suppress(StoreAway):  # `forget_older` comes by again
            store.remove(key_of(digest))


def forget_older(seconds: float, needed: set[str]) -> None:
    """Remove staged files that no import needs and that are older than this."""
    if store.is_remote():
        with suppress(StoreAway):
            store.remove_older("imports", seconds, needed)
    for path in folder().glob("*"):
        try:
            if path.name not in needed and time.time() - path.stat().st_mtime > seconds:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue
