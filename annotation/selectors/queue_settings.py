"""How a project's queue is steered, as it stands."""

from __future__ import annotations

from annotation.models import KindSettings, Project, TaskKind


def kind_settings(project: Project) -> dict[str, KindSettings]:
    """The settings of every kind of task; for a kind without a row the defaults, unsaved."""
    found = {row.kind: row for row in KindSettings.objects.filter(project=project)}
    return {str(kind): found.get(kind) or KindSettings(project=project, kind=kind) for kind in TaskKind.values}
