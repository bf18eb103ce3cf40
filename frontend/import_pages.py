"""What an import's pages show, gathered from its row and its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from annotation.errors import ImportProblem
from annotation.formats import BY_NAME
from annotation.mapping import COUNTS_FROM, NAME, complete
from annotation.models import ImportBatch, ImportKind, ImportRejection, ImportState
from annotation.records import AnswerRecord, DemonstrationRecord, PromptRecord, RankingRecord, Record
from annotation.selectors.imports import Preview, import_preview, import_progress, import_rejections, mapping_for
from annotation.staging import staged_path
from frontend.project_forms.imports import ReadingForm
from frontend.run_words import duration_words

BAD_LINES_SHOWN = 100


@dataclass(frozen=True)
class PreviewRow:
    line: int
    prompt: PromptRecord
    answers: list[AnswerRecord]
    labeler: str
    is_ranked: bool


def preview_context(batch: ImportBatch, data: Any = None) -> dict[str, Any]:
    """The first rows as they will be, and the form that says how the file is read."""
    preview = import_preview(batch)
    suggested, whose = mapping_for(batch, preview.columns)
    form = ReadingForm(batch, preview.columns, suggested, data)
    return {
        "batch": batch,
        "kind": kind_words(batch),
        "preview": preview,
        "rows": [preview_row(line, record) for line, record in preview.records],
        "form": form,
        "format": format_words(preview.format),
        "by_mapping": preview.format == NAME,
        "whose": whose,
        "unknown": is_unknown(preview, batch),
        "counts_from": COUNTS_FROM,
    }


def is_unknown(preview: Preview, batch: ImportBatch) -> bool:
    """Whether nothing came of the rows, and only a mapping can tell what they are."""
    return not batch.mapping and not preview.good and bool(preview.columns)


def is_complete(kind: str, mapping: dict[str, Any]) -> bool:
    try:
        complete(kind, mapping)
    except ImportProblem:
        return False
    return True


def format_words(name: str) -> str:
    if name == NAME:
        return _("by the mapping")
    return str(BY_NAME[name].label) if name in BY_NAME else name


def preview_row(line: int, record: Record) -> PreviewRow:
    prompt = record if isinstance(record, PromptRecord) else record.prompt
    work = record.work if isinstance(record, DemonstrationRecord | RankingRecord) else None
    answers: list[AnswerRecord] = []
    if isinstance(record, DemonstrationRecord):
        answers = [AnswerRecord(text=record.text)]
    elif not isinstance(record, PromptRecord):
        answers = record.answers
    return PreviewRow(line, prompt, answers, work.labeler if work else "", isinstance(record, RankingRecord))


def live_context(batch: ImportBatch) -> dict[str, Any]:
    """What changes while the import goes on."""
    progress = import_progress(batch)
    return {
        "batch": batch,
        "etag": live_etag(batch),
        "over": batch.is_over,
        "percent": round(100 * progress.fraction) if progress.fraction is not None else None,
        "left": duration_words(progress.seconds_left) if progress.seconds_left is not None else "",
        "speed": round(progress.rows_a_second) if progress.rows_a_second else 0,
        "may_start_again": batch.state == ImportState.REFUSED and staged_path(batch.sha256).exists(),
    }


def live_etag(batch: ImportBatch) -> str:
    return f"{batch.pk.hex}-{batch.state}-{batch.phase}-{batch.attempt}-{batch.position}-{batch.cancel_asked}"


def still_context(batch: ImportBatch) -> dict[str, Any]:
    """What stays as it is: the kind, and how the file was read."""
    columns = [(name, value if isinstance(value, list) else [value]) for name, value in batch.mapping.items()]
    return {
        "kind": kind_words(batch),
        "format": format_words(batch.format),
        "mapped": [(name, ", ".join(str(column) for column in found)) for name, found in columns],
    }


def kind_words(batch: ImportBatch) -> str:
    return str(dict(ImportKind.choices).get(batch.kind, batch.kind))


def bad_lines_context(batch: ImportBatch, request: HttpRequest) -> dict[str, Any]:
    """A page of the bad lines, in the file's order, found by key."""
    after = request.GET.get("after", "")
    lines = import_rejections(batch)
    if after.isdecimal() and len(after) < 19:
        lines = lines.filter(pk__gt=int(after))
    shown: list[ImportRejection] = list(lines[: BAD_LINES_SHOWN + 1])
    more = len(shown) > BAD_LINES_SHOWN
    shown = shown[:BAD_LINES_SHOWN]
    return {
        "rejected": shown,
        "rejected_count": batch.rejected_count,
        "next": shown[-1].pk if more else "",
        "after": after,
    }
