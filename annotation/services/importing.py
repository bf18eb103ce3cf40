"""Carrying an import out: a pass that checks every row, then one that writes them, then all of it shown at once.

Each step keeps its place in the file in the transaction that keeps its rows, so that a worker that is killed at any
moment loses a step at most, and no row comes twice. What was written is hidden until the end (see `models.imports`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from typing import IO, Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import ImportProblem, PlackettError
from annotation.import_reading import ImportReader, prompt_row
from annotation.models import (
    Assignment,
    Demonstration,
    ImportBatch,
    ImportPhase,
    ImportRejection,
    ImportState,
    Project,
    Prompt,
    PromptSource,
    RankedResponse,
    Ranking,
    Response,
    Task,
    TaskResponse,
    TaskState,
)
from annotation.records import PromptRecord, Record
from annotation.services import audit
from annotation.services.bulk_rows import tables_analyze
from annotation.services.import_claims import (
    Fence,
    LeaseLost,
    end_values,
    import_hand_back,
    import_hold,
    is_cancel_asked,
)
from annotation.services.import_clearing import clear_ended_imports
from annotation.services.imported_answers import AnswersImporter
from annotation.services.imported_labels import Item, LabelImporter, Outcome
from annotation.services.prompts import prompts_add
from annotation.services.store_pace import gentle_store
from annotation.spool import Block, Spool
from annotation.staging import forget, verified

CHUNK = 1000  # records a transaction
CHECKED = 5000  # rows a transaction that only checks
STEP_SECONDS = 1.0
MOST_REJECTIONS = 1_000_000
MANY = 5000  # rows, after which the database should look at its tables anew
FILLED = (Prompt, Response, Task, TaskResponse, Assignment, Demonstration, Ranking, RankedResponse)

Tell = Callable[[ImportBatch], object]
logger = logging.getLogger(__name__)


class Stopped(Exception):
    """The worker is shutting down."""


class Cancelled(Exception):
    """A person wants no more of it."""


def import_run(*, fence: Fence, stopping: threading.Event | None = None, tell: Tell | None = None) -> None:
    """Carry out a claimed import to its end, or give it back where the worker stops. It writes the end state itself."""
    batch = ImportBatch.objects.select_related("project", "created_by").get(pk=fence.batch_id)
    job = ImportJob(batch, fence, stopping, tell)
    try:
        job.run()
    except LeaseLost:
        logger.warning("the import %s is another worker's by now", batch.pk)
    except Stopped:
        with suppress(LeaseLost):
            import_hand_back(fence=fence)
    except Cancelled:
        import_end(batch=batch, fence=fence, state=ImportState.CANCELLED)
    except PlackettError as problem:
        import_end(batch=batch, fence=fence, state=ImportState.FAILED, message=problem.message)
    except (OSError, MemoryError) as error:
        logger.exception("the import %s failed", batch.pk)
        words = f"The file store or the machine refused ({type(error).__name__}: {error})."
        import_end(batch=batch, fence=fence, state=ImportState.FAILED, message=words)
    clear_ended_imports()


@transaction.atomic
def import_end(*, batch: ImportBatch, fence: Fence, state: ImportState, message: str = "") -> None:
    """End an import that did not succeed: nothing of it is there. A lost lease ends nothing."""
    with suppress(LeaseLost):
        import_hold(fence=fence, **end_values(batch, state, message))
        audit.record(
            project=batch.project,
            by=batch.created_by,
            verb=f"import.{state.value}",
            target=batch,
            message=message[:500],
        )
    forget_file(batch)


def forget_file(batch: ImportBatch) -> None:
    """After the commit remove the staged file, unless a refused import or another one may still want it."""

    def forget_unless_wanted() -> None:
        others = ImportBatch.objects.filter(sha256=batch.sha256).exclude(pk=batch.pk)
        if not others.filter(state__in=[ImportState.STAGED, ImportState.QUEUED, ImportState.RUNNING]).exists():
            forget(batch.sha256)

    transaction.on_commit(forget_unless_wanted)


class ImportJob:
    """One attempt at one import."""

    def __init__(self, batch: ImportBatch, fence: Fence, stopping: threading.Event | None, tell: Tell | None) -> None:
        self.batch, self.fence, self.stopping, self.tell = batch, fence, stopping, tell
        self.beat_at = time.monotonic()

    def run(self) -> None:
        path = verified(self.batch.sha256, self.tick)
        with path.open("rb") as file, closing(Spool()) as spool, gentle_store():
            if self.batch.phase != ImportPhase.WRITE:
                self.check(file, spool)
                if self.batch.rejected_count and not self.batch.accept_bad_lines:
                    self.refuse()
                    return
                self.begin_writing()
            else:
                spool.drop()
            self.write(spool.blocks() if spool.is_whole else self.blocks(file))
        if self.batch.rejected_count and not self.batch.accept_bad_lines:
            self.refuse()
        else:
            self.publish()
            if self.batch.added >= MANY:
                tables_analyze(*FILLED)

    # --- The two passes --------------------------------------------------------------------------

    def check(self, file: IO[bytes], spool: Spool) -> None:
        """Read every row and name those that can't come in; nothing else is written to the tables."""
        if self.batch.position:
            spool.drop()  # another attempt read what stands before
        bad: list[ImportRejection] = []
        good: list[tuple[int, Record]] = []
        reader, read, spooled = self.reader(file), 0, 0
        for _number, results in reader:
            read, spooled = read + 1, spooled + 1
            for line, record, problem in results:
                if record is None:
                    bad.append(self.rejection(line, problem))
                else:
                    good.append((line, record))
            if len(good) >= CHUNK:
                spool.add((spooled, reader.bytes_read(file), good))
                good, spooled = [], 0
            if read >= CHECKED or len(bad) >= CHUNK or self.is_due():
                self.keep(file, reader, read, bad)
                bad, read = [], 0
        spool.add((spooled, reader.bytes_read(file), good))
        self.keep(file, reader, read, bad)
        if not self.batch.position:
            raise ImportProblem(_("The file has no rows."))

    def begin_writing(self) -> None:
        self.hold(
            phase=ImportPhase.WRITE.value,
            rows=self.batch.position,
            position=0,
            position_bytes=0,
            phase_from=0,
            phase_at=timezone.now(),
        )

    def write(self, blocks: Iterable[Block]) -> None:
        writer = Writer(self.batch)
        for read, bytes_read, good in blocks:
            self.keep_written(read, bytes_read, writer, good)

    def blocks(self, file: IO[bytes]) -> Iterator[Block]:
        """The file's records from where the writing is, as the check would have kept them."""
        reader = self.reader(file)
        good: list[tuple[int, Record]] = []
        read = 0
        for _number, results in reader:
            read += 1
            good += [(line, record) for line, record, _problem in results if record is not None]
            if len(good) >= CHUNK:
                yield read, reader.bytes_read(file), good
                good, read = [], 0
        yield read, reader.bytes_read(file), good

    def reader(self, file: IO[bytes]) -> ImportReader:
        return ImportReader(self.batch, file, skip=self.batch.position, tick=self.tick)

    # --- Steps -----------------------------------------------------------------------------------

    def keep(self, file: IO[bytes], reader: ImportReader, read: int, bad: list[ImportRejection]) -> None:
        with transaction.atomic():
            ImportRejection.objects.bulk_create(bad, batch_size=2000)
            self.hold(
                phase=ImportPhase.CHECK.value,
                format=reader.format_name,
                position=self.batch.position + read,
                position_bytes=reader.bytes_read(file),
                rejected_count=self.batch.rejected_count + len(bad),
                lost_count=0,
            )
        if self.batch.rejected_count > MOST_REJECTIONS:
            raise ImportProblem(
                _("More than %(limit)s lines can't be imported. Are format and mapping the right ones?")
                % {"limit": f"{MOST_REJECTIONS:,}"}
            )
        self.after_step()

    def keep_written(self, read: int, bytes_read: int, writer: Writer, good: list[tuple[int, Record]]) -> None:
        with transaction.atomic():
            Project.objects.select_for_update(no_key=True).get(pk=self.batch.project_id)
            outcome = writer.add(good)
            bad = [self.rejection(line, problem) for line, problem in outcome.rejected]
            ImportRejection.objects.bulk_create(bad, batch_size=2000)
            self.hold(
                position=self.batch.position + read,
                position_bytes=bytes_read,
                added=self.batch.added + outcome.added,
                known=self.batch.known + outcome.known,
                lost_count=0,
                rejected_count=self.batch.rejected_count + len(bad),
            )
        self.after_step()

    def hold(self, **values: Any) -> None:
        """Write values to the row, and to our copy of it."""
        import_hold(fence=self.fence, **values)
        for name, value in values.items():
            setattr(self.batch, name, value)
        self.beat_at = time.monotonic()

    def tick(self) -> None:
        """Keep the lease while something takes long that keeps nothing."""
        if self.is_due():
            self.hold()
            self.after_step()

    def is_due(self) -> bool:
        return time.monotonic() - self.beat_at > STEP_SECONDS

    def after_step(self) -> None:
        if self.tell is not None:
            self.tell(self.batch)
        if self.stopping is not None and self.stopping.is_set():
            raise Stopped
        if is_cancel_asked(self.fence):
            raise Cancelled

    def rejection(self, line: int, problem: str) -> ImportRejection:
        return ImportRejection(batch_id=self.batch.pk, line=line, problem=problem.replace("\0", "")[:2000])

    # --- Ends ------------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Bad lines, and nobody said that the good ones may come in alone. The file is kept for a while, to say so."""
        with transaction.atomic():
            import_hold(fence=self.fence, **end_values(self.batch, ImportState.REFUSED))
            count = self.batch.rejected_count
            audit.record(
                project=self.batch.project,
                by=self.batch.created_by,
                verb="import.refused",
                target=self.batch,
                bad=count,
            )

    @transaction.atomic
    def publish(self) -> None:
        """Show all that was written, in one transaction."""
        batch = self.batch
        Project.objects.select_for_update(no_key=True).get(pk=batch.project_id)
        import_hold(fence=self.fence, **end_values(batch, ImportState.SUCCEEDED))
        Prompt.objects.filter(batch=batch, withdrawn_at__isnull=False).update(withdrawn_at=None)
        if batch.kind == "demonstrations":
            Demonstration.objects.filter(batch=batch, is_current=False).update(is_current=True)
        if batch.kind == "rankings":
            Ranking.objects.filter(batch=batch, is_current=False).update(is_current=True)
        hidden = Task.objects.filter(batch=batch, state=TaskState.WITHDRAWN)
        hidden.filter(open_slots__gt=0).update(state=TaskState.OPEN)
        hidden.filter(open_slots=0).update(state=TaskState.COMPLETE)
        audit.record(
            project=batch.project,
            by=batch.created_by,
            verb="import.add",
            target=batch,
            kind=batch.kind,
            added=batch.added,
        )
        forget_file(batch)


class Writer:
    """Puts records into the tables, hidden, a chunk at a time."""

    def __init__(self, batch: ImportBatch) -> None:
        self.batch = batch
        self.labels = AnswersImporter(batch) if batch.kind == "answers" else LabelImporter(batch, batch.kind)

    def add(self, good: list[tuple[int, Record]]) -> Outcome:
        if not good:
            return Outcome()
        report = prompts_add(
            project=self.batch.project,
            rows=[prompt_row(self.batch.source, line, record) for line, record in good],
            pool=self.batch.pool,
            source=PromptSource.IMPORT,
            by=None,
            batch=self.batch,
        )
        refused = [(bad.line, bad.problem) for bad in report.rejected]
        if self.batch.kind == "prompts":
            return Outcome(report.added, report.known, refused)
        items: list[Item[Any]] = [
            Item(line, prompt_id, record, prompt_id in report.made)
            for (line, record), prompt_id in zip(good, report.prompt_ids, strict=True)
            if prompt_id is not None and not isinstance(record, PromptRecord)
        ]
        outcome = self.labels.add(items)
        outcome.rejected = sorted(refused + outcome.rejected)
        return outcome
