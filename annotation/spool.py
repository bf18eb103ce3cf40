"""What a file's rows say, kept between an import's two passes, so that nobody reads and checks the file again.

On the file store's own disk, without a name: it is gone with its process, whatever ends that. An import that another
process takes up, or that says more than `MOST_BYTES`, reads its file again instead.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation.records import (
    AnswerRecord,
    AnswersRecord,
    DemonstrationRecord,
    PromptRecord,
    RankingRecord,
    Record,
    Work,
)

MOST_BYTES = 4 * 2**30
Good = list[tuple[int, Record]]
Block = tuple[int, int, Good]
"""(rows read, bytes of the file read by then, the good ones with their lines)"""


class Spool:
    """Blocks of records in their order; to be closed."""

    def __init__(self) -> None:
        aside = Path(settings.FILES_DIR) / "aside"
        aside.mkdir(parents=True, exist_ok=True)
        self.file: Any = tempfile.TemporaryFile(dir=aside, buffering=1 << 20)  # noqa: SIM115 (closed by `close`)
        self.is_whole = True
        """Whether it holds every row from the file's first on."""

    def add(self, block: Block) -> None:
        if not self.is_whole:
            return
        self.file.write(json.dumps(block, default=plain).encode() + b"\n")
        if self.file.tell() > MOST_BYTES:
            self.drop()

    def drop(self) -> None:
        """Hold nothing any more."""
        self.is_whole = False
        self.file.close()

    def blocks(self) -> Iterator[Block]:
        self.file.seek(0)
        for line in self.file:
            read, size, good = json.loads(line)
            yield read, size, [(number, record_of(values)) for number, values in good]

    def close(self) -> None:
        self.file.close()


# --- Records as JSON: the kind's name and its fields' values ---------------------------------------------------

KINDS = (PromptRecord, DemonstrationRecord, RankingRecord, AnswersRecord, AnswerRecord, Work)
BY_NAME = {kind.__name__: kind for kind in KINDS}
NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in KINDS}


def plain(value: Any) -> Any:
    """What JSON can't say by itself."""
    if isinstance(value, datetime):
        return value.isoformat()
    return [type(value).__name__, *(getattr(value, name) for name in NAMES[type(value)])]


def record_of(values: list[Any]) -> Any:
    """The record that `plain` was given."""
    name, *found = values
    kind = BY_NAME[name]
    return kind(**{name: READ.get(name, same)(value) for name, value in zip(NAMES[kind], found, strict=True)})


def same(value: Any) -> Any:
    return value


def time_of(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


READ: dict[str, Callable[[Any], Any]] = {
    "prompt": record_of,
    "work": record_of,
    "answers": lambda values: [record_of(value) for value in values],
    "flags": tuple,
    "started_at": time_of,
    "submitted_at": time_of,
}
"""How a field is read back that is more than JSON."""
