"""Steering a project's queue: every change is checked in words and audited."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.models import KindSettings, Project, TaskKind
from annotation.models.queue import MAX_OVERLAP
from annotation.services import audit
from annotation.services.audit import Actor

RANGES = {"overlap": (1, MAX_OVERLAP), "sampled_percent": (0, 100), "sampled_overlap": (1, MAX_OVERLAP)}


class QueueSettingsError(PlackettError):
    """Settings of a queue that can't be."""


@transaction.atomic
def kind_settings_update(*, project: Project, kind: str, by: Actor, **changes: int) -> KindSettings:
    """Change how tasks of a kind are handed out. Tasks that exist keep the overlap they were made with."""
    if kind not in TaskKind.values:
        raise QueueSettingsError(_("There is no kind of task named %(kind)s.") % {"kind": kind})
    for name, value in changes.items():
        low, high = RANGES[name]
        if not low <= value <= high:
            words = _("%(name)s is %(value)s; it must be a number from %(low)s to %(high)s.")
            raise QueueSettingsError(words % {"name": name, "value": value, "low": low, "high": high})
    row, _created = KindSettings.objects.select_for_update().get_or_create(project=project, kind=kind)
    changed = {name: value for name, value in changes.items() if getattr(row, name) != value}
    if not changed:
        return row
    for name, value in changed.items():
        setattr(row, name, value)
    row.save(update_fields=list(changed))
    audit.record(project=project, by=by, verb="queue.kind_settings", target=project, kind=kind, **changed)
    return row
