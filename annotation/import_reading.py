"""A file's rows as records, or as what is wrong with them: by a mapping, a named format, or as the first row looks.

Reads and checks; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import IO

from django.utils.translation import gettext as _

from annotation.errors import ImportProblem, PlackettError
from annotation.fields import Category, Flag
from annotation.formats import Format, format_named, recognise
from annotation.formats.base import Row
from annotation.lines import Line, read_lines
from annotation.mapping import NAME, format_of
from annotation.models import ImportBatch, Pool
from annotation.parquet import MAGIC
from annotation.records import PARSERS, PromptRecord, RankingRecord, Record, record_of
from annotation.selectors.forms import flags_known
from annotation.services.prompts import PromptRow, check_filing

Result = tuple[int, Record | None, str]


class ImportReader:
    """The rows of a batch's file after the first so many: (line, [(line, record or None, problem)]) each."""

    def __init__(
        self, batch: ImportBatch, file: IO[bytes], *, skip: int = 0, tick: Callable[[], object] = lambda: None
    ) -> None:
        self.kind, self.format = batch.kind, format_for(batch)
        self.flags = flags_known(batch.project)
        file.seek(0)
        self.counts_bytes = file.read(len(MAGIC)) != MAGIC
        file.seek(0)
        self.lines = read_lines(file, batch.filename, skip=skip, any_columns=bool(batch.mapping), tick=tick)

    def __iter__(self) -> Iterator[tuple[int, list[Result]]]:
        for line in self.lines:
            yield line.number, list(self.results(line))

    def results(self, line: Line) -> Iterator[Result]:
        if line.row is None:
            yield line.number, None, line.problem
            return
        self.format = self.format or recognise(line.row)
        said: set[str] = set()  # of several labels in a line that fail alike, one is told
        for record, problem in row_records(self.kind, line.row, self.format, self.flags):
            if record is not None or problem not in said:
                said.add(problem)
                yield line.number, record, problem

    @property
    def format_name(self) -> str:
        return self.format.name if self.format is not None else ""

    def bytes_read(self, file: IO[bytes]) -> int:
        """How far the file is read; 0 where another process reads it (Parquet)."""
        return file.tell() if self.counts_bytes else 0


def format_for(batch: ImportBatch) -> Format | None:
    """How the batch's file is to be read; None to tell by its first row."""
    if batch.mapping:
        return format_of(batch.mapping)
    return format_named(batch.format) if batch.format and batch.format != NAME else None


def row_records(
    kind: str, row: Row, format: Format, flags: Collection[str] = tuple(Flag.values)
) -> Iterator[tuple[Record | None, str]]:
    """The records that a row of this format holds, one as a rule and many in a tree; a problem in the place of a bad
    one."""
    empty = True
    try:
        for ours in format.read(kind, row):
            empty = False
            try:
                record = record_of(kind, ours)
                check_record(record, flags)
            except PlackettError as problem:
                yield None, problem.message
            else:
                yield record, ""
    except ImportProblem as problem:
        yield None, problem.message
    else:
        if empty:
            yield None, _("the line holds no %(kind)s") % {"kind": kind}


def check_record(record: Record, flags: Collection[str]) -> None:
    """Refuse what no table would take, so that a preview and the list of bad lines name it like any other."""
    prompt = prompt_of(record)
    check_filing(pool=prompt.pool or Pool.SFT, category=category_of(prompt), language=language_of(prompt))
    if isinstance(record, RankingRecord):
        unknown = {flag for answer in record.answers for flag in answer.flags} - set(flags)
        if unknown:
            raise ImportProblem(
                _("there is no flag %(flag)s; known flags: %(known)s")
                % {"flag": min(unknown), "known": ", ".join(flags)}
            )


def prompt_row(source: str, line: int, record: Record) -> PromptRow:
    prompt = prompt_of(record)
    return PromptRow(
        messages=prompt.messages,
        category=category_of(prompt),
        language=language_of(prompt),
        group=prompt.group,
        source_name=source,
        source_id=prompt.source_id,
        pool=prompt.pool,
        line=line,
        is_clean=True,
    )


def prompt_of(record: Record) -> PromptRecord:
    return record if isinstance(record, PromptRecord) else record.prompt


def category_of(prompt: PromptRecord) -> str:
    return prompt.category or Category.OTHER


def language_of(prompt: PromptRecord) -> str:
    return prompt.language or "en"


def check_kind(kind: str) -> None:
    if kind not in PARSERS:
        raise ImportProblem(
            _("There is no import of %(kind)s. Choose one of: %(known)s.") % {"kind": kind, "known": ", ".join(PARSERS)}
        )
