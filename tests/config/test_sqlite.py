"""Whoever writes to SQLite stands in line, threads and processes; a turn ends with its transaction, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connections

from config.env import sqlite_database
from config.sqlite.base import DatabaseWrapper
from config.sqlite.line import Line, line_of

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
    turn = line_of(str(path)).threads
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
    assert len(waited) == THREADS * WRITES and not line_of(str(path)).threads.locked()


def test_whose_turn_does_not_come_is_told_that_it_is_locked(connection: DatabaseWrapper, path: Path) -> None:
    hasty = wrapper(path, timeout=0.05, init_command="PRAGMA busy_timeout=50")
    begin(connection)
    with pytest.raises(DatabaseError, match="locked"):
        begin(hasty)
    connection.rollback()
    hasty.close()
    assert not line_of(str(path)).threads.locked()


# --- Processes --------------------------------------------------------------------------------------------------------

BASE_DIR = Path(__file__).parent.parent.parent
OTHER = """
import sys, time
from pathlib import Path
from config.sqlite.line import Line
path, seconds, times = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
line = Line(path)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(times):
    assert line.wait(5)
    with path.open("a") as log:
        log.write(sys.argv[4])
    time.sleep(seconds)
    line.leave()
"""


def another_process(path: Path, *, seconds: float, times: int = 1, name: str = "x") -> subprocess.Popen[str]:
    """A process that takes so many turns, each for so long, and writes its name in each; it begins when told to."""
    command = [sys.executable, "-c", OTHER, str(path), str(seconds), str(times), name]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=BASE_DIR, **pipes)  # type: ignore[call-overload]
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def wait_for(path: Path, text: str) -> None:
    until = time.monotonic() + 20
    while not path.exists() or path.read_text() != text:
        assert time.monotonic() < until, "the other process did not get its turn"
        time.sleep(0.005)


def test_processes_take_turns_and_none_comes_twice_before_one_that_waits(path: Path) -> None:
    others = [another_process(path, seconds=0.01, times=30, name=name) for name in "ab"]
    for process in others:
        go(process)
    for process in others:
        assert process.wait(30) == 0
    written = path.read_text()
    assert sorted(written) == ["a"] * 30 + ["b"] * 30
    both = written[: min(written.rindex("a"), written.rindex("b"))][2:]  # while both wanted to write
    assert "aaa" not in both and "bbb" not in both, written


def test_a_process_that_is_killed_holds_nobody_up(path: Path) -> None:
    other = another_process(path, seconds=60)
    go(other)
    wait_for(path, "x")
    line = Line(path)
    assert not line.wait(0.05)
    other.kill()
    other.wait()
    assert line.wait(1.0)
    line.leave()


def test_a_process_that_is_stopped_in_line_holds_the_others_up_for_a_while_only(
    connection: DatabaseWrapper, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("config.sqlite.line.LONGEST_SECONDS", 0.1)
    path_of_log = path.with_name("log")  # the other one stands in the line of this database, and writes elsewhere
    (path.with_name("log.turn")).symlink_to(path.with_name(path.name + ".turn"))
    other = another_process(path_of_log, seconds=60)
    go(other)
    wait_for(path_of_log, "x")
    os.kill(other.pid, signal.SIGSTOP)
    try:
        begin(connection)
        connection.cursor().execute("INSERT INTO words VALUES ('tide')")
        connection.commit()
        assert not line_of(str(path)).threads.locked()
    finally:
        other.kill()
        other.wait()


def test_a_database_that_no_other_process_sees_has_no_file_beside_it() -> None:
    line = Line(None)
    assert line.wait(0.1) and not line.wait(0.01)
    line.leave()
