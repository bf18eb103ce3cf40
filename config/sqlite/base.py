"""SQLite where the threads of a process stand in line to write, instead of trying again and again.

SQLite has one writer. A connection that finds it busy sleeps and tries again, after a dozen tries a tenth of a second
later each time, and meanwhile others come and go: with many at work some wait for seconds. So the threads of a process
take turns at a lock before they begin a transaction, and of each process one alone tries.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from django.db.backends.sqlite3 import base


@cache
def turn_of(database: str) -> threading.Lock:
    """The lock at which those who write to this file stand in line."""
    return threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn: threading.Lock | None = None

    def _start_transaction_under_autocommit(self) -> None:
        """Begin when it is this thread's turn; one whose turn does not come in time asks SQLite, which says why."""
        turn = turn_of(str(self.settings_dict["NAME"]))
        is_held = turn.acquire(timeout=self.settings_dict["OPTIONS"].get("timeout", 5))
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            if is_held:
                turn.release()
            raise
        self._turn = turn if is_held else None

    def _commit(self) -> None:
        try:
            super()._commit()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.release()
