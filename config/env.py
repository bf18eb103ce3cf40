"""Read settings from the environment; a bad value is refused with a sentence that says the fix."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from email.utils import parseaddr
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


def env_choice(name: str, choices: tuple[str, ...]) -> str:
    """One of these words; the first is the default."""
    value = env_str(name).lower() or choices[0]
    if value not in choices:
        raise BadSetting(name, f"is {value!r}", f"Set it to one of {', '.join(choices)}.")
    return value


def env_url(name: str) -> str:
    """An address of a web site, without a slash at its end; empty where it is not set."""
    value = env_str(name).rstrip("/")
    parts = urlsplit(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment):
        raise BadSetting(name, f"is {value!r}, which is no web address", "Set it to https://labels.example.org, say.")
    return value


def env_store(name: str) -> dict[str, Any] | None:
    """The object store of `s3://bucket/prefix?endpoint=https://host&region=...`, as an entry of STORAGES.

    Who may use it never stands in the address, which people copy about: that is in AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN).
    """
    value = env_str(name)
    if not value:
        return None
    example = "s3://BUCKET/PREFIX?endpoint=https://s3.example.org"
    parts = urlsplit(value)
    if parts.scheme != "s3" or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
        problem = "holds a password" if "@" in parts.netloc else "is no address of an S3 bucket"
        raise BadSetting(name, problem, f"Set it to {example}, say; keys are in AWS_ACCESS_KEY_ID.")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    endpoint = urlsplit(query.get("endpoint", "https://"))
    if unknown := sorted(set(query) - {"endpoint", "region"}):
        raise BadSetting(name, f"has {unknown[0]!r}", f"It takes endpoint and region: {example}.")
    if (
        endpoint.scheme not in {"http", "https"}
        or "@" in endpoint.netloc
        or ("endpoint" in query and not endpoint.netloc)
    ):
        raise BadSetting(name, "has an endpoint that is no web address", f"Set it to {example}, say.")
    keys = {"access_key": env_str("AWS_ACCESS_KEY_ID"), "secret_key": env_str("AWS_SECRET_ACCESS_KEY")}
    if not all(keys.values()):
        raise BadSetting(name, "is set without keys", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY too.")
    if not all(importlib.util.find_spec(module) for module in ("storages", "boto3")):
        raise BadSetting(name, "needs packages that are not here", "Run pip install -r requirements-s3.txt.")
    options = {
        **keys,
        "security_token": env_str("AWS_SESSION_TOKEN") or None,
        "bucket_name": parts.netloc,
        "location": parts.path.strip("/"),
        "endpoint_url": query.get("endpoint") or None,
        "region_name": query.get("region") or "us-east-1",
        "path_style": "endpoint" in query,
    }
    return {"BACKEND": "annotation.s3.ObjectStore", "OPTIONS": options}


def env_email(name: str, *, needed_by: str) -> str:
    """An e-mail address, alone or as `Name <name@example.org>`; `needed_by` names the setting that asks for it."""
    value = env_str(name)
    if not value and needed_by:
        raise BadSetting(name, f"is not set, but {needed_by} is", "Set it to the address that mails come from.")
    _name, address = parseaddr(value)
    local, _at, domain = address.rpartition("@")
    if value and (not local or "." not in domain or not value.isprintable()):
        raise BadSetting(name, f"is {value!r}, which is no e-mail address", "Set it to plackett@example.org, say.")
    return value or "plackett@localhost"


def env_networks(name: str, *, local: bool) -> list[str]:
    """Networks such as 10.20.0.0/16. `local`: whether this machine's own (loopback, link-local) may be among them."""
    networks = []
    for text in env_list(name, []):
        try:
            network = ipaddress.ip_network(text)
        except ValueError as problem:
            raise BadSetting(name, f"names {text!r} ({problem})", "Write networks like 10.20.0.0/16.") from None
        own = ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("169.254.0.0/16")
        own6 = ipaddress.ip_network("::1/128"), ipaddress.ip_network("fe80::/10")
        reached = own if network.version == 4 else own6
        if not local and any(network.overlaps(each) for each in reached):
            problem_words = f"names {text}, which reaches the host itself or a cloud's metadata service"
            raise BadSetting(name, problem_words, "Name only the networks that your receivers are in.")
        networks.append(str(network))
    return networks


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
    """SQLite as several processes need it: WAL, the write lock taken at BEGIN (in one line), a commit on disk
    when it returns."""
    return {
        "ENGINE": "config.sqlite",
        "NAME": str(path),
        # A new connection reads all tables' definitions first: 3 ms of processor, in each request.
        "CONN_MAX_AGE": 60,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=30000",
        },
    }
