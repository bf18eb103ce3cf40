"""How a run changes state: each change has a name, the states it may start from, and one conditional UPDATE.

`training.models.STORIES` says what is allowed; a test compares it with this list, and the database refuses the rest
(`training.guard`). Nothing else writes `Run.state`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, Value
from django.db.models.functions import Now

from annotation.services import audit
from annotation.services.audit import Actor
from training.models import ENDED, HELD, NoticeKind, Run, RunState
from training.services.notices import notice_of_change


@dataclass(frozen=True, kw_only=True)
class Transition:
    verb: str
    """Its name in the audit log."""
    sources: frozenset[RunState]
    target: RunState
    notice: NoticeKind | None = None
    """What people are told of it."""


S = RunState
CLAIM = Transition(verb="run.claim", sources=frozenset({S.QUEUED}), target=S.RUNNING)
HAND_BACK = Transition(verb="run.hand_back", sources=frozenset({S.RUNNING}), target=S.QUEUED)
LOSE = Transition(verb="run.lose", sources=frozenset({S.RUNNING}), target=S.QUEUED)
SUCCEED = Transition(verb="run.succeed", sources=HELD, target=S.SUCCEEDED, notice=NoticeKind.SUCCEEDED)
FAIL = Transition(verb="run.fail", sources=HELD, target=S.FAILED, notice=NoticeKind.FAILED)
ASK_TO_CANCEL = Transition(verb="run.cancel", sources=frozenset({S.RUNNING, S.PAUSING}), target=S.CANCELLING)
CANCEL_WAITING = Transition(
    verb="run.cancel", sources=frozenset({S.QUEUED, S.PAUSED}), target=S.CANCELLED, notice=NoticeKind.CANCELLED
)
CANCELLED = Transition(
    verb="run.cancelled", sources=frozenset({S.CANCELLING}), target=S.CANCELLED, notice=NoticeKind.CANCELLED
)
ASK_TO_PAUSE = Transition(verb="run.pause", sources=frozenset({S.RUNNING}), target=S.PAUSING)
PAUSE_WAITING = Transition(verb="run.pause", sources=frozenset({S.QUEUED}), target=S.PAUSED)
PAUSED = Transition(verb="run.paused", sources=frozenset({S.PAUSING}), target=S.PAUSED)
# Whoever asked for the pause was told that it saves: what was done since the last checkpoint is lost instead.
PAUSED_UNSAVED = Transition(
    verb="run.paused", sources=frozenset({S.PAUSING}), target=S.PAUSED, notice=NoticeKind.PAUSED
)
RESUME = Transition(verb="run.resume", sources=frozenset({S.PAUSED}), target=S.QUEUED)
RETRY = Transition(verb="run.retry", sources=frozenset({S.FAILED}), target=S.QUEUED)

ALL = (
    CLAIM,
    HAND_BACK,
    LOSE,
    SUCCEED,
    FAIL,
    ASK_TO_CANCEL,
    CANCEL_WAITING,
    CANCELLED,
    ASK_TO_PAUSE,
    PAUSE_WAITING,
    PAUSED,
    PAUSED_UNSAVED,
    RESUME,
    RETRY,
)


def change(
    run_id: UUID,
    transition: Transition,
    *,
    of_attempt: int | None = None,
    by: Actor | None = None,
    why: str = "",
    only_if: Q | None = None,
    **values: Any,
) -> bool:
    """Make the change if the run is in one of its states (and at this attempt); False if it is not.

    `only_if` is a condition more, in the same UPDATE.

    The caller's transaction holds the row from here on, so what it writes next lands with the change or not at all.
    """
    rows = Run.objects.filter(pk=run_id, state__in=transition.sources)
    if of_attempt is not None:
        rows = rows.filter(attempt=of_attempt)
    if only_if is not None:
        rows = rows.filter(only_if)
    if transition.target == RunState.QUEUED:
        values |= {"queued_at": Now()}
    if transition.target not in HELD:
        values |= {"lease_until": None, "phase": ""}
    if transition.target in ENDED:
        values |= {"ended_at": Now()}
    if not rows.update(state=Value(transition.target.value), **values):
        return False
    run = Run.objects.select_related("project").get(pk=run_id)
    detail = {"attempt": run.attempt} | ({"why": why} if why else {})
    audit.record(project=run.project, by=by, verb=transition.verb, target=run, **detail)
    if transition.notice:
        notice_of_change(run=run, kind=transition.notice, why=why)
    return True
