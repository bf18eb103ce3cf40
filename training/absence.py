"""Whether the database is away, or was, as opposed to refusing what it was asked."""

from __future__ import annotations

from django.db import Error, InterfaceError, OperationalError

# PostgreSQL ends a transaction that says nothing for too long (`config.settings`), which one does that was frozen, and
# any that was open while the server itself stood still. It says so with a class of error that else means a mistake.
ENDED_FOR_ITS_SILENCE = "25P03"


def is_away(error: Error) -> bool:
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    return getattr(error.__cause__, "sqlstate", None) == ENDED_FOR_ITS_SILENCE


def raise_unless_away(error: Error) -> None:
    """For an `except` that goes on without the database."""
    if not is_away(error):
        raise error
