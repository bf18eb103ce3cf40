"""The core's `events.jsonl`, read as it grows. Pure: no database.

What stands in the file is another process's word: a line may be half written, or nonsense; a text may hold what a
database refuses. Here it becomes clean values or a complaint, and never an exception.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_BYTES = 1_000_000  # read at a time, so that a long absence is caught up with in parts
LONGEST_TEXT = 20_000
LARGEST_STEP = 2**31 - 1
KINDS = frozenset(
    {"started", "note", "data", "metrics", "progress", "sample", "checkpoint", "finished", "stopped", "failed"}
)

AT_A_STEP = frozenset({"metrics", "sample", "checkpoint"})


@dataclass(frozen=True)
class Event:
    kind: str
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> int:
        return whole(self.fields.get("step"))


@dataclass
class EventFile:
    """Follows one file: each call of `read` gives the events of the whole lines that came since."""

    path: Path
    offset: int = 0

    def read(self) -> list[Event]:
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                found = stream.read(MOST_BYTES)
        except FileNotFoundError:
            return []
        end = found.rfind(b"\n") + 1
        if not end and len(found) == MOST_BYTES:  # one line longer than we read: not an event
            self.offset += len(found)
            return [complaint(found)]
        self.offset += end
        return [parse(line) for line in found[:end].splitlines() if line.strip()]


def parse(line: bytes) -> Event:
    """The event of a line; one that is not an event becomes an event of the kind "garbage"."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return complaint(line)
    if not isinstance(record, dict) or record.get("event") not in KINDS:
        return complaint(line)
    if record["event"] in AT_A_STEP and not is_count(record.get("step")):
        return complaint(line)
    kind = record.pop("event")
    return Event(kind, clean(record))


def complaint(line: bytes) -> Event:
    return Event("garbage", {"line": clean(line[:200].decode(errors="replace"))})


def clean(value: Any) -> Any:
    """The value without what PostgreSQL or JSON refuse: NUL, lone surrogates, infinite numbers, endless texts."""
    if isinstance(value, str):
        text = value.replace("\x00", "�").encode("utf-8", "replace").decode()
        return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " […]"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    return value


def is_count(value: Any) -> bool:
    """Whether it is a step or a count that fits its column."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LARGEST_STEP


def whole(value: Any) -> int:
    """A step or a count; 0 for anything else."""
    return int(value) if is_count(value) else 0


def numbers(values: Any) -> dict[str, float]:
    """The finite numbers among an event's metrics."""
    if not isinstance(values, Mapping):
        return {}
    return {
        str(name): float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }


def messages(value: Any) -> list[dict[str, str]]:
    """A sample's prompt as messages."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list):
        return []
    return [
        {"role": str(item.get("role", "user")), "content": str(item.get("content", ""))}
        for item in value
        if isinstance(item, Mapping)
    ]
