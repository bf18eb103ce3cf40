"""How a project's queue is steered, as it stands."""

from __future__ import annotations

from annotation.models import KindSettings, Project, QueuePolicy, TaskKind
from annotation.policy import Policy


def kind_settings(project: Project) -> dict[str, KindSettings]:
    """The settings of every kind of task; for a kind without a row the defaults, unsaved."""
    found = {row.kind: row for row in KindSettings.objects.filter(project=project)}
    return {str(kind): found.get(kind) or KindSettings(project=project, kind=kind) for kind in TaskKind.values}


def queue_policy(project: Project) -> QueuePolicy:
    """The project's policy, or the default one, unsaved."""
    return QueuePolicy.objects.filter(project=project).first() or QueuePolicy(project=project)


def policy_of(project: Project) -> Policy:
    """What comes next in the project, as `annotation.policy` reads it. Two queries."""
    row = queue_policy(project)
    return Policy(
        weights={kind: settings.weight for kind, settings in kind_settings(project).items()},
        quotas=row.quotas,
        uncertain_first=row.uncertain_first,
        review_after_skips=row.review_after_skips,
        daily_limit=row.daily_limit,
    )
