"""This host's folder of files: an empty folder to write aside in, sizes, and removing."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

from django.conf import settings


def root() -> Path:
    return Path(settings.FILES_DIR)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def fresh_folder() -> Path:
    """An empty folder on the store's own disk, to write aside in."""
    path = root() / "aside" / uuid4().hex
    path.mkdir(parents=True)
    return path


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
