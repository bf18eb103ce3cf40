"""What changed from one snapshot to another: rows added, gone and changed, and the mix of both. Pure.

Rows are matched by a key that the caller gives: for labels the assignment, so that a revised label is a changed row and
not one gone and one added. The keys of the first snapshot lie in an SQLite file on disk; memory stays flat.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from training.canonical import canonical_json

Row = Mapping[str, Any]
EXAMPLES = 20
TEXT_SHOWN = 300
MIXES = ("labeler", "category", "language", "origin")


class Keyed(NamedTuple):
    key: str
    row: Row
    split: str


class Mix:
    """Rows of each labeler, category and so on."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in MIXES}

    def add(self, row: Row) -> None:
        category = row.get("category") or (row.get("prompt_fields") or {}).get("category")
        for name in MIXES:
            value = category if name == "category" else row.get(name)
            if value is not None:
                self.counts[name][str(value)] += 1


def difference(first: Iterable[Keyed], second: Iterable[Keyed], scratch: Path) -> dict[str, Any]:
    """{"added", "gone", "changed", "same", "moved", "examples", "mix"}; the caller removes scratch."""
    mixes = Mix(), Mix()
    with closing(sqlite3.connect(scratch, isolation_level=None)) as connection:
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32000;"
            "CREATE TABLE row (key TEXT PRIMARY KEY, hash BLOB, split TEXT, text TEXT, found INTEGER) WITHOUT ROWID;"
            "BEGIN"
        )
        for key, row, split in first:
            mixes[0].add(row)
            values = (key, hash_of(row), split, shown(row))
            connection.execute("INSERT OR REPLACE INTO row VALUES (?, ?, ?, ?, 0)", values)
        counts: Counter[str] = Counter()
        examples: dict[str, list[dict[str, str]]] = {"added": [], "gone": [], "changed": []}
        for key, row, split in second:
            mixes[1].add(row)
            known = connection.execute("SELECT hash, split, text FROM row WHERE key = ?", (key,)).fetchone()
            connection.execute("UPDATE row SET found = 1 WHERE key = ?", (key,))
            change = "added" if known is None else "same" if known[0] == hash_of(row) else "changed"
            counts[change] += 1
            counts["moved"] += bool(known) and known[1] != split
            if change in examples and len(examples[change]) < EXAMPLES:
                examples[change].append({"before": known[2] if known else "", "after": shown(row)})
        counts["gone"] = connection.execute("SELECT count(*) FROM row WHERE NOT found").fetchone()[0]
        lost = connection.execute("SELECT text FROM row WHERE NOT found ORDER BY key LIMIT ?", (EXAMPLES,))
        examples["gone"] = [{"before": text, "after": ""} for (text,) in lost]
    return {
        **{name: counts[name] for name in ("added", "gone", "changed", "same", "moved")},
        "examples": examples,
        "mix": {name: mix_of(mixes[0].counts[name], mixes[1].counts[name]) for name in MIXES},
    }


def mix_of(before: Counter[str], after: Counter[str]) -> list[list[Any]]:
    """[name, rows before, rows after], the largest change first; at most 100."""
    names = sorted(set(before) | set(after), key=lambda name: (-abs(after[name] - before[name]), name))
    return [[name, before[name], after[name]] for name in names[:100]]


def hash_of(row: Row) -> bytes:
    return hashlib.blake2b(canonical_json(row).encode(), digest_size=16).digest()


def shown(row: Row) -> str:
    """The row as a person recognises it: what was asked, and what was answered or how it was ranked."""
    if row.get("text") is not None:
        return str(row["text"])[:TEXT_SHOWN]
    if row.get("messages"):
        return str(row["messages"][-1]["content"])[:TEXT_SHOWN]
    asked = str(row["prompt"][-1]["content"])[:TEXT_SHOWN]
    if row.get("completion"):
        return f"{asked} → {row['completion'][-1]['content']}"[: 2 * TEXT_SHOWN]
    if row.get("ranks"):
        return f"{asked} → {', '.join('–' if rank is None else str(rank) for rank in row['ranks'])}"
    return asked
