"""Carrying out a claimed job: whatever happens, it ends with a result or a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from training import files
from training.models import Job, JobKind, Snapshot
from training.services.builds import build_run
from training.services.differences import compare_now
from training.services.exports import export_run
from training.services.facts import facts_for
from training.services.jobs import JobLost, job_fail, job_succeed, job_tell, lease_kept, source_of
from training.services.leaks import check_run
from training.services.pushes import push_run
from training.services.removals import remove_from_store
from training.services.token_counts import tokens_run

logger = logging.getLogger(__name__)
Tell = Callable[[int, int], None]
KEEP_SECONDS = 10.0


def leaks_run(job: Job, tell: Tell) -> dict[str, Any]:
    snapshot = source_of(job)
    check_run(snapshot, tell)
    facts_for(snapshot, tell)
    return {}


def difference_run(job: Job, tell: Tell) -> dict[str, Any]:
    before = Snapshot.objects.select_related("artifact").get(project=job.project, pk=job.asked["before"])
    return compare_now(before, source_of(job))


HANDLERS: dict[str, Callable[[Job, Tell], dict[str, Any]]] = {
    JobKind.BUILD: build_run,
    JobKind.EXPORT: export_run,
    JobKind.LEAKS: leaks_run,
    JobKind.TOKENS: tokens_run,
    JobKind.PUSH: push_run,
    JobKind.DIFFERENCE: difference_run,
}


def carry_out(job: Job) -> None:
    try:
        with lease_kept(job):
            result = HANDLERS[job.kind](job, lambda done, total: job_tell(job, done, total))
        job_succeed(job, result)
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


def fail(job: Job, message: str) -> None:
    try:
        job_fail(job, message)
    except JobLost:
        logger.info("the job %s failed when it was no longer this worker's", job.pk)
