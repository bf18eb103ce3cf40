"""Guidelines: every change is a new version, and labels keep the one they were made under."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.conversations import clean_text
from annotation.errors import PlackettError
from annotation.models import Guideline, GuidelineAcknowledgement, Membership, Project
from annotation.selectors.guidelines import guideline_to_acknowledge, guidelines_current
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.rules import rules_changed


class GuidelineError(PlackettError):
    """Guidelines that can't be published, or that are not the ones in force."""


class GuidelinesChanged(PlackettError):
    """A labeler goes on only after reading what changed; `version` is what they have to acknowledge."""

    def __init__(self, version: int) -> None:
        self.version = version
        words = _("The guidelines have changed. Read version %(version)s and acknowledge it, then go on.")
        super().__init__(words % {"version": version})


@transaction.atomic
def guideline_publish(*, project: Project, body: str, by: Actor) -> Guideline:
    """Publish the next version; the same text again is no new version."""
    if not body.strip():
        raise GuidelineError(_("The guidelines are empty. Write what labelers should do."))
    body = clean_text(body, what=_("the guidelines"))
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # one publisher at a time
    latest = Guideline.objects.filter(project=project).order_by("-version").first()
    if latest is not None and latest.body == body:
        return latest
    guideline = Guideline.objects.create(
        project=project, version=latest.version + 1 if latest else 1, body=body, created_by=audit.account_of(by)
    )
    rules_changed(project)
    audit.record(project=project, by=by, verb="guideline.publish", target=guideline, version=guideline.version)
    return guideline


@transaction.atomic
def guideline_acknowledge(*, labeler: Membership, version: int) -> Guideline:
    """Note that the labeler has read the version in force; once, however often it is said.

    Raises: GuidelineError where another version is in force.
    """
    current = guidelines_current(labeler.project)
    if current is None or current.version != version:
        raise GuidelineError(_("These guidelines are not the ones in force any more. Read the newest version."))
    _row, created = GuidelineAcknowledgement.objects.get_or_create(membership=labeler, guideline=current)
    if created:
        audit.record(project=labeler.project, by=labeler, verb="guideline.acknowledge", target=current, version=version)
    return current


def check_acknowledged(labeler: Membership) -> None:
    """Raises: GuidelinesChanged."""
    waiting = guideline_to_acknowledge(labeler)
    if waiting is not None:
        raise GuidelinesChanged(waiting.version)
