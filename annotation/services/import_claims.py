"""A worker's side of an import: claim, hold, hand back, end; and the reaper for workers that went silent.

As with runs: leases go by the database's clock, a claim adds 1 to `attempt`, and all that a worker writes later is
conditional on that number.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from celery import current_app
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from kombu.exceptions import KombuError

from annotation.models import ImportBatch, ImportPhase, ImportState

WORK = "annotation.tasks.import_work"
QUEUE = "default"
EXPIRES_SECONDS = 60  # a nudge that nobody took by then is worth nothing; the sweep sends new ones

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fence:
    """Which attempt at which import a worker holds."""

    batch_id: UUID
    attempt: int


class LeaseLost(Exception):
    """The import is no longer this attempt's: nothing of it may be written any more."""


def lease_end() -> Combinable:
    return Now() + Value(timedelta(seconds=settings.RUN_LEASE_SECONDS))


def wake() -> None:
    """Send the message now. Redis may be away: then the sweep does it later."""
    try:
        current_app.send_task(WORK, queue=QUEUE, expires=EXPIRES_SECONDS, retry=False, ignore_result=True)
    except (KombuError, OSError) as error:
        logger.warning("no worker was woken for an import (%s); the sweep will", type(error).__name__)


def wake_after_commit() -> None:
    transaction.on_commit(wake)


def import_claim(*, worker: str, project_id: UUID | None = None) -> Fence | None:
    """Take the import that waits longest, of those whose project has none running. None if there is none."""
    running = ImportBatch.objects.filter(state=ImportState.RUNNING).values("project")
    waiting = ImportBatch.objects.filter(state=ImportState.QUEUED).exclude(project__in=running)
    if project_id is not None:
        waiting = waiting.filter(project=project_id)
    for batch_id in waiting.order_by("queued_at", "id").values_list("pk", flat=True)[:10]:
        if claimed(batch_id, worker):
            return Fence(batch_id, ImportBatch.objects.values_list("attempt", flat=True).get(pk=batch_id))
    return None


def claimed(batch_id: UUID, worker: str) -> bool:
    try:
        with transaction.atomic():
            return bool(
                ImportBatch.objects.filter(pk=batch_id, state=ImportState.QUEUED).update(
                    state=ImportState.RUNNING,
                    worker=worker[:120],
                    attempt=F("attempt") + 1,
                    lease_until=lease_end(),
                    phase_at=Now(),
                    phase_from=F("position"),
                )
            )
    except IntegrityError:  # another import of the project was claimed just now
        return False


def import_hold(*, fence: Fence, **values: Any) -> None:
    """Write values and extend the lease. Raises LeaseLost if another attempt has it, or it is over."""
    held = ImportBatch.objects.filter(pk=fence.batch_id, attempt=fence.attempt, state=ImportState.RUNNING)
    if not held.update(lease_until=lease_end(), **values):
        raise LeaseLost


def is_cancel_asked(fence: Fence) -> bool:
    return bool(ImportBatch.objects.filter(pk=fence.batch_id, cancel_asked=True).exists())


def import_hand_back(*, fence: Fence) -> None:
    """Give it back to the queue, to go on from where it is."""
    import_hold(fence=fence, state=ImportState.QUEUED, worker="")
    wake_after_commit()


def reap_lost_imports() -> int:
    """Take back every import whose worker let its lease run out; how many there were."""
    out = ImportBatch.objects.filter(state=ImportState.RUNNING, lease_until__lt=Now())
    return sum(reap(Fence(batch_id, attempt)) for batch_id, attempt in out.values_list("pk", "attempt"))


@transaction.atomic
def reap(fence: Fence) -> bool:
    still = ImportBatch.objects.select_for_update(no_key=True).filter(
        pk=fence.batch_id, attempt=fence.attempt, state=ImportState.RUNNING, lease_until__lt=Now()
    )
    batch = still.first()
    if batch is None:
        return False
    lost = batch.lost_count + 1
    if lost <= settings.RUN_MAX_LOST:
        ImportBatch.objects.filter(pk=batch.pk).update(state=ImportState.QUEUED, worker="", lost_count=lost)
        return True
    words = f"The worker {batch.worker} went away without a word, {lost} times in all, so it is not tried again."
    ImportBatch.objects.filter(pk=batch.pk).update(lost_count=lost, **end_values(batch, ImportState.FAILED, words))
    return True


def end_values(batch: ImportBatch, state: ImportState, message: str = "") -> dict[str, Any]:
    """What the row says of an import that ended. What it had begun to write stays hidden, as if it were undone."""
    hidden = state != ImportState.SUCCEEDED and batch.phase == ImportPhase.WRITE
    return {
        "state": state,
        "message": message,
        "worker": "",
        "ended_at": Now(),
        **({"undone_at": Now()} if hidden else {}),
    }
