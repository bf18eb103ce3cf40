"""Saying that what a project's labelers work under has changed."""

from __future__ import annotations

from annotation.ids import uuid7
from annotation.models import Project


def rules_changed(project: Project) -> None:
    """Give the project a new `rules_id`, in the transaction that publishes a form, a guideline or a queue's setting.

    An id, not a number that counts: a change that is rolled back and the next one must not be taken for each other.
    """
    project.rules_id = uuid7()
    Project.objects.filter(pk=project.pk).update(rules_id=project.rules_id)
