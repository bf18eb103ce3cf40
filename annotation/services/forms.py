"""Forms: every change is a new version, and labels keep the one they were made under."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.models import FormVersion, Project, TaskKind
from annotation.ranking_form import FormProblem, checked_form, differences
from annotation.selectors.forms import form_current
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.rules import rules_changed


@transaction.atomic
def form_publish(*, project: Project, fields: Mapping[str, Any], based_on: int, by: Actor) -> FormVersion:
    """Publish the next version of the ranking form; the same form again is no new version.

    `based_on` is the version that the change was made from: where another was published meanwhile, nothing is changed.

    Raises: FormProblem.
    """
    checked = checked_form(fields)
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # one publisher at a time
    current = form_current(project)
    if based_on != current.version:
        words = _("Version %(version)s was published meanwhile. Look at it, then publish again to replace it.")
        raise FormProblem(words % {"version": current.version})
    changed = differences(current.fields, checked)
    if current.version and not changed:
        return current
    form = FormVersion.objects.create(
        project=project,
        kind=TaskKind.RANKING,
        version=current.version + 1,
        fields=checked,
        created_by=audit.account_of(by),
    )
    rules_changed(project)
    audit.record(project=project, by=by, verb="form.publish", target=form, version=form.version, changed=changed)
    return form
