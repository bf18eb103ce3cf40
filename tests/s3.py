"""A real S3-compatible server over HTTP for tests, and this process, or others, set to keep files there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from annotation import store
from tests.faults.servers import S3, Lacking


@dataclass
class ObjectStore:
    """The server, and the part of its bucket that belongs to one test."""

    server: S3
    prefix: str
    settings: Any
    folder: Path

    def names(self) -> list[str]:
        return sorted(name for name, _written_at in store.there().names_below(""))

    def content(self, name: str) -> bytes:
        return b"".join(store.there().read(name))

    def put(self, name: str, content: bytes) -> None:
        """Other bytes than ours, past all that looks after them."""
        store.there().write_bytes(name, content)

    def lose(self, *names: str) -> None:
        for name in names:
            store.there().remove_name(name)

    def another_host(self, name: str = "another") -> Path:
        """From here on this process is a host that has nothing yet but the store; its folder."""
        self.settings.FILES_DIR = self.folder / name
        return self.settings.FILES_DIR

    @property
    def variables(self) -> dict[str, str]:
        """For processes that a test starts."""
        found = self.server.variables(self.prefix)
        return {"TEST_STORE_URL": found.pop("STORE_URL"), **found}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    server = S3(tmp_path_factory.mktemp("object-store"))
    try:
        server.start()
    except Lacking as error:
        pytest.skip(str(error))
    yield server
    server.end()


@pytest.fixture
def s3(s3_server: S3, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectStore]:
    """Files are kept in the object store, and this host has none of them."""
    from annotation import s3 as client
    from config.env import env_store
    from training.selectors.stored import forget_answers

    monkeypatch.setattr(client, "READ_SECONDS", 60)  # however busy the machine is
    prefix = f"test-{uuid4().hex}"
    for name, value in s3_server.variables(prefix).items():
        monkeypatch.setenv(name, value)
    settings.STORAGES = settings.STORAGES | {"default": env_store("STORE_URL")}
    found = ObjectStore(s3_server, prefix, settings, tmp_path)
    found.another_host("files")
    forget_answers()
    yield found
    if s3_server.process and s3_server.process.poll() is not None:  # a test has killed it
        s3_server.start()
    forget_answers()
