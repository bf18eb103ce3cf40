"""What labelers are told, and the form they fill in."""

from __future__ import annotations

from annotation.fields import default_ranking_fields
from annotation.models import FormVersion, Guideline, Project, TaskKind


def guidelines_current(project: Project) -> Guideline | None:
    return Guideline.objects.filter(project=project).order_by("-version").first()


def form_current(project: Project, kind: str = TaskKind.RANKING) -> FormVersion:
    """The form in force; for a project without one, the default, unsaved."""
    found = FormVersion.objects.filter(project=project, kind=kind).order_by("-version").first()
    return found or FormVersion(project=project, kind=kind, version=0, fields=default_ranking_fields())
