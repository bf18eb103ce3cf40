"""Tasks that many labelers skipped: a reviewer puts them back, or takes them out for good."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.models import Task, TaskState
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.queue import complete_if_done, lock_task


class ReviewError(PlackettError):
    """A task that is not up for review."""


@transaction.atomic
def task_put_back(*, task: Task, by: Actor) -> Task:
    """Hand the task out again, to those who did not skip it; its skips are counted from 0."""
    task = task_in_review(task)
    task.state, task.skips = TaskState.OPEN, 0
    task.save(update_fields=["state", "skips"])
    complete_if_done(task)
    audit.record(project=task.project, by=by, verb="task.put_back", target=task)
    return task


@transaction.atomic
def task_withdraw(*, task: Task, by: Actor) -> Task:
    """Hand the task out no more; labels that it has stay."""
    task = task_in_review(task)
    task.state = TaskState.WITHDRAWN
    task.save(update_fields=["state"])
    audit.record(project=task.project, by=by, verb="task.withdraw", target=task)
    return task


def task_in_review(task: Task) -> Task:
    """Return the task, locked, or say that someone was faster."""
    locked = lock_task(task.pk)
    if locked.state != TaskState.REVIEW:
        raise ReviewError(_("This task is not in review any more. Reload the page."))
    return locked
