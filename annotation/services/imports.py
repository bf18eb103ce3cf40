"""Importing files: prompts, demonstrations and rankings, in JSONL or CSV, all of a file or nothing of it.

A file is read as a stream and written in chunks within one transaction. The same file twice adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.conversations import clean_text
from annotation.errors import ImportProblem, PlackettError
from annotation.fields import Category
from annotation.formats import Format, format_named, recognise
from annotation.formats.base import Row
from annotation.lines import read_lines
from annotation.models import (
    Demonstration,
    ImportBatch,
    Pool,
    Project,
    Prompt,
    PromptSource,
    Ranking,
    Task,
    TaskState,
)
from annotation.records import PARSERS, PromptRecord, Record, record_of
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.imported_labels import Item, LabelImporter, prompts_in_use
from annotation.services.prompts import PromptRow, Rejected, check_filing, prompts_add
from annotation.services.queue import without_nul

CHUNK = 500
KEPT_PROBLEMS = 1000
Read = tuple[int, Record | None, str]


class BadLines(ImportProblem):
    """A file with lines that can't be imported, where that was not accepted. Nothing was changed."""

    def __init__(self, rejected: list[dict[str, Any]], count: int, good: int) -> None:
        self.rejected, self.count, self.good = rejected, count, good
        first = rejected[0]
        words = ngettext(
            "%(count)s line can't be imported, so nothing was. It is line %(line)s: %(problem)s. "
            "Mend it, or import the good lines alone.",
            "%(count)s lines can't be imported, so nothing was. The first is line %(line)s: %(problem)s. "
            "Mend them, or import the good lines alone.",
            count,
        )
        super().__init__(words % {"count": f"{count:,}", "line": first["line"], "problem": first["problem"]})


@dataclass
class Counts:
    """What becomes of a file's lines."""

    added: int = 0
    known: int = 0
    rejected_count: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def reject(self, line: int, problem: str) -> None:
        self.rejected_count += 1
        if len(self.rejected) < KEPT_PROBLEMS:
            self.rejected.append(Rejected(line, problem).as_dict())

    @property
    def total(self) -> int:
        return self.added + self.known + self.rejected_count


@dataclass
class ImportPreview:
    """What a file holds: how many good and bad lines, the first bad ones, the first records."""

    good: int = 0
    rejected_count: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


def import_preview(*, kind: str, file: IO[bytes], filename: str, shown: int = 5) -> ImportPreview:
    """Read a file without keeping anything.

    Raises: ImportProblem where the file as a whole can't be read.
    """
    check_kind(kind)
    preview, counts = ImportPreview(), Counts()
    file.seek(0)
    for line, record, problem in read_records(kind, file, filename):
        if record is None:
            counts.reject(line, problem)
        else:
            preview.good += 1
            if len(preview.records) < shown:
                preview.records.append(record)
    preview.rejected, preview.rejected_count = counts.rejected, counts.rejected_count
    return preview


def import_file(
    *,
    project: Project,
    kind: str,
    file: IO[bytes],
    filename: str,
    pool: str,
    source: str,
    by: Actor | None,
    licence: str = "",
    consent: str = "",
    format: str = "",
    accept_bad_lines: bool = False,
) -> ImportBatch:
    """Import a file and return its batch, which says what became of its lines. A format that is not given is
    recognised.

    Raises: BadLines where lines are bad and that was not accepted, ImportProblem where the file can't be read at all.
    In both cases nothing has changed.
    """
    check_kind(kind)
    if pool not in Pool.values:
        raise ImportProblem(
            _("There is no pool %(pool)s. Choose one of: %(known)s.") % {"pool": pool, "known": ", ".join(Pool.values)}
        )
    if not source.strip():
        raise ImportProblem(_("Say where the data is from: give a source."))
    written_in = format_named(format) if format else None
    digest = file_digest(file)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # one import at a time
        batch = ImportBatch.objects.create(
            project=project,
            kind=kind,
            source=clean_text(source, what=_("the source"), limit=120).strip(),
            licence=without_nul(licence).strip()[:120],
            consent=without_nul(consent).strip(),
            filename=without_nul(filename)[-255:],
            sha256=digest,
            created_by=audit.account_of(by),
        )
        counts = FileImport(batch, pool, by, written_in).run(file, accept_bad_lines)
        for name in ("added", "known", "rejected", "rejected_count"):
            setattr(batch, name, getattr(counts, name))
        batch.save()
        audit.record(project=project, by=by, verb="import.add", target=batch, kind=kind, added=batch.added)
    return batch


