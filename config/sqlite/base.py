"""SQLite where those who want to write stand in line, instead of trying again and again.

SQLite has one writer. A connection that finds it busy sleeps and tries again, after a dozen tries a tenth of a second
later each time, and meanwhile others come and go: with many at work some wait for seconds. So whoever begins a
transaction waits in a `Line` first, and one alone tries.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import base

from config.sqlite.line import Line, line_of


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._line: Line | None = None
        """Where this connection's turn is to be ended."""

    def _start_transaction_under_autocommit(self) -> None:
        """Begin when it is this thread's turn; one whose turn does not come in time asks SQLite, which says why."""
        line = line_of(str(self.settings_dict["NAME"]))
        is_held = line.wait(self.settings_dict["OPTIONS"].get("timeout", 5))
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            if is_held:
                line.leave()
            raise
        self._line = line if is_held else None

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
        line, self._line = self._line, None
        if line is not None:
            line.leave()
