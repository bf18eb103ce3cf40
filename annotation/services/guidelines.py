"""Guidelines: every change is a new version, and labels keep the one they were made under."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.conversations import clean_text
from annotation.errors import PlackettError
from annotation.models import Guideline, Project
from annotation.services import audit
from annotation.services.audit import Actor


class GuidelineError(PlackettError):
    """Guidelines that can't be published."""


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
    audit.record(project=project, by=by, verb="guideline.publish", target=guideline, version=guideline.version)
    return guideline
