"""What a file's rows say, kept between an import's two passes, so that nobody reads and checks the file again.

On the file store's own disk, without a name: it is gone with its process, whatever ends that. An import that another
process takes up, or that says more than `MOST_BYTES`, reads its file again instead. Nothing but the process that wrote
it can read it, so it is written as Python writes its own plain values, in half of JSON's time.
"""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
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
LENGTH_BYTES = 8
Good = list[tuple[int, Record]]
Plain = tuple[int, list[Any]]
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
        read, size, good = block
        written = marshal.dumps((read, size, [(number, packed(record)) for number, record in good]))
        self.file.write(len(written).to_bytes(LENGTH_BYTES) + written)
        if self.file.tell() > MOST_BYTES:
            self.drop()

    def drop(self) -> None:
        """Hold nothing any more."""
        self.is_whole = False
        self.file.close()

    def blocks(self) -> Iterator[Block]:
        self.file.seek(0)
        while length := self.file.read(LENGTH_BYTES):
            read, size, good = marshal.loads(self.file.read(int.from_bytes(length)))
            yield read, size, [(number, unpacked(found)) for number, found in good]

    def close(self) -> None:
        self.file.close()


# --- Records as plain values: the kind's number and its fields' values -----------------------------------------


def packed(record: Any) -> Plain:
    kind = type(record)
    values = list(VALUES[kind](record))
    for place, (pack, _unpack) in NESTED[kind]:
        values[place] = pack(values[place])
    return NUMBERS[kind], values


def unpacked(found: Plain) -> Any:
    """The record that was packed, equal to it; its values are in place already, so nothing checks them again."""
    number, values = found
    kind = KINDS[number]
    for place, (_pack, unpack) in NESTED[kind]:
        values[place] = unpack(values[place])
    record = object.__new__(kind)
    record.__dict__.update(zip(NAMES[kind], values, strict=True))
    return record


def all_packed(records: list[Any]) -> list[Plain]:
    return [packed(record) for record in records]


def all_unpacked(found: list[Plain]) -> list[Any]:
    return [unpacked(each) for each in found]


def time_said(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def time_of(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


KINDS: tuple[Any, ...] = (PromptRecord, DemonstrationRecord, RankingRecord, AnswersRecord, AnswerRecord, Work)
NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in KINDS}
VALUES = {kind: attrgetter(*names) for kind, names in NAMES.items()}
BOTH_WAYS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "prompt": (packed, unpacked),
    "work": (packed, unpacked),
    "answers": (all_packed, all_unpacked),
    "started_at": (time_said, time_of),
    "submitted_at": (time_said, time_of),
}
"""How a field goes to a plain value and back that is none."""
NESTED = {
    kind: [(place, BOTH_WAYS[name]) for place, name in enumerate(names) if name in BOTH_WAYS]
    for kind, names in NAMES.items()
}
