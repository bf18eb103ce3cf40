"""What is done in a worker of the default queue: asking for it, claiming it, telling how far it is, and ending it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery import current_app
from django.db import connection, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from kombu.exceptions import KombuError

from annotation.services import audit
from annotation.services.audit import Actor, account_of
from training import files
from training.errors import JobError
from training.models import Job, JobKind, JobState, LeakCheck, LeakState, Snapshot
from training.services.removals import remove_from_store

LEASE = timedelta(seconds=60)
MOST_ATTEMPTS = 4
KEPT = timedelta(days=7)
"""How long an export's file stays."""
WORK = "training.tasks.work_jobs"
EXPIRES_SECONDS = 60

logger = logging.getLogger(__name__)


class JobLost(Exception):
    """The job is no longer this attempt's, or was cancelled: nothing of it may be written any more."""


@transaction.atomic
def job_create(*, snapshot: Snapshot, kind: JobKind, asked: Mapping[str, Any], by: Actor | None) -> Job:
    """Ask for a job. The same one that waits, runs or is finished already is that one."""
    if snapshot.erased_at:
        raise JobError(_("%(snapshot)s was erased: its files are gone.") % {"snapshot": snapshot.name})
    Snapshot.objects.select_for_update().get(pk=snapshot.pk)  # two clicks make one job
    same = Job.objects.filter(snapshot=snapshot, kind=kind, asked=dict(asked))
    known = same.filter(~Q(state__in=[JobState.FAILED, JobState.CANCELLED])).first()
    if known:
        return known
    job = Job.objects.create(
        project=snapshot.project,
        snapshot=snapshot,
        kind=kind,
        asked=dict(asked),
        total=sum(snapshot.counts.values()),
        created_by=account_of(by),
    )
    if kind == JobKind.EXPORT:
        audit.record(project=snapshot.project, by=by, verb="snapshot.export", target=snapshot, **dict(asked))
    transaction.on_commit(wake_jobs)
    return job


def wake_jobs() -> None:
    """Send the message now. Redis may be away: then the sweep does it later."""
    try:
        current_app.send_task(WORK, queue="default", expires=EXPIRES_SECONDS, retry=False, ignore_result=True)
    except (KombuError, OSError) as error:
        logger.warning("no worker was woken for a job (%s); the sweep will", type(error).__name__)


def claimable() -> Q:
    return Q(state=JobState.QUEUED) | Q(state=JobState.RUNNING, lease_until__lt=Now())


def job_claim() -> Job | None:
    """Take the oldest job that waits, or whose worker went silent. None if there is none."""
    while True:
        with transaction.atomic():
            waiting = Job.objects.filter(claimable()).order_by("created_at", "id")
            if connection.features.has_select_for_update_skip_locked:
                waiting = waiting.select_for_update(skip_locked=True)
            job_id = waiting.values_list("pk", flat=True).first()
            if job_id is None:
                return None
            claimed = Job.objects.filter(claimable(), pk=job_id).update(
                state=JobState.RUNNING, attempt=F("attempt") + 1, lease_until=Now() + Value(LEASE), done=0
            )
        if not claimed:
            continue
        job = Job.objects.select_related("project", "snapshot__artifact", "created_by").get(pk=job_id)
        if job.attempt <= MOST_ATTEMPTS:
            return job
        job_fail(job, _("Its worker was lost %(times)s times. Start it again.") % {"times": MOST_ATTEMPTS})


def held(job: Job) -> Any:
    return Job.objects.filter(pk=job.pk, state=JobState.RUNNING, attempt=job.attempt)


def job_tell(job: Job, done: int, total: int) -> None:
    """Say how far it is, and keep the lease. Raises JobLost for a job that was cancelled or taken over."""
    if not held(job).update(done=done, total=total, lease_until=Now() + Value(LEASE)):
        raise JobLost


def job_keep(job: Job) -> None:
    """Keep the lease. Raises JobLost."""
    if not held(job).update(lease_until=Now() + Value(LEASE)):
        raise JobLost


def job_succeed(job: Job, result: Mapping[str, Any]) -> None:
    expires = timezone.now() + KEPT if job.kind == JobKind.EXPORT else None
    end(job, state=JobState.SUCCEEDED, result=dict(result), done=F("total"), expires_at=expires)


def job_fail(job: Job, message: str) -> None:
    end(job, state=JobState.FAILED, message=message[:2000])


def end(job: Job, **values: Any) -> None:
    if not held(job).update(lease_until=None, ended_at=timezone.now(), **values):
        raise JobLost


@transaction.atomic
def job_cancel(*, job: Job, by: Actor | None) -> Job:
    """Stop it, or remove the file that it made. Cancelling twice is cancelling once."""
    changed = (
        Job.objects.filter(pk=job.pk)
        .exclude(state=JobState.CANCELLED)
        .update(state=JobState.CANCELLED, lease_until=None, ended_at=timezone.now(), result={}, expires_at=None)
    )
    if changed:
        audit.record(project=job.project, by=by, verb="job.cancel", target=job, kind=job.kind)
        remove_from_store([files.job_folder(job.pk)])
        transaction.on_commit(lambda: files.remove(files.job_folder(job.pk)))
    return Job.objects.get(pk=job.pk)


def jobs_sweep() -> bool:
    """Queue what nobody asked for yet, remove what has expired, and say whether a worker has something to do."""
    for check in LeakCheck.objects.filter(state=LeakState.WAITING, snapshot__erased_at=None).select_related("snapshot"):
        job_create(snapshot=check.snapshot, kind=JobKind.LEAKS, asked={}, by=None)
    for job in Job.objects.filter(state=JobState.SUCCEEDED, expires_at__lt=Now()):
        remove_from_store([files.job_folder(job.pk)])
        files.remove(files.job_folder(job.pk))
        Job.objects.filter(pk=job.pk).update(state=JobState.CANCELLED, result={}, expires_at=None)
    return Job.objects.filter(claimable()).exists()
