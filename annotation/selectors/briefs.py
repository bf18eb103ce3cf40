"""Which prompts a lead asked labelers to write, and how far they are."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet

from annotation.models import Project, PromptBrief, TaskState

BRIEFS_SHOWN = 100


def briefs_of(project: Project) -> QuerySet[PromptBrief]:
    """The latest briefs, newest first, each with `wanted`, `written` and `open_now`, in one query."""
    counts = {
        "wanted": Count("tasks"),
        "written": Count("tasks", filter=Q(tasks__state=TaskState.COMPLETE)),
        "open_now": Count("tasks", filter=Q(tasks__state=TaskState.OPEN)),
    }
    return project.prompt_briefs.annotate(**counts).order_by("-created_at", "-id")[:BRIEFS_SHOWN]
