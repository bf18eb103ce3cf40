"""What labelers are told, and the form they fill in."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q

from annotation.models import Guideline, GuidelineAcknowledgement, Membership, Project
from annotation.selectors.forms import form_current
from annotation.selectors.rules import rules_of

__all__ = ["form_current", "guideline_known", "guideline_to_acknowledge", "guidelines_current"]


def guidelines_current(project: Project) -> Guideline | None:
    return Guideline.objects.filter(project=project).order_by("-version").first()


def guideline_to_acknowledge(labeler: Membership) -> Guideline | None:
    """The guidelines in force, where this labeler has not read them yet; None where they may go on.

    The version in force when they joined is what the first page showed them, and who wrote it has read it. Labelers
    without an account are programs.
    """
    if labeler.user_id is None:
        return None
    current = next(iter(rules_of(labeler.project).guidelines), None)
    if current is None or current.created_at <= labeler.joined_at or current.created_by_id == labeler.user_id:
        return None
    read = GuidelineAcknowledgement.objects.filter(guideline=current, membership=labeler)
    return None if read.exists() else current


def guideline_known(labeler: Membership) -> Guideline | None:
    """The newest version that this labeler has read."""
    read = GuidelineAcknowledgement.objects.filter(guideline=OuterRef("pk"), membership=labeler)
    known = Q(Exists(read)) | Q(created_at__lte=labeler.joined_at)
    return Guideline.objects.filter(known, project=labeler.project_id).order_by("-version").first()
