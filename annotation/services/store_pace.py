"""Settings of a database connection for as long as a service writes many transactions that nobody waits for.

Each is whole or not there, in their order, whatever happens; after a power cut the last few may be missing, which is
no harm to work that keeps its place in the very transactions that it may lose.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import DatabaseError, connection

CACHE_KIB = 64 * 1024
CHECKPOINT_PAGES = 8192  # of 4 kB: a page that many transactions change is carried into the database once for them all
GENTLE: dict[str, dict[str, str | int]] = {
    "postgresql": {"synchronous_commit": "off"},
    "sqlite": {"synchronous": 1, "cache_size": -CACHE_KIB, "wal_autocheckpoint": CHECKPOINT_PAGES},
}


@contextmanager
def gentle_store() -> Iterator[None]:
    """Commits don't wait for the disk, and SQLite has room for the indexes' pages. As it was before, at the end.

    To be entered outside of transactions; in one, as in most tests, it changes nothing.
    """
    if connection.in_atomic_block:
        yield
        return
    gentle = GENTLE[connection.vendor]
    before = {name: setting(name) for name in gentle}
    for name, value in gentle.items():
        set_setting(name, value)
    try:
        yield
    finally:
        with suppress(DatabaseError):  # a connection that is lost by now: the next one begins as it should
            for name, value in before.items():
                set_setting(name, value)


def setting(name: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}" if connection.vendor == "postgresql" else f"PRAGMA {name}")
        return cursor.fetchone()[0]


def set_setting(name: str, value: str | int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET {name} = {value}" if connection.vendor == "postgresql" else f"PRAGMA {name} = {value}")
