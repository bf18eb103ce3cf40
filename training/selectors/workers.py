"""Reading workers: who is there, what they run, and why a queued run still waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, QuerySet, Value
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.store import StoreAway
from training.models import HELD, Attempt, Drain, Run, RunInput, RunState, Worker
from training.selectors.stored import is_kept

IDLE_SECONDS = 45  # silent for longer: not counted on


@dataclass
class WorkerThere:
    """A worker with what it has in hand."""

    worker: Worker
    drain: Drain | None
    runs: list[Run] = field(default_factory=list)
    since: dict[UUID, datetime | None] = field(default_factory=dict)
    """{run: when the attempt began}"""
    is_there: bool = True

    @property
    def free(self) -> int:
        return max(0, self.worker.slots - len(self.runs)) if self.is_there and not self.drain else 0


def workers_there(*, silent_too: bool = False) -> list[WorkerThere]:
    """The workers that were seen lately, by name; three queries and one more for when their runs began."""
    lately = Now() - Value(timedelta(seconds=IDLE_SECONDS))
    rows = list(Worker.objects.all())
    alive = set(Worker.objects.filter(seen_at__gte=lately).values_list("pk", flat=True))
    drains = {drain.node: drain for drain in Drain.objects.select_related("by")}
    held: dict[str, list[Run]] = defaultdict(list)
    for run in Run.objects.filter(state__in=HELD).exclude(worker="").select_related("project").order_by("created_at"):
        held[run.worker].append(run)
    found = [
        WorkerThere(row, drains.get(row.node), held.get(row.name, []), is_there=row.pk in alive)
        for row in rows
        if silent_too or row.pk in alive
    ]
    began = {
        (run_id, number): at
        for run_id, number, at in Attempt.objects.filter(
            run__in=[run.pk for there in found for run in there.runs], ended_at=None
        ).values_list("run_id", "number", "started_at")
    }
    for there in found:
        there.since = {run.pk: began.get((run.pk, run.attempt)) for run in there.runs}
    return found


def listening(there: Iterable[WorkerThere], queue: str) -> list[WorkerThere]:
    return [each for each in there if queue in each.worker.queue_names]


def free_slots(there: Iterable[WorkerThere], queue: str) -> int:
    return sum(each.free for each in listening(there, queue))


@dataclass(frozen=True)
class Wait:
    """Why a queued run has not begun: a code for programs, a sentence for people, and the runs that are in its way."""

    code: str
    words: str
    runs: tuple[Run, ...] = ()
    stuck: bool = False
    """Nothing that goes on by itself will end the wait."""


@dataclass(frozen=True)
class Queued:
    run: Run
    position: int
    """1 is next."""
    wait: Wait


def in_line(queue: str | None = None) -> QuerySet[Run]:
    """Waiting runs in the order in which workers take them."""
    rows = Run.objects.filter(state=RunState.QUEUED).select_related("project", "created_by")
    rows = rows if queue is None else rows.filter(queue=queue)
    return rows.order_by("queue", "-priority", "place", "id")


@dataclass
class Line:
    """One queue: how many runs wait, and the first of them."""

    queue: str
    listeners: list[WorkerThere]
    shown: list[Queued] = field(default_factory=list)
    count: int = 0


def lines(limit: int = 100) -> list[Line]:
    """Each queue that has waiting runs or a worker, its first runs in order, and why each waits. Flat in queries."""
    there = workers_there()
    names = {name for each in there for name in each.worker.queue_names if name != "default"}
    counts = dict(in_line().order_by().values_list("queue").annotate(n=Count("pk")))
    runs = [run for queue in counts for run in in_line(queue)[:limit]]
    missing = runs_without_files(runs)
    found = {
        name: Line(name, listening(there, name), count=counts.get(name, 0)) for name in sorted(names | set(counts))
    }
    for run in runs:
        line = found[run.queue]
        position = len(line.shown) + 1
        line.shown.append(Queued(run, position, why_waiting(run, position, there, missing)))
    return list(found.values())


def waits_of(runs: Sequence[Run]) -> dict[UUID, Queued]:
    """Place and reason for those of these runs that are queued."""
    waiting = [run for run in runs if run.state == RunState.QUEUED]
    if not waiting:
        return {}
    there, missing = workers_there(), runs_without_files(waiting)
    found = {}
    for queue in {run.queue for run in waiting}:
        order = list(in_line(queue).values_list("pk", flat=True))
        numbers = {pk: number for number, pk in enumerate(order, start=1)}
        for run in waiting:
            if run.queue == queue and run.pk in numbers:
                number = numbers[run.pk]
                found[run.pk] = Queued(run, number, why_waiting(run, number, there, missing))
    return found


def why_waiting(run: Run, position: int, there: Sequence[WorkerThere], missing: Missing) -> Wait:
    listeners = listening(there, run.queue)
    names = {"queue": run.queue}
    if not listeners:
        words = _(
            "No worker listens on the queue “%(queue)s”. Start one on a host that has the device for it"
            " (celery -A config worker -Q %(queue)s), or move the run to another queue."
        )
        return Wait("no_worker", words % names, stuck=True)
    if missing.away:
        words = _("It waits for the file store, which does not answer (%(reason)s).") % {"reason": missing.away}
        return Wait("no_store", words, stuck=True)
    if run.pk in missing.runs:
        words = _("It waits for data: a file that it reads is not in the file store here. Is the folder mounted?")
        return Wait("no_data", words, stuck=True)
    open_to_runs = [each for each in listeners if not each.drain]
    if not open_to_runs:
        words = _("Every worker of the queue “%(queue)s” is drained, so none takes anything new. Undo a drain.")
        return Wait("drained", words % names, stuck=True)
    free = sum(each.free for each in open_to_runs)
    if position <= free:
        return Wait("starting", _("A worker is free and takes it within seconds."))
    busy = tuple(each_run for each in open_to_runs for each_run in each.runs)
    ahead = position - 1
    words = (
        ngettext(
            "The worker of the queue “%(queue)s” is busy.",
            "All workers of the queue “%(queue)s” are busy.",
            len(open_to_runs),
        )
        % names
    )
    if ahead:
        words += " " + ngettext("%(n)s run comes before it.", "%(n)s runs come before it.", ahead) % {"n": ahead}
    return Wait("busy", words, busy)


@dataclass(frozen=True)
class Missing:
    """What is wrong with the files that runs wait for."""

    runs: frozenset[UUID] = frozenset()
    """Those whose inputs are not in the file store as this process sees it."""
    away: str = ""
    """Why the file store can't be asked."""


def runs_without_files(runs: Sequence[Run]) -> Missing:
    inputs = RunInput.objects.filter(run__in=runs).select_related("snapshot__artifact", "model__artifact")
    wanted: dict[str, set[UUID]] = defaultdict(set)
    for item in inputs:
        source = item.model or item.snapshot
        assert source is not None
        wanted[source.artifact.storage_key].add(item.run_id)
    try:
        gone = [key for key in wanted if not is_kept(key)]
    except StoreAway as error:
        return Missing(away=error.reason)
    return Missing(frozenset(run_id for key in gone for run_id in wanted[key]))
