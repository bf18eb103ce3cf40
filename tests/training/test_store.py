"""The object store, against a real S3 server over HTTP: whole and verified, or not there; and this host's copies."""

from __future__ import annotations

import os
import subprocess
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from annotation import staging, store
from annotation.models import ImportBatch, Membership
from annotation.services.imports import import_stage
from annotation.store import FileStoreError, StoreAway
from tests.conftest import ROOT
from tests.s3 import ObjectStore
from training import cache, files
from training.models import Artifact, ArtifactKind
from training.services.snapshots import corpus_add


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "made"
    (path / "inner").mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "inner" / "weights").write_bytes(os.urandom(3 << 20))
    (path / "empty").touch()
    return path


@pytest.fixture
def kept(s3: ObjectStore, folder: Path) -> str:
    """The hash of a folder that is in the store under `model/<hash>`."""
    sha256 = files.folder_hash(folder)
    store.put(f"model/{sha256}", folder, sha256)
    return sha256


def test_a_folder_comes_out_as_it_went_in(s3: ObjectStore, kept: str, folder: Path, tmp_path: Path) -> None:
    names = [f"model/{kept}/{name}" for name in ("config.json", "empty", "inner/weights")]
    assert s3.names() == sorted([*names, f"model/{kept}.list"])
    store.fetch(f"model/{kept}", kept, tmp_path / "there")
    assert files.folder_hash(tmp_path / "there") == kept
    assert (tmp_path / "there" / "empty").exists()


