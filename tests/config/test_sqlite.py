"""Threads that write to SQLite stand in line, and a turn ends with its transaction, however that ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connections

from config.env import sqlite_database
from config.sqlite.base import DatabaseWrapper, turn_of

THREADS, WRITES = 8, 5


def wrapper(path: Path, **options: Any) -> DatabaseWrapper:
    settings = connections.configure_settings({"default": sqlite_database(path)})["default"]
    return DatabaseWrapper(settings | {"OPTIONS": settings["OPTIONS"] | options}, alias="elsewhere")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it.sqlite3"


@pytest.fixture
def connection(path: Path, django_db_blocker: Any) -> Iterator[DatabaseWrapper]:
    with django_db_blocker.unblock():  # a file of its own, of which the tests' database knows nothing
        found = wrapper(path)
        found.cursor().execute("CREATE TABLE words (word TEXT)")
        yield found
        found.close()


def begin(connection: DatabaseWrapper) -> None:
    connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)


def test_a_turn_is_held_from_begin_to_commit_or_rollback(connection: DatabaseWrapper, path: Path) -> None:
    turn = turn_of(str(path))
    for end in (connection.commit, connection.rollback, connection.close):
        begin(connection)
        assert turn.locked()
        end()
        assert not turn.locked(), end
        if connection.connection is not None:
            connection.set_autocommit(True)


def test_many_threads_write_and_each_gets_its_turn(connection: DatabaseWrapper, path: Path) -> None:
    waited: list[float] = []

    def write() -> None:
        mine = wrapper(path)
        for _ in range(WRITES):
            began = time.monotonic()
            begin(mine)
            waited.append(time.monotonic() - began)
            mine.cursor().execute("INSERT INTO words VALUES ('tide')")
            time.sleep(0.004)  # longer than SQLite's first pauses: who only tried again would come too late, and again
            mine.commit()
            mine.set_autocommit(True)
        mine.close()

    threads = [threading.Thread(target=write) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connection.cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM words").fetchone() == (THREADS * WRITES,)
    assert len(waited) == THREADS * WRITES and not turn_of(str(path)).locked()


def test_whose_turn_does_not_come_is_told_that_it_is_locked(connection: DatabaseWrapper, path: Path) -> None:
    hasty = wrapper(path, timeout=0.05, init_command="PRAGMA busy_timeout=50")
    begin(connection)
    with pytest.raises(DatabaseError, match="locked"):
        begin(hasty)
    connection.rollback()
    hasty.close()
    assert not turn_of(str(path)).locked()
