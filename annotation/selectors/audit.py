"""The audit log of a project."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from annotation.models import AuditEvent, Project


def audit_events(
    project: Project, *, verb: str = "", actor: str = "", since: datetime | None = None, until: datetime | None = None
) -> QuerySet[AuditEvent]:
    """The project's events, newest first; `verb` matches its beginning (run finds run.cancel)."""
    events = AuditEvent.objects.filter(project=project).order_by("-created_at", "-id")
    if verb:
        events = events.filter(verb__startswith=verb)
    if actor:
        events = events.filter(actor_name__icontains=actor)
    if since:
        events = events.filter(created_at__gte=since)
    if until:
        events = events.filter(created_at__lt=until)
    return events
