"""The line of those who want to write to one file: the threads of a process, then one process after the other.

A thread waits for its process's turn, and the one whose turn it is for its process's. Two bytes of a file beside the
database are locked for that: who holds the first is the next to get the second, which is held while one writes. So a
process that has just written can't be back before another one that waits. The locks are the system's (POSIX record
locks): they belong to the process, end with it, and a fork does not inherit them.
"""

from __future__ import annotations

import fcntl
import threading
import time
from functools import cache
from pathlib import Path
from typing import IO

NEXT, WRITING = 0, 1  # the bytes
LOOK_SECONDS = 0.001  # between two looks at a lock that another process holds
LONGEST_SECONDS = 5.0  # in line; a process that is stopped in it must not stop all others


class Line:
    """One database's."""

    def __init__(self, database: Path | None) -> None:
        """`database` is None for one that no other process can see."""
        self.threads = threading.Lock()
        self.file: IO[bytes] | None = None
        if database is not None:
            self.file = database.with_name(database.name + ".turn").open("ab")

    def wait(self, seconds: float) -> bool:
        """Whether the turn came within so many seconds; whoever gets it must `leave`."""
        until = time.monotonic() + min(seconds, LONGEST_SECONDS)
        if not self.threads.acquire(timeout=min(seconds, LONGEST_SECONDS)):
            return False
        try:
            if self.file is None or self._wait_for_processes(self.file, until):
                return True
        except BaseException:
            self.threads.release()
            raise
        self.threads.release()
        return False

    def leave(self) -> None:
        if self.file is not None:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, WRITING)
        self.threads.release()

    def _wait_for_processes(self, file: IO[bytes], until: float) -> bool:
        if not lock(file, NEXT, until):
            return False
        try:
            return lock(file, WRITING, until)
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN, 1, NEXT)


def lock(file: IO[bytes], byte: int, until: float) -> bool:
    """Lock a byte, or give up at that moment: the system's own waiting knows no end."""
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            return True
        except (BlockingIOError, PermissionError):  # the two ways to say that another process holds it
            if time.monotonic() > until:
                return False
        time.sleep(LOOK_SECONDS)


@cache
def line_of(database: str) -> Line:
    """The line of this file: one a process, since closing a file gives up all locks that the process holds on it."""
    path = Path(database)
    return Line(path if path.is_absolute() else None)
