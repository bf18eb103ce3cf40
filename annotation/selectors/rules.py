"""What a project's labelers work under: the queue's policy, the forms and the guidelines, kept in memory.

Each task that is given and each label that is submitted asks for them, and they change once a week. Whatever publishes
one gives the project a new `rules_id` in the same transaction (`services.rules`). What is kept is kept under that id,
which comes with the project's own row: so it is exact, in every process, and nothing has to be told that it changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from annotation.models import FormVersion, Guideline, Project
from annotation.policy import Policy
from annotation.selectors.queue_settings import read_policy

PROJECTS_KEPT = 256


@dataclass(frozen=True)
class Rules:
    """Shared by all who ask: nothing in it may be changed."""

    policy: Policy
    forms: tuple[FormVersion, ...]
    """All versions of all kinds, the newest first."""
    guidelines: tuple[Guideline, ...]
    """All versions, the newest first; a text is read where somebody looks at it."""


def rules_of(project: Project) -> Rules:
    """As they were when this project's row was read."""
    return rules_at(project.pk, project.rules_id)


@lru_cache(maxsize=PROJECTS_KEPT)
def rules_at(project_id: UUID, rules_id: UUID) -> Rules:
    return Rules(
        read_policy(project_id),
        tuple(FormVersion.objects.filter(project=project_id).order_by("-version")),
        tuple(Guideline.objects.filter(project=project_id).order_by("-version").defer("body")),
    )
