"""Which prompts a lead asked labelers to write, and how far they are."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet

from annotation.models import Project, PromptBrief, TaskState

BRIEFS_SHOWN = 100


def briefs_of(project: Project) -> QuerySet[PromptBrief]:
    """The latest briefs, newest first, each with `wanted`, `written` and `open_now`, in one query."""
    written = Q(tasks__writtenprompts__is_current=True, tasks__writtenprompts__counts=True)
    unfinished = Q(tasks__state__in=[TaskState.OPEN, TaskState.REVIEW])
    counts = {
        "wanted": Count("tasks", distinct=True),
        "written": Count("tasks", filter=written, distinct=True),
        "open_now": Count("tasks", filter=unfinished, distinct=True),
    }
    return project.prompt_briefs.annotate(**counts).order_by("-created_at", "-id")[:BRIEFS_SHOWN]
