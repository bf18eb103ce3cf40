"""The file store: hashes that the core shares, names that stay inside, publishing that survives a second try."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training import files
from training.files import FileStoreError
from training.models import Artifact, ArtifactKind

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder() -> Path:
    path = files.fresh_folder()
    (path / "sub").mkdir()
    (path / "sub-file").write_bytes(b"1")
    (path / "sub" / "b").write_bytes(b"2")
    (path / "é.txt").write_bytes("ü".encode())
    return path


def test_the_core_computes_the_same_hashes(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from training.rlhf.checkpoint import sha256_of; "
        "print(sha256_of(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", script, str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert said == files.folder_hash(folder)


def test_publishing_twice_keeps_one(folder: Path) -> None:
    sha256 = files.folder_hash(folder)
    first = files.publish(path=folder, kind=ArtifactKind.MODEL, sha256=sha256)
    assert not folder.exists() and files.folder_hash(files.path_of(first)) == sha256
    assert files.publish(path=folder, kind=ArtifactKind.MODEL, sha256=sha256) == first
    assert Artifact.objects.count() == 1 and first.size == 4


def test_a_damaged_copy_is_replaced_by_the_right_bytes(folder: Path) -> None:
    sha256 = files.folder_hash(folder)
    damaged = files.root() / "model" / sha256
    damaged.mkdir(parents=True, exist_ok=True)
    (damaged / "sub-file").write_bytes(b"x")
    artifact = files.publish(path=folder, kind=ArtifactKind.MODEL, sha256=sha256)
    files.verify(files.path_of(artifact), sha256, "It")


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "model/../../x", "a\x00b"])
def test_no_key_leads_outside(key: str) -> None:
    with pytest.raises((FileStoreError, ValueError)):
        files.path_of(Artifact(storage_key=key))


def test_what_was_left_aside_long_ago_is_removed(folder: Path) -> None:
    files.clear_aside()
    assert folder.exists()
    os.utime(folder, (0, 0))
    files.clear_aside()
    assert not folder.exists()
