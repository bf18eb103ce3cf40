"""Imports as pages and programs see them: the list, how far one is, what its first rows will be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import ImportProblem
from annotation.import_reading import ImportReader
from annotation.lines import read_lines
from annotation.mapping import NAME, columns_of, guessed, value_of
from annotation.models import ImportBatch, ImportPhase, ImportRejection, ImportState, Project
from annotation.records import Record
from annotation.staging import staged_path

LOOKED_AT = 100  # rows that a preview reads
SHOWN = 5
CELL = 200


def import_batches(project: Project) -> QuerySet[ImportBatch]:
    return ImportBatch.objects.filter(project=project).select_related("created_by").order_by("-created_at", "-id")


def import_rejections(batch: ImportBatch) -> QuerySet[ImportRejection]:
    return ImportRejection.objects.filter(batch=batch).order_by("id")


def rejections_streamed(batch: ImportBatch) -> Iterator[ImportRejection]:
    return import_rejections(batch).iterator(chunk_size=2000)


# --- How far it is -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """`fraction` of the phase, None where it can't be known; `seconds_left` of the phase, None likewise."""

    fraction: float | None = None
    seconds_left: float | None = None
    rows_a_second: float | None = None


def import_progress(batch: ImportBatch, now: datetime | None = None) -> Progress:
    if batch.state != ImportState.RUNNING or batch.phase_at is None:
        return Progress()
    fraction = fraction_of(batch)
    passed = ((now or timezone.now()) - batch.phase_at).total_seconds()
    done = batch.position - batch.phase_from
    if passed <= 0 or done <= 0:
        return Progress(fraction)
    left = None
    if fraction:
        taken_up = fraction * batch.phase_from / batch.position  # the part that an earlier attempt had done
        left = passed * (1 - fraction) / (fraction - taken_up)
    return Progress(fraction, left, done / passed)


def fraction_of(batch: ImportBatch) -> float | None:
    """Writing goes by rows, which the check counted; checking by bytes."""
    if batch.phase == ImportPhase.WRITE:
        return min(1.0, batch.position / batch.rows) if batch.rows else None
    return min(1.0, batch.position_bytes / batch.size) if batch.size and batch.position_bytes else None


# --- What it will be -----------------------------------------------------------------------------------


@dataclass
class Preview:
    """The beginning of a file as it will come in, and what its columns are."""

    format: str = ""
    columns: list[str] = field(default_factory=list)
    samples: dict[str, str] = field(default_factory=dict)
    """A value of each column, to tell them apart by."""

    records: list[tuple[int, Record]] = field(default_factory=list)
    good: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)
    problem: str = ""
    """Why the file as a whole can't be read."""

    more: bool = False
    """Whether the file goes on after what was looked at."""


def import_preview(batch: ImportBatch, *, looked_at: int = LOOKED_AT, shown: int = SHOWN) -> Preview:
    """Read the beginning of a batch's file as the batch says. Nothing is kept."""
    preview = Preview()
    try:
        rows = first_rows(batch, looked_at)
        preview.columns = columns_of(rows)
        preview.samples = {column: sample_of(rows, column) for column in preview.columns}
        with staged_path(batch.sha256).open("rb") as file:
            reader = ImportReader(batch, file)
            for line, results in islice(reader, looked_at):
                for number, record, problem in results:
                    if record is None:
                        preview.rejected.append((number, problem))
                        continue
                    preview.good += 1
                    if len(preview.records) < shown:
                        preview.records.append((line, record))
            preview.more = next(iter(reader), None) is not None
            preview.format = NAME if batch.mapping else reader.format_name
    except ImportProblem as problem:
        preview.problem = problem.message
    except FileNotFoundError:
        preview.problem = _("The file is no longer kept. Send it again.")
    return preview


def first_rows(batch: ImportBatch, count: int) -> list[dict[str, Any]]:
    with staged_path(batch.sha256).open("rb") as file:
        lines = islice(read_lines(file, batch.filename, any_columns=True), count)
        return [line.row for line in lines if line.row is not None]


def sample_of(rows: list[dict[str, Any]], column: str) -> str:
    found = next((value for row in rows if (value := value_of(row, column)) not in (None, "")), "")
    return f"{found}"[:CELL]


def mapping_for(batch: ImportBatch, columns: list[str]) -> tuple[dict[str, Any], ImportBatch | None]:
    """A mapping to begin with, and the import whose it was: the last one of this kind whose columns are all here."""
    earlier = ImportBatch.objects.filter(project=batch.project_id, kind=batch.kind, state=ImportState.SUCCEEDED)
    for found in earlier.exclude(mapping={}).order_by("-id")[:20]:
        if used_columns(found.mapping) <= set(columns):
            return dict(found.mapping), found
    return guessed(batch.kind, columns), None


def used_columns(mapping: dict[str, Any]) -> set[str]:
    named = [value for value in mapping.values() if isinstance(value, str | list)]
    return {column for value in named for column in (value if isinstance(value, list) else [value])}
