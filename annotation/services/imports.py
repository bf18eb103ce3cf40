"""Imports as people ask for them: staged, looked at, started, cancelled, undone. A worker carries them out
(`services.importing`): all of a file comes in or nothing, unless the good lines are asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import IO, Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.conversations import clean_text
from annotation.errors import ImportProblem
from annotation.formats import format_named
from annotation.import_reading import check_kind
from annotation.mapping import NAME, checked
from annotation.models import (
    AssignmentStatus,
    Demonstration,
    ImportBatch,
    ImportState,
    Pool,
    Project,
    Prompt,
    Ranking,
    Task,
    TaskState,
)
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.import_claims import end_values, import_claim, wake_after_commit
from annotation.services.imported_labels import prompts_in_use
from annotation.services.importing import Tell, forget_file, import_run
from annotation.services.queue import without_nul
from annotation.staging import blocks_of, forget_older, staged, staged_path

STAGED_SECONDS = 7 * 24 * 3600.0  # how long a file is kept that nobody started to import, or whose lines were refused
POLL_SECONDS = 0.05
KEPT_STATES = (ImportState.STAGED, ImportState.QUEUED, ImportState.RUNNING, ImportState.REFUSED)


class BadLines(ImportProblem):
    """A file with lines that can't be imported, where that was not accepted. Nothing was changed."""

    def __init__(self, rejected: list[dict[str, Any]], count: int) -> None:
        self.rejected, self.count = rejected, count
        first = rejected[0]
        words = ngettext(
            "%(count)s line can't be imported, so nothing was. It is line %(line)s: %(problem)s. "
            "Mend it, or import the good lines alone.",
            "%(count)s lines can't be imported, so nothing was. The first is line %(line)s: %(problem)s. "
            "Mend them, or import the good lines alone.",
            count,
        )
        super().__init__(words % {"count": f"{count:,}", "line": first["line"], "problem": first["problem"]})


# --- Staging ---------------------------------------------------------------------------------------


def import_stage(
    *,
    project: Project,
    kind: str,
    blocks: Iterable[bytes],
    filename: str,
    pool: str,
    source: str,
    by: Actor | None,
    licence: str = "",
    consent: str = "",
    format: str = "",
    mapping: Any = None,
    accept_bad_lines: bool = False,
    limit: int | None = None,
) -> ImportBatch:
    """Keep a file and what is to be made of it; nothing is imported yet.

    Raises: ImportProblem.
    """
    batch = ImportBatch(
        project=project,
        kind=checked_kind(kind),
        pool=checked_pool(pool),
        source=checked_source(source),
        licence=without_nul(licence).strip()[:120],
        consent=without_nul(consent).strip(),
        filename=without_nul(filename)[-255:],
        accept_bad_lines=accept_bad_lines,
        state=ImportState.STAGED,
        created_by=audit.account_of(by),
    )
    set_reading(batch, format, mapping)
    try:
        with staged(blocks, limit) as (batch.sha256, batch.size):
            batch.save(force_insert=True)
    except BaseException:
        if not batch._state.adding:  # the row without its file, which the store refused
            batch.delete()
        raise
    return batch


def set_reading(batch: ImportBatch, format: str, mapping: Any) -> None:
    """How the file is to be read: by a format, by a mapping, or (neither) as its first row looks."""
    batch.mapping = checked(batch.kind, mapping) if mapping else {}
    batch.format = NAME if batch.mapping else format_named(format).name if format and format != NAME else ""


def checked_kind(kind: str) -> str:
    check_kind(kind)
    return kind


def checked_pool(pool: str) -> str:
    if pool not in Pool.values:
        raise ImportProblem(
            _("There is no pool %(pool)s. Choose one of: %(known)s.") % {"pool": pool, "known": ", ".join(Pool.values)}
        )
    return pool


def checked_source(source: str) -> str:
    if not source.strip():
        raise ImportProblem(_("Say where the data is from: give a source."))
    return clean_text(source, what=_("the source"), limit=120).strip()


@transaction.atomic
def import_change(
    *, batch: ImportBatch, by: Actor | None, format: str, mapping: Any, accept_bad_lines: bool
) -> ImportBatch:
    """Say anew how a staged file is to be read. Raises ImportProblem."""
    batch = locked(batch)
    if batch.state != ImportState.STAGED:
        raise ImportProblem(_("This import was started already."))
    set_reading(batch, format, mapping)
    batch.accept_bad_lines = accept_bad_lines
    batch.save(update_fields=["format", "mapping", "accept_bad_lines"])
    return batch


@transaction.atomic
def import_start(*, batch: ImportBatch, by: Actor | None) -> ImportBatch:
    """Put a staged import into the queue. Starting it again changes nothing."""
    batch = locked(batch)
    if batch.state == ImportState.STAGED:
        ImportBatch.objects.filter(pk=batch.pk).update(state=ImportState.QUEUED, queued_at=Now())
        audit.record(project=batch.project, by=by, verb="import.start", target=batch, kind=batch.kind)
        wake_after_commit()
        batch.refresh_from_db()
    return batch


