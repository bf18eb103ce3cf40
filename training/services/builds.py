"""Building a snapshot while a page waits where that takes a moment, and in a worker where it takes longer.

A build writes aside and shows nothing until its last transaction, which makes the snapshot and names it in the job, and
is rolled back for a job that was cancelled or taken over. So a worker that is killed costs the time that it worked, and
the next one begins anew; one that was killed behind that transaction leaves the leak check and the counting to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from django.db import transaction
from django.db.models import Count, Value
from django.db.models.functions import Now

from annotation.models import Project
from annotation.services import audit
from annotation.services.audit import Actor, account_of
from training import files
from training.models import Job, JobKind, JobState, Snapshot, SnapshotKind
from training.selectors.snapshots import selected
from training.services.exports import Progress
from training.services.facts import facts_for
from training.services.jobs import LEASE, JobLost, held, wake_jobs
from training.services.leaks import check_run
from training.services.snapshots import (
    ROWS,
    Written,
    asked_of,
    keep,
    keep_without_leaks,
    rows_with_leaks,
    snapshot_build,
    snapshot_without_leaks,
    without_leaks_query,
    write_aside,
)

AT_ONCE = {SnapshotKind.DEMONSTRATIONS: 5_000, SnapshotKind.RANKINGS: 5_000, SnapshotKind.PROMPTS: 20_000}
"""Rows up to which a build is done while the page waits; it takes a few seconds there, the leak check with it."""
OPEN = (JobState.QUEUED, JobState.RUNNING)

Tell = Callable[[int, int], None]


def build_or_ask(
    *, project: Project, kind: str, query: Mapping[str, Any] | None = None, by: Actor | None, name: str = ""
) -> Snapshot | Job:
    """The snapshot, or the job that builds it where many rows match. Raises SnapshotError or QueryProblem."""
    asked = asked_of(project, kind, query)
    if not is_large(project, kind, asked):
        return snapshot_build(project=project, kind=kind, query=query, by=by, name=name)
    return build_ask(project=project, asked={"kind": str(kind), "query": asked, "name": name.strip()[:120]}, by=by)


def without_leaks_or_ask(*, snapshot: Snapshot, by: Actor | None) -> Snapshot | Job:
    """The same rows without the leaks, or the job that freezes them. Raises SnapshotError."""
    if sum(snapshot.counts.values()) <= AT_ONCE[SnapshotKind(snapshot.kind)]:
        return snapshot_without_leaks(snapshot=snapshot, by=by)
    without_leaks_query(snapshot)  # refuses now what has no leaks
    return build_ask(project=snapshot.project, asked={"without_leaks": str(snapshot.pk)}, by=by)


def is_large(project: Project, kind: str, asked: Mapping[str, Any]) -> bool:
    """Whether more rows match than are frozen at once; no more of them are looked at than that takes."""
    rows, _way = selected(project, kind, asked)
    most = AT_ONCE[SnapshotKind(kind)]
    return bool(rows.order_by()[: most + 1].count() > most)


@transaction.atomic
def build_ask(*, project: Project, asked: dict[str, Any], by: Actor | None) -> Job:
    """Ask for a build. The same one that waits or runs is that one; one that is over says nothing of today's rows."""
    Project.objects.select_for_update().get(pk=project.pk)  # two clicks make one job
    known = Job.objects.filter(project=project, kind=JobKind.BUILD, asked=asked, state__in=OPEN).first()
    if known:
        return known
    job = Job.objects.create(project=project, kind=JobKind.BUILD, asked=asked, created_by=account_of(by))
    audit.record(project=project, by=by, verb="snapshot.ask", target=job, **asked)
    transaction.on_commit(wake_jobs)
    return job


def builds_begin_anew(project: Project) -> None:
    """What is being frozen now may hold a row that is about to go: builds that run start again behind this."""
    Job.objects.filter(project=project, kind=JobKind.BUILD, state=JobState.RUNNING).update(
        state=JobState.QUEUED, lease_until=None, done=0
    )
    transaction.on_commit(wake_jobs)


# --- In a worker --------------------------------------------------------------------------------------------


def build_run(job: Job, tell: Tell) -> dict[str, Any]:
    """Freeze the rows, look for leaks, and count what is in it. Raises SnapshotError, and JobLost."""
    snapshot = job.snapshot or frozen(job, tell)
    check_run(snapshot, tell)
    facts_for(snapshot, tell)
    return {"snapshot": str(snapshot.pk), "name": snapshot.name, "rows": dict(snapshot.counts)}


def frozen(job: Job, tell: Tell) -> Snapshot:
    """The rows as the job asks for them, written aside and then kept."""
    if "without_leaks" in job.asked:
        source = Snapshot.objects.select_related("artifact", "project").get(
            project=job.project, pk=job.asked["without_leaks"]
        )
        query = without_leaks_query(source)
        written = write_aside(source.kind, query, counted(rows_with_leaks(source), sum(source.counts.values()), tell))
        return named(job, written, lambda: keep_without_leaks(source, written, by=job.created_by))
    kind, query = job.asked["kind"], asked_of(job.project, job.asked["kind"], job.asked["query"])
    rows = counted(ROWS[kind](job.project, query), rows_wanted(job.project, kind, query), tell)
    written = write_aside(kind, query, rows)
    return named(job, written, lambda: keep(job.project, kind, written, name=job.asked["name"], by=job.created_by))


def counted(rows: Iterable[dict[str, Any]], total: int, tell: Tell) -> Iterator[dict[str, Any]]:
    progress = Progress(tell, total)
    progress.now()
    return progress.counted(rows)


def named(job: Job, written: Written, make: Callable[[], Snapshot]) -> Snapshot:
    """Make the snapshot and name it in the job, both or neither. Raises JobLost."""
    try:
        with transaction.atomic():
            snapshot = make()
            if not held(job).update(snapshot=snapshot, lease_until=Now() + Value(LEASE)):
                raise JobLost
    finally:
        files.remove(written.folder)  # where it was not kept
    return snapshot


def rows_wanted(project: Project, kind: str, asked: Mapping[str, Any]) -> int:
    """How many rows there will be: labels, or tasks where one label stands for its task."""
    rows, _way = selected(project, kind, asked)
    if asked.get("overlap") == "majority":
        return int(rows.order_by().aggregate(tasks=Count("task", distinct=True))["tasks"])
    return int(rows.order_by().count())