class FileImport:
    """One file on its way into the tables."""

    def __init__(self, batch: ImportBatch, pool: str, by: Actor | None, format: Format | None) -> None:
        self.batch, self.pool, self.by, self.format = batch, pool, by, format
        self.counts = Counts()
        self.labels = LabelImporter(batch, batch.kind)

    def run(self, file: IO[bytes], accept_bad_lines: bool) -> Counts:
        good: list[tuple[int, Record]] = []
        read = 0
        for line, record, problem in read_records(self.batch.kind, file, self.batch.filename, self.format):
            read += 1
            if record is None:
                self.counts.reject(line, problem)
                continue
            good.append((line, record))
            if len(good) == CHUNK:
                self.write(good, accept_bad_lines)
                good = []
        self.write(good, accept_bad_lines)
        if not read:
            raise ImportProblem(_("The file has no rows."))
        self.counts.rejected.sort(key=lambda bad: bad["line"])
        if self.counts.rejected and not accept_bad_lines:
            raise BadLines(self.counts.rejected, self.counts.rejected_count, read - self.counts.rejected_count)
        return self.counts

    def write(self, good: list[tuple[int, Record]], accept_bad_lines: bool) -> None:
        """Write a chunk, unless the file has failed already: then reading on only serves the report."""
        if not good or (self.counts.rejected and not accept_bad_lines):
            return
        rows = [self.prompt_row(line, record) for line, record in good]
        report = prompts_add(
            project=self.batch.project,
            rows=rows,
            pool=self.pool,
            source=PromptSource.IMPORT,
            by=self.by,
            batch=self.batch,
        )
        for bad in report.rejected:
            self.counts.reject(bad.line, bad.problem)
        if self.batch.kind == "prompts":
            self.counts.added += report.added
            self.counts.known += report.known
            return
        items = [
            Item(line, prompt_id, record)
            for (line, record), prompt_id in zip(good, report.prompt_ids, strict=True)
            if prompt_id is not None and not isinstance(record, PromptRecord)
        ]
        outcome = self.labels.add(items)
        self.counts.added += outcome.added
        self.counts.known += outcome.known
        for line, problem in outcome.rejected:
            self.counts.reject(line, problem)

    def prompt_row(self, line: int, record: Record) -> PromptRow:
        prompt = prompt_of(record)
        return PromptRow(
            messages=prompt.messages,
            category=category_of(prompt),
            language=language_of(prompt),
            group=prompt.group,
            source_name=self.batch.source,
            source_id=prompt.source_id,
            pool=prompt.pool,
            line=line,
        )


@transaction.atomic
def import_undo(*, batch: ImportBatch, by: Actor | None) -> ImportBatch:
    """Take back what an import brought and nobody else has used.

    Its labels are no longer current, its tasks and prompts no longer offered; a prompt that a person or a model has
    worked on since stays. Snapshots are frozen and stay as they are. Importing the file again brings it all back.
    """
    Project.objects.select_for_update(no_key=True).get(pk=batch.project_id)
    batch.refresh_from_db()
    if batch.undone_at is not None:
        raise ImportProblem(_("This import is undone already."))
    labels = sum(
        model._default_manager.filter(batch=batch, is_current=True).update(is_current=False)
        for model in (Demonstration, Ranking)
    )
    withdraw_tasks(batch)
    ours = Prompt.objects.filter(batch=batch, withdrawn_at__isnull=True)
    unused = ours.exclude(pk__in=prompts_in_use(ours).values("pk"))
    prompts = Prompt.objects.filter(pk__in=list(unused.values_list("pk", flat=True))).update(withdrawn_at=Now())
    kept = ours.count()
    ImportBatch.objects.filter(pk=batch.pk).update(undone_at=Now())
    audit.record(
        project=batch.project,
        by=by,
        verb="import.undo",
        target=batch,
        labels=labels,
        prompts=prompts,
        prompts_kept=kept,
    )
    batch.refresh_from_db()
    return batch


def withdraw_tasks(batch: ImportBatch) -> None:
    """Withdraw the batch's tasks that have no label left and wait for none."""
    for model, name in ((Demonstration, "demonstrations"), (Ranking, "rankings")):
        current = model._default_manager.filter(task=OuterRef("pk"), is_current=True)
        tasks = Task.objects.filter(~Exists(current), **{f"{name}__batch": batch, "open_slots": 0})
        ids = list(tasks.values_list("pk", flat=True).distinct())
        Task.objects.filter(pk__in=ids, state=TaskState.COMPLETE).update(state=TaskState.WITHDRAWN)


def read_records(kind: str, file: IO[bytes], filename: str, format: Format | None = None) -> Iterator[Read]:
    """Yield (line, record, "") or (line, None, problem) for each row of the file.

    The format is told by the first row where it is not given.
    """
    for line in read_lines(file, filename):
        if line.row is None:
            yield line.number, None, line.problem
            continue
        format = format or recognise(line.row)
        yield from ((line.number, record, problem) for record, problem in row_records(kind, line.row, format))


def row_records(kind: str, row: Row, format: Format) -> Iterator[tuple[Record | None, str]]:
    """The records that a row of this format holds, one as a rule and many in a tree; a problem in the place of a bad
    one."""
    empty = True
    try:
        for ours in format.read(kind, row):
            empty = False
            try:
                record = record_of(kind, ours)
                check_record(record)
            except PlackettError as problem:
                yield None, problem.message
            else:
                yield record, ""
    except ImportProblem as problem:
        yield None, problem.message
    else:
        if empty:
            yield None, _("the line holds no %(kind)s") % {"kind": kind}


def check_record(record: Record) -> None:
    """Refuse what no table would take, so that a preview and the list of bad lines name it like any other."""
    prompt = prompt_of(record)
    check_filing(pool=prompt.pool or Pool.SFT, category=category_of(prompt), language=language_of(prompt))


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


def file_digest(file: IO[bytes]) -> str:
    """The hash of the file's bytes; the file is at its beginning afterwards."""
    file.seek(0)
    digest = sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()
