"""Where one run happens: a database of the benchmark's own, a data folder, and the environment of its processes.

Never a user's database: on PostgreSQL one is created beside it and dropped at the end, on SQLite it is a file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

BASE_DIR = Path(__file__).resolve().parent.parent.parent
OURS = ("PLACKETT_", "RUN_", "LABEL_", "EMAIL_", "DJANGO_", "TEST_", "WEB_", "API_")
OURS_TOO = {"SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL", "STATIC_ROOT", "HTTPS", "DEBUG"}
WEB_PROCESSES = 2


class NoDatabase(RuntimeError):
    """The database cannot be had; the message says why, and what to do about it."""


@dataclass(frozen=True)
class Place:
    """A database and the folder beside it. `url` is empty on SQLite, whose file is in the folder."""

    database: str
    folder: Path
    url: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def people(self) -> Path:
        """What the seeding wrote: the project, and who may sign in."""
        return self.folder / "people.json"

    def environment(self) -> dict[str, str]:
        """Of each process that works on this place: an installation's settings, whatever this shell has set."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS) and name not in OURS_TOO}
        ours = {
            "PLACKETT_DATA": str(self.data),
            "SECRET_KEY": "of the labeling benchmark alone, and signs nothing that lives on",
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "WEB_PROCESSES": str(WEB_PROCESSES),
            "API_REQUESTS_A_MINUTE": "1000000",  # one account of the part `peer` asks faster than a person may
            "PYTHONPATH": str(BASE_DIR),
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        if self.url:
            ours |= {"DATABASE_URL": self.url, "STATIC_ROOT": str(self.folder / "static")}
        return kept | ours

    def child(self, module: str, spec: dict[str, Any]) -> dict[str, Any]:
        """What a module of this benchmark answers that works on the database: Django's, in a process of its own."""
        command = [sys.executable, "-m", "benchmarks.labeling.child", module, json.dumps(spec)]
        done = self.run(command)
        answer: dict[str, Any] = json.loads(done.splitlines()[-1])
        return answer

    def run(self, command: Sequence[str]) -> str:
        done = subprocess.run(command, cwd=BASE_DIR, env=self.environment(), text=True, stdout=subprocess.PIPE)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[1:4])} ended with {done.returncode}: {done.stdout[-500:]}")
        return done.stdout


@contextmanager
def place(database: str, name: str, folder: Path, postgresql: str) -> Iterator[Place]:
    """A new, empty database with the product's tables; gone at the end."""
    room = folder / f"{database}-{name}"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True, mode=0o700)
    try:
        if database == "sqlite":
            yield prepared(Place(database, room))
            return
        with own_database(postgresql, f"plackett_bench_{os.getpid()}_{name}") as url:
            yield prepared(Place(database, room, url))
    finally:
        shutil.rmtree(room, ignore_errors=True)


def prepared(found: Place) -> Place:
    manage = [sys.executable, "manage.py"]
    found.data.mkdir(mode=0o700)
    found.run([*manage, "migrate", "--verbosity", "0"])
    if found.url:
        found.run([*manage, "collectstatic", "--noinput", "--verbosity", "0"])
    return found


@contextmanager
def own_database(server: str, name: str) -> Iterator[str]:
    """Create a database on this server and yield its address; drop it, whoever is connected still."""
    import psycopg

    try:
        connection = psycopg.connect(server, autocommit=True, connect_timeout=5)
    except psycopg.Error as problem:
        raise NoDatabase(
            f"PostgreSQL can't be reached at {without_password(server)} ({str(problem).strip()}): name a server on "
            "which this account may create databases with --postgresql URL, or measure --database sqlite alone."
        ) from None
    with connection:
        quoted = f'"{name}"'
        connection.execute(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {quoted}".encode())
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            connection.execute(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)".encode())


def without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    return f"{host}:{parts.port}" if parts.port else host


def server_settings(place: Place) -> dict[str, str]:
    """What decides how fast this database commits, for the record."""
    if not place.url:
        import sqlite3

        return {"version": sqlite3.sqlite_version, "synchronous": "FULL", "journal": "WAL"}
    import psycopg

    names = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
    with psycopg.connect(place.url) as connection:
        found = {name: connection.execute(f"SHOW {name}".encode()).fetchone() for name in names}
    return {name: str(row[0]) for name, row in found.items() if row}