def test_a_file_comes_out_as_it_went_in(s3: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text("{}\n")
    sha256 = files.file_hash(tmp_path / "answers.jsonl")
    store.put("responses/x.jsonl", tmp_path / "answers.jsonl", sha256)
    store.fetch("responses/x.jsonl", sha256, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "{}\n"


def test_what_has_no_list_is_not_there(s3: ObjectStore, kept: str, folder: Path, tmp_path: Path) -> None:
    """As after an upload that broke off before its end; a second try goes on."""
    key = f"model/{kept}"
    s3.lose(f"{key}.list", f"{key}/inner/weights")
    assert not store.has(key)
    with pytest.raises(FileStoreError, match="is gone from the file store"):
        store.fetch(key, kept, tmp_path / "there")
    assert not (tmp_path / "there").exists()
    store.put(key, folder, kept)
    store.fetch(key, kept, tmp_path / "there")


@pytest.mark.parametrize("name", ["inner/weights", "config.json"])
def test_other_bytes_are_found_by_their_hash(s3: ObjectStore, kept: str, name: str, tmp_path: Path) -> None:
    content = bytearray(s3.content(f"model/{kept}/{name}"))
    content[-1] ^= 1
    s3.put(f"model/{kept}/{name}", bytes(content))
    with pytest.raises(FileStoreError, match="its hash differs"):
        store.fetch(f"model/{kept}", kept, tmp_path / "there")
    assert not (tmp_path / "there").exists() and not list((files.root() / "aside").glob("*"))


def test_another_list_is_found_by_the_hash_of_its_folder(s3: ObjectStore, kept: str, tmp_path: Path) -> None:
    name = f"model/{kept}.list"
    s3.put(name, s3.content(name).replace(b"config.json", b"../../config.json"))
    with pytest.raises(FileStoreError, match="its hash differs"):
        store.fetch(f"model/{kept}", kept, tmp_path / "there")
    s3.put(name, b"no list")
    with pytest.raises(FileStoreError):
        store.fetch(f"model/{kept}", kept, tmp_path / "there")


def test_bytes_that_are_not_what_their_hash_says_are_not_kept(s3: ObjectStore, folder: Path) -> None:
    with pytest.raises(FileStoreError, match="is not what its hash says"):
        store.put("model/x", folder, "0" * 64)
    assert s3.names() == []


def test_removing_takes_all_below_a_key_and_nothing_beside_it(s3: ObjectStore, folder: Path) -> None:
    sha256 = files.folder_hash(folder)
    for key in ("runs/1/checkpoints/a", "runs/1/checkpoints/b", "runs/10/checkpoints/a"):
        store.put(key, folder, sha256)
    store.copy("runs/10/checkpoints/a", "runs/2/checkpoints/a")
    store.remove("runs/1")
    assert store.has("runs/2/checkpoints/a") and store.has("runs/10/checkpoints/a")
    assert not [name for name in s3.names() if name.startswith("runs/1/")]
    store.check("runs/2/checkpoints/a", sha256)
    s3.put("runs/2/checkpoints/a/config.json", b"longer than before")
    with pytest.raises(FileStoreError):
        store.check("runs/2/checkpoints/a", sha256)


def test_a_store_that_is_away_is_said_at_once_or_waited_for(s3: ObjectStore, kept: str, tmp_path: Path) -> None:
    told: list[str] = []
    s3.server.kill()
    with pytest.raises(StoreAway, match="does not answer"):
        store.fetch(f"model/{kept}", kept, tmp_path / "there")

    def away(reason: str, seconds: float) -> None:
        told.append(reason)
        s3.server.start()

    with store.patient(lambda: None, away):
        store.fetch(f"model/{kept}", kept, tmp_path / "there")
    assert files.folder_hash(tmp_path / "there") == kept
    assert len(told) == 1


def test_who_waits_for_the_store_can_be_told_to_stop(s3: ObjectStore, kept: str, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def look() -> None:
        if time.monotonic() > until:
            raise Enough

    s3.server.kill()
    until = time.monotonic() + 0.5
    with store.patient(look, lambda reason, seconds: None), pytest.raises(Enough):
        store.fetch(f"model/{kept}", kept, tmp_path / "there")


def test_wrong_keys_are_an_outage_and_no_loss(s3: ObjectStore, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from config.env import env_store

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    s3.settings.STORAGES = s3.settings.STORAGES | {"default": env_store("STORE_URL")}
    with pytest.raises(StoreAway, match=r"does not answer .403."):
        store.has(f"model/{kept}")


# --- This host's copies -------------------------------------------------------------------------------------


def artifact(s3: ObjectStore, number: int, size: int = 1000) -> Artifact:
    path = s3.folder / f"made-{number}"
    path.mkdir()
    (path / "config.json").write_text(f"{number:0{size}}")
    sha256 = files.folder_hash(path)
    store.put(f"model/{sha256}", path, sha256)
    return Artifact(kind=ArtifactKind.MODEL, sha256=sha256, size=size, storage_key=f"model/{sha256}")


def age(path: Path, seconds: float) -> None:
    at = time.time() - seconds
    os.utime(path, (at, at))


def test_a_copy_is_fetched_once_and_again_where_it_was_damaged(s3: ObjectStore) -> None:
    made = artifact(s3, 1)
    path = files.path_of(made)
    (path / "config.json").write_text("damaged here")
    assert (files.path_of(made) / "config.json").read_text() == "damaged here"  # no page hashes what it reads
    assert files.folder_hash(files.path_of(made, checked=True)) == made.sha256


def test_room_is_made_by_what_was_not_used_for_longest(s3: ObjectStore) -> None:
    s3.settings.STORE_CACHE_BYTES = 2500
    old, older, new = artifact(s3, 1), artifact(s3, 2), artifact(s3, 3)
    age(files.path_of(older), 5000)
    age(files.path_of(old), 4000)
    files.path_of(new)
    assert [files.place_of(each).exists() for each in (older, old, new)] == [False, True, True]


def test_what_an_attempt_holds_stays_and_so_does_what_was_asked_for_just_now(s3: ObjectStore) -> None:
    s3.settings.STORE_CACHE_BYTES = 1
    held, loose, fresh = artifact(s3, 1), artifact(s3, 2), artifact(s3, 3)
    age(files.path_of(held), 5000)
    with cache.holding([files.place_of(held)]):
        age(files.path_of(loose), 4000)
        files.path_of(fresh)
        assert [files.place_of(each).exists() for each in (held, loose, fresh)] == [True, False, True]
    age(files.place_of(held), 5000)
    cache.make_room()
    assert not files.place_of(held).exists()


def test_a_checkpoint_goes_only_when_nobody_is_in_its_attempts_room(s3: ObjectStore) -> None:
    s3.settings.STORE_CACHE_BYTES = 1
    room = files.root() / "runs" / "a" / "attempts" / "1"
    checkpoint = room / "checkpoints" / "step_00000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.bin").write_bytes(bytes(10))
    store.put(files.key_of(checkpoint), checkpoint, files.folder_hash(checkpoint))
    age(checkpoint, 5000)
    with cache.holding([room]):
        cache.make_room()
        assert checkpoint.exists()
    cache.make_room()
    assert not checkpoint.exists() and room.exists()


def test_the_only_copy_is_never_evicted(s3: ObjectStore) -> None:
    s3.settings.STORE_CACHE_BYTES = 1
    path = files.root() / "model" / ("0" * 64)
    path.mkdir(parents=True)
    (path / "config.json").write_text("from the time when this folder was the store")
    age(path, 5000)
    cache.make_room()
    assert path.exists()


def test_a_folder_as_store_asks_nobody_and_evicts_nothing(settings: Any, tmp_path: Path, folder: Path) -> None:
    settings.FILES_DIR = tmp_path / "files"
    settings.STORE_CACHE_BYTES = 1
    sha256 = files.folder_hash(folder)
    files.send(folder, ArtifactKind.MODEL, sha256)
    assert not files.root().exists()
    kept = files.root() / "model" / "y"
    kept.mkdir(parents=True)
    (kept / "config.json").write_text("{}")
    age(kept, 5000)
    cache.make_room()
    assert kept.exists()
    with cache.holding([tmp_path / "nowhere"]):
        assert files.present("model/x", sha256) == files.root() / "model" / "x"


def stage(blocks: list[bytes]) -> tuple[str, int]:
    with staging.staged(blocks) as found:
        return found


def test_a_file_to_be_imported_is_there_on_every_host(s3: ObjectStore) -> None:
    digest, _size = stage([b"one\n", b"two\n"])
    s3.another_host()
    assert staging.verified(digest).read_bytes() == b"one\ntwo\n"
    staging.forget(digest)
    s3.another_host("third")
    assert not staging.staged_path(digest).exists()
    stage([b"three\n"])
    staging.forget_older(3600, set())
    assert len(s3.names()) == 2
    staging.forget_older(-1, set())
    assert s3.names() == []


def test_a_file_that_the_store_refuses_leaves_no_import_behind(s3: ObjectStore, project: Any, ada: Membership) -> None:
    s3.server.kill()
    with pytest.raises(StoreAway):
        import_stage(
            project=project, kind="prompts", blocks=[b"{}\n"], filename="a", pool="ppo", source="a set", by=ada.user
        )
    assert not ImportBatch.objects.exists()


def test_without_an_object_store_nothing_of_it_is_loaded(python: str) -> None:
    code = (
        "import django, sys; django.setup(); from training import files, supervisor; from annotation import staging; "
        "staging.staged_path('x'); print([name for name in sys.modules if name.split('.')[0] in {'boto3', 'storages'}])"
    )
    done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_in_a_folder_can_be_brought_to_the_store(
    s3: ObjectStore, db: None, project: Any, ada: Membership
) -> None:
    there = s3.settings.STORAGES
    s3.settings.STORAGES = there | {"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
    snapshot = corpus_add(project=project, texts=["one text", "and another"], by=ada)
    digest, _size = stage([b"one\n"])
    s3.settings.STORAGES = there
    assert s3.names() == []
    call_command("store_push", stdout=StringIO())
    s3.another_host()
    assert files.folder_hash(files.path_of(snapshot.artifact)) == snapshot.artifact.sha256
    assert staging.verified(digest).exists()
