"""How a project's queue is steered, as it stands."""

from __future__ import annotations

from uuid import UUID

from annotation.models import KindSettings, Project, QueuePolicy, TaskKind
from annotation.policy import Policy


def kind_settings(project: Project) -> dict[str, KindSettings]:
    """The settings of every kind of task; for a kind without a row the defaults, unsaved."""
    found = {row.kind: row for row in KindSettings.objects.filter(project=project)}
    return {str(kind): found.get(kind) or KindSettings(project=project, kind=kind) for kind in TaskKind.values}


def queue_policy(project: Project) -> QueuePolicy:
    """The project's policy, or the default one, unsaved."""
    return QueuePolicy.objects.filter(project=project).first() or QueuePolicy(project=project)


def read_policy(project_id: UUID) -> Policy:
    """What comes next in the project, as `annotation.policy` reads it. One query; `rules_of` keeps the answer."""
    policy = [f"queue_policy__{name}" for name in ("quotas", "uncertain_first", "review_after_skips", "daily_limit")]
    rows = Project.objects.filter(pk=project_id).values_list(
        "kind_settings__kind", "kind_settings__weight", "queue_policy", *policy
    )
    kinds, weights, ids, *policies = zip(*rows, strict=True)
    weighed = {kind: weight for kind, weight in zip(kinds, weights, strict=True) if kind is not None}
    if ids[0] is None:
        return Policy(weighed)
    return Policy(weighed, *(column[0] for column in policies))
