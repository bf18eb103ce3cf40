"""A database and a file store for one measurement, made and dropped. Nothing of Django: children have that."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

DATABASES = ("postgresql", "sqlite")
SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"


class NoServer(RuntimeError):
    """The PostgreSQL server can't be reached; the message says what to do about it."""


@dataclass(frozen=True)
class Store:
    database: str
    folder: Path
    environment: Mapping[str, str]


@contextmanager
def store(database: str, folder: Path, server: str) -> Iterator[Store]:
    """A new database with its files in a folder below this one; the database is dropped at the end."""
    data = folder / database
    data.mkdir()
    environment = {
        "PLACKETT_DATA": str(data),
        "PLACKETT_FILES": str(data / "files"),
        "DJANGO_SETTINGS_MODULE": "benchmarks.data.settings",
        "SECRET_KEY": "the key of a benchmark, which signs nothing that lives on",
        "ALLOWED_HOSTS": "testserver",
        "DATABASE_URL": "",
        "REDIS_URL": "",
    }
    if database == "sqlite":
        yield Store(database, data, environment)
        return
    with own_database(server) as url:
        yield Store(database, data, environment | {"DATABASE_URL": url})


@contextmanager
def own_database(server: str) -> Iterator[str]:
    import psycopg
    from psycopg import sql

    name = f"plackett_bench_{uuid4().hex[:12]}"
    try:
        with psycopg.connect(server, autocommit=True, connect_timeout=10) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as problem:
        words = str(problem).strip().splitlines()[0]
        raise NoServer(f"No database can be made on {without_password(server)} ({words}): give --server.") from None
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or os.uname().nodename}:{parts.port or 5432}"