@transaction.atomic
def import_again(*, batch: ImportBatch, by: Actor | None) -> ImportBatch:
    """Import the good lines of a refused file alone, as an import of its own."""
    batch = locked(batch)
    if batch.state != ImportState.REFUSED:
        raise ImportProblem(_("Only an import that was refused for its bad lines can be done for the good ones alone."))
    if not staged_path(batch.sha256).exists():
        raise ImportProblem(_("The file is no longer kept. Send it again."))
    again = ImportBatch.objects.create(
        accept_bad_lines=True,
        state=ImportState.STAGED,
        created_by=audit.account_of(by),
        **{
            name: getattr(batch, name)
            for name in (
                *("project", "kind", "pool", "source", "licence", "consent"),
                *("filename", "sha256", "size", "format", "mapping"),
            )
        },
    )
    return import_start(batch=again, by=by)


@transaction.atomic
def import_cancel(*, batch: ImportBatch, by: Actor | None) -> ImportBatch:
    """Have nothing of it. A running one ends within a step; nothing of what it wrote was ever to be seen."""
    batch = locked(batch)
    if batch.is_over:
        raise ImportProblem(_("This import is over already."))
    if batch.state == ImportState.RUNNING:
        ImportBatch.objects.filter(pk=batch.pk).update(cancel_asked=True)
    else:
        ended = end_values(batch, ImportState.CANCELLED)
        ImportBatch.objects.filter(pk=batch.pk).update(cancel_asked=True, **ended)
        forget_file(batch)
    audit.record(project=batch.project, by=by, verb="import.cancel", target=batch)
    batch.refresh_from_db()
    return batch


def locked(batch: ImportBatch) -> ImportBatch:
    return ImportBatch.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=batch.pk)


def forget_staged_files() -> None:
    """Remove files that nobody started to import in a week."""
    forget_older(STAGED_SECONDS, set())


# --- At once ---------------------------------------------------------------------------------------


def import_file(
    *,
    project: Project,
    kind: str,
    file: IO[bytes],
    filename: str,
    pool: str,
    source: str,
    by: Actor | None,
    **more: Any,
) -> ImportBatch:
    """Import a file in this process and return its batch, for programs that have nothing else to do meanwhile.

    Raises: BadLines where lines are bad and that was not accepted, ImportProblem where the file can't be read at all.
    In both cases nothing has changed.
    """
    batch = import_stage(
        project=project, kind=kind, blocks=blocks_of(file), filename=filename, pool=pool, source=source, by=by, **more
    )
    batch = import_work_here(batch=import_start(batch=batch, by=by))
    if batch.state == ImportState.SUCCEEDED:
        return batch
    rejected, message, count = rejected_lines(batch), batch.message, batch.rejected_count
    forget_file(batch)
    if not (Prompt.objects.filter(batch=batch).exists() or Task.objects.filter(batch=batch).exists()):
        batch.delete()  # no trace of a file that a program can send again
    raise BadLines(rejected, count) if rejected and not message else ImportProblem(message or _("It was cancelled."))


def import_work_here(*, batch: ImportBatch, tell: Tell | None = None) -> ImportBatch:
    """Work on the project's imports until this one is over, whoever carries it out."""
    while True:
        fence = import_claim(worker=f"process {os.getpid()}", project_id=batch.project_id)
        if fence is not None:
            import_run(fence=fence, tell=tell if fence.batch_id == batch.pk else None)
        batch.refresh_from_db()
        if batch.is_over:
            return batch
        if fence is None:
            if tell is not None:
                tell(batch)
            time.sleep(POLL_SECONDS)


def rejected_lines(batch: ImportBatch, most: int = 1000) -> list[dict[str, Any]]:
    found = batch.rejections.order_by("line", "id").values_list("line", "problem")[:most]
    return [{"line": line, "problem": problem} for line, problem in found]


# --- Undoing -----------------------------------------------------------------------------------------


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
    if batch.state != ImportState.SUCCEEDED:
        raise ImportProblem(_("This import brought nothing, so there is nothing to undo."))
    labels = sum(
        model._default_manager.filter(batch=batch, is_current=True).update(is_current=False)
        for model in (Demonstration, Ranking)
    )
    withdraw_tasks(batch)
    ours = Prompt.objects.filter(batch=batch, withdrawn_at__isnull=True)
    unused = ours.exclude(pk__in=prompts_in_use(ours).values("pk"))
    prompts = Prompt.objects.filter(pk__in=unused.values("pk")).update(withdrawn_at=Now())
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
    """Withdraw the batch's tasks that have no label left and wait for none, or that nobody has begun."""
    for model, name in ((Demonstration, "demonstrations"), (Ranking, "rankings")):
        current = model._default_manager.filter(task=OuterRef("pk"), is_current=True)
        tasks = Task.objects.filter(~Exists(current), **{f"{name}__batch": batch, "open_slots": 0})
        ids: set[UUID] = set(tasks.values_list("pk", flat=True).distinct())
        Task.objects.filter(pk__in=ids, state=TaskState.COMPLETE).update(state=TaskState.WITHDRAWN)
    if batch.kind == "answers":
        begun = [AssignmentStatus.LEASED, AssignmentStatus.SUBMITTED]
        untouched = Task.objects.filter(batch=batch, state=TaskState.OPEN).exclude(assignments__status__in=begun)
        Task.objects.filter(pk__in=untouched.values("pk")).update(state=TaskState.WITHDRAWN)
