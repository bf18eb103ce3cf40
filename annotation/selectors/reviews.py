"""Tasks that wait for a reviewer because many labelers skipped them."""

from __future__ import annotations

from django.db.models import Prefetch, QuerySet

from annotation.models import Assignment, AssignmentStatus, Project, Task, TaskState


def tasks_in_review(project: Project) -> QuerySet[Task]:
    """The tasks, oldest first, each with what it is about and, as `skipped`, who skipped it and why."""
    skipped = Assignment.objects.filter(status=AssignmentStatus.SKIPPED).select_related("labeler").order_by("ended_at")
    return (
        Task.objects.filter(project=project, state=TaskState.REVIEW)
        .select_related("prompt", "brief")
        .prefetch_related(Prefetch("assignments", queryset=skipped, to_attr="skipped"))
        .order_by("id")
    )
