"""Carrying out a claimed job: whatever happens, it ends with a result or a reason."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from annotation import store
from annotation.errors import PlackettError
from training import files
from training.models import Job, JobKind, Snapshot
from training.services.differences import compare_now
from training.services.exports import export_run
from training.services.facts import facts_for
from training.services.jobs import JobLost, job_fail, job_keep, job_succeed, job_tell
from training.services.leaks import check_run
from training.services.removals import remove_from_store

logger = logging.getLogger(__name__)
Tell = Callable[[int, int], None]
KEEP_SECONDS = 10.0


def leaks_run(job: Job, tell: Tell) -> dict[str, Any]:
    check_run(job.snapshot, tell)
    facts_for(job.snapshot)
    return {}


def difference_run(job: Job, tell: Tell) -> dict[str, Any]:
    before = Snapshot.objects.select_related("artifact").get(project=job.project, pk=job.asked["before"])
    return compare_now(before, job.snapshot)


HANDLERS: dict[str, Callable[[Job, Tell], dict[str, Any]]] = {
    JobKind.EXPORT: export_run,
    JobKind.LEAKS: leaks_run,
    JobKind.DIFFERENCE: difference_run,
}


def carry_out(job: Job) -> None:
    try:
        with store.patient(keeper_of(job), None):
            job_succeed(job, HANDLERS[job.kind](job, lambda done, total: job_tell(job, done, total)))
    except JobLost:
        logger.info("the job %s was cancelled, or another worker has it", job.pk)
        if not Job.objects.filter(pk=job.pk, state="running").exists():
            remove_from_store([files.job_folder(job.pk)])
            files.remove(files.job_folder(job.pk))
    except PlackettError as problem:
        fail(job, problem.message)
    except OSError as error:
        fail(job, _("The files can't be written or read: %(error)s.") % {"error": error.strerror or error})
    except Exception:
        logger.exception("the job %s failed", job.pk)
        fail(job, _("Something went wrong that should not have. The worker's log says more."))


def keeper_of(job: Job) -> Callable[[], None]:
    """Keeps the lease while bytes come from the object store or go there, and nothing is counted."""
    ours, kept_at = threading.current_thread(), [time.monotonic()]

    def keep() -> None:
        if time.monotonic() - kept_at[-1] < KEEP_SECONDS:
            return
        kept_at[:] = [time.monotonic()]
        try:
            job_keep(job)
        finally:
            if threading.current_thread() is not ours:  # one of an upload's
                connection.close()

    return keep


def fail(job: Job, message: str) -> None:
    try:
        job_fail(job, message)
    except JobLost:
        logger.info("the job %s failed when it was no longer this worker's", job.pk)
