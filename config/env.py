"""Read settings from the environment; a bad value is refused with a sentence that says the fix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


class BadSetting(SystemExit):
    """A setting that can't be used. Its message is for the person who starts Plackett, so it ends the process."""

    def __init__(self, name: str, problem: str, fix: str) -> None:
        super().__init__(f"{name} {problem}. {fix}")


def env_str(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def env_bool(name: str, *, default: bool) -> bool:
    value = env_str(name).lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise BadSetting(name, f"is {value!r}, which is neither yes nor no", "Set it to 1 or 0, or leave it out.")


def env_int(name: str, *, default: int, minimum: int, maximum: int) -> int:
    value = env_str(name)
    if not value:
        return default
    try:
        number = int(value)
    except ValueError:
        raise BadSetting(name, f"is {value!r}, which is not a whole number", f"Set it to {default}, say.") from None
    if not minimum <= number <= maximum:
        raise BadSetting(name, f"is {number}", f"Set it between {minimum} and {maximum}; {default} is the default.")
    return number


def env_list(name: str, default: list[str]) -> list[str]:
    value = env_str(name)
    return [part.strip() for part in value.split(",") if part.strip()] if value else default


def env_seconds_by_name(name: str, names: tuple[str, ...]) -> dict[str, int]:
    """`ppo=1800,sample=600` as numbers; each name must be one of `names`."""
    found: dict[str, int] = {}
    for part in env_list(name, []):
        key, _, value = part.partition("=")
        if key.strip() not in names or not value.strip().isdigit() or not int(value):
            raise BadSetting(name, f"has {part!r}", f"Write {names[0]}=1800, say; the names are {', '.join(names)}.")
        found[key.strip()] = int(value)
    return found


def env_path(name: str, default: Path) -> Path:
    value = env_str(name)
    return Path(value).expanduser().resolve() if value else default


def postgresql_database(name: str, url: str) -> dict[str, Any]:
    """Django's settings for `postgresql://user:password@host:port/database?sslmode=...`; query keys go to libpq."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise BadSetting(
            name,
            f"starts with {parts.scheme or 'nothing'}://",
            "Set it to postgresql://USER:PASSWORD@HOST:5432/NAME, or leave it out to use SQLite.",
        )
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise BadSetting(name, "names no database", "Add one at its end: postgresql://USER:PASSWORD@HOST:5432/NAME.")
    query = dict(parse_qsl(parts.query))
    host = query.pop("host", None) or parts.hostname or ""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(parts.port or ""),
        # A pool and CONN_MAX_AGE exclude each other; the pool also checks a connection before it lends it.
        "CONN_MAX_AGE": 0,
        "OPTIONS": {"pool": {"min_size": 0, "max_size": 12, "timeout": 20}, **query},
    }


def sqlite_database(path: Path) -> dict[str, Any]:
    """SQLite as several processes need it: WAL, the write lock taken at BEGIN, a commit on disk when it returns."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=30000",
        },
    }
