"""A worker's side of the lifecycle: claim, extend, hand back; and the reaper for those that went silent.

Leases go by the database's clock. A claim adds 1 to `attempt`, and everything that a worker writes later is conditional
on that number: a worker that lost its run can change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Now

from training.models import HELD, Attempt, Drain, Run, RunState, node_of
from training.services import transitions
from training.services.transitions import change


@dataclass(frozen=True)
class Fence:
    """Which attempt at which run a worker holds."""

    run_id: UUID
    attempt: int


class LeaseLost(Exception):
    """The run is no longer this attempt's: nothing of it may be written any more."""


def lease_end() -> Combinable:
    return Now() + Value(timedelta(seconds=settings.RUN_LEASE_SECONDS))


def run_claim(*, queue: str, worker: str) -> Run | None:
    """Take the best eligible run of the queue for this worker: highest priority, then first in line.

    None if there is none, or if the worker's node is drained. The UPDATE itself asks that too, so a drain that is there
    when it runs is obeyed, whatever the worker has heard.
    """
    node = node_of(worker)
    while not is_drained(node):
        with transaction.atomic():
            run_id = best_waiting(queue)
            if run_id is None:
                return None
            if change(run_id, transitions.CLAIM, why=worker, only_if=not_drained(node), **claim_values(worker)):
                run = Run.objects.select_related("project", "round").get(pk=run_id)
                Attempt.objects.create(run=run, number=run.attempt, worker=worker)
                return run
    return None


def is_drained(node: str) -> bool:
    return Drain.objects.filter(node=node).exists()


def not_drained(node: str) -> Q:
    return Q(~Exists(Drain.objects.filter(node=Value(node))))


def best_waiting(queue: str) -> UUID | None:
    """The run to claim, its row locked; rows that another worker is just claiming are skipped, not waited for."""
    waiting = Run.objects.filter(queue=queue, state=RunState.QUEUED).order_by("-priority", "place", "id")
    if connection.features.has_select_for_update_skip_locked:
        waiting = waiting.select_for_update(skip_locked=True)
    return waiting.values_list("pk", flat=True).first()


def claim_values(worker: str) -> dict[str, Any]:
    return {
        "worker": worker,
        "attempt": F("attempt") + 1,
        "lease_until": lease_end(),
        "started_at": Coalesce("started_at", Now()),
        "message": "",
    }


def run_extend_lease(*, fence: Fence) -> RunState:
    """Extend the lease and say the run's state. Raises LeaseLost if another attempt has it, or it is over."""
    held = Run.objects.filter(pk=fence.run_id, attempt=fence.attempt, state__in=HELD)
    if not held.update(lease_until=lease_end()):
        raise LeaseLost
    return run_state(fence=fence)


def run_state(*, fence: Fence) -> RunState:
    """The state of a run that this attempt holds. Raises LeaseLost."""
    found = Run.objects.filter(pk=fence.run_id, attempt=fence.attempt, state__in=HELD).values_list("state", flat=True)
    state = found.first()
    if state is None:
        raise LeaseLost
    return RunState(state)


@transaction.atomic
def run_hand_back(*, fence: Fence, message: str, saved: bool = True) -> RunState:
    """Give a stopped run back: to the queue, or to where a person wanted it meanwhile. Raises LeaseLost.

    saved: whether it had the time to save; people are told of a pause that came without.
    """
    paused = transitions.PAUSED if saved else transitions.PAUSED_UNSAVED
    for transition in (transitions.HAND_BACK, paused, transitions.CANCELLED):
        if change(fence.run_id, transition, of_attempt=fence.attempt, why=message, message=message):
            end_attempt(fence, "cancelled" if transition is transitions.CANCELLED else "stopped", message)
            return transition.target
    raise LeaseLost


@transaction.atomic
def run_lost(*, fence: Fence, message: str) -> RunState:
    """An attempt died without a word: the run goes back to the queue, RUN_MAX_LOST times at most. Raises LeaseLost."""
    lost_before = Run.objects.filter(pk=fence.run_id).values_list("lost_count", flat=True).get()
    ended = give_up(fence, message, lost_before) if lost_before >= settings.RUN_MAX_LOST else None
    ended = ended or lose(fence, message)
    if ended is None:
        raise LeaseLost
    end_attempt(fence, "lost", message)
    return ended


def give_up(fence: Fence, message: str, lost_before: int) -> RunState | None:
    """Fail a running run that was lost too often."""
    if run_state(fence=fence) != RunState.RUNNING:
        return None  # someone wants it cancelled or paused, and gets that
    words = f"{message} This was the {ordinal(lost_before + 1)} time, so it is not tried again by itself."
    failed = change(fence.run_id, transitions.FAIL, of_attempt=fence.attempt, why=words, reason="lost", message=words)
    return RunState.FAILED if failed else None


def lose(fence: Fence, message: str) -> RunState | None:
    """Back to the queue; one that was being cancelled or paused is cancelled or paused, since nobody works on it."""
    values: dict[str, Any] = {"message": message, "lost_count": F("lost_count") + 1}
    for transition in (transitions.LOSE, transitions.PAUSED_UNSAVED, transitions.CANCELLED):
        if change(fence.run_id, transition, of_attempt=fence.attempt, why=message, **values):
            return transition.target
    return None


def ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def end_attempt(fence: Fence, outcome: str, message: str = "") -> None:
    Attempt.objects.filter(run_id=fence.run_id, number=fence.attempt, ended_at=None).update(
        outcome=outcome, message=message, ended_at=Now()
    )


def reap_lost_leases() -> int:
    """Take back every run whose worker let its lease run out; how many there were."""
    expired = Run.objects.filter(state__in=HELD, lease_until__lt=Now()).values_list("pk", "attempt", "worker")
    count = 0
    for run_id, attempt, worker in expired:
        if reap(Fence(run_id, attempt), worker):
            count += 1
    return count


@transaction.atomic
def reap(fence: Fence, worker: str) -> bool:
    """Take one run back if its lease is still out, under the row's lock; False if the worker came back meanwhile."""
    still_out = Run.objects.filter(pk=fence.run_id, attempt=fence.attempt, state__in=HELD, lease_until__lt=Now())
    if not still_out.update(worker=""):
        return False
    run_lost(fence=fence, message=f"The worker {worker} went away without a word.")
    return True
