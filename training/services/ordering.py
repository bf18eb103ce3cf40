"""The order of a queue: priority first, then the place in line, which people may change.

Someone who runs a project moves its own runs among themselves: they exchange the places that they have, and no other
project waits longer for it. The owner of the installation moves any run past any other.
"""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.models import User
from annotation.services import audit
from annotation.services.audit import Actor, account_of
from training.errors import RunError
from training.models import Run, RunState
from training.selectors.workers import in_line
from training.services.runs import read, refuse_unless
from training.services.wake import wake_after_commit

MOVES = ("up", "down", "top", "bottom")
LOWEST, HIGHEST = -1000, 1000


@transaction.atomic
def run_move(*, run: Run, to: str, by: Actor) -> Run:
    """Move a waiting run up, down, to the top or the bottom. Raises RunError."""
    if to not in MOVES:
        raise RunError(_("A run moves up, down, top or bottom."))
    line = movable(run, by)
    place = next((number for number, other in enumerate(line) if other.pk == run.pk), None)
    if place is None:
        return refuse_unless(read(run))
    target = {"up": max(0, place - 1), "down": min(len(line) - 1, place + 1), "top": 0, "bottom": len(line) - 1}[to]
    if target == place:
        return read(run)
    slots = [(other.priority, other.place) for other in line]
    line.insert(target, line.pop(place))
    for other, (priority, where) in zip(line, slots, strict=True):
        if (other.priority, other.place) != (priority, where):
            Run.objects.filter(pk=other.pk).update(priority=priority, place=where)
    audit.record(project=run.project, by=by, verb="run.move", target=run, to=to, queue=run.queue)
    return read(run)


def movable(run: Run, by: Actor) -> list[Run]:
    """The waiting runs that this person may put in order, in their order, locked."""
    account = account_of(by)
    rows = in_line(run.queue).select_related(None).select_for_update()
    if not (isinstance(account, User) and account.is_superuser):
        rows = rows.filter(project=run.project_id)
    return list(rows)


@transaction.atomic
def run_set_priority(*, run: Run, priority: int, by: Actor) -> Run:
    """Higher comes first, over all projects. Raises RunError."""
    if not LOWEST <= priority <= HIGHEST:
        raise RunError(_("A priority is a whole number from %(low)s to %(high)s.") % {"low": LOWEST, "high": HIGHEST})
    if not waiting(run).update(priority=priority):
        return refuse_unless(read(run))
    audit.record(project=run.project, by=by, verb="run.priority", target=run, before=run.priority, after=priority)
    return read(run)


@transaction.atomic
def run_to_queue(*, run: Run, queue: str, by: Actor) -> Run:
    """Let a waiting run wait in another queue, such as gpu4. Raises RunError."""
    if not queue or len(queue) > 16 or not queue.isascii() or not queue.replace("-", "").isalnum():
        raise RunError(_("A queue's name has letters, digits and hyphens, 16 at most, such as gpu or gpu4."))
    if not waiting(run).update(queue=queue):
        return refuse_unless(read(run))
    audit.record(project=run.project, by=by, verb="run.queue", target=run, before=run.queue, after=queue)
    wake_after_commit(queue)
    return read(run)


def waiting(run: Run):  # type: ignore[no-untyped-def]
    return Run.objects.filter(pk=run.pk, state=RunState.QUEUED)
