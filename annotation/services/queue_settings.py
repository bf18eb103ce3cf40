"""Steering a project's queue: every change is checked in words and audited."""

from __future__ import annotations

import math
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.fields import Category
from annotation.models import KindSettings, Project, QueuePolicy, TaskKind
from annotation.models.queue import MAX_DAILY, MAX_OVERLAP, MAX_TARGET, MAX_WEIGHT
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.rules import rules_changed

RANGES = {
    "overlap": (1, MAX_OVERLAP),
    "sampled_percent": (0, 100),
    "sampled_overlap": (1, MAX_OVERLAP),
    "weight": (0, MAX_WEIGHT),
    "review_after_skips": (0, MAX_OVERLAP),
    "daily_limit": (1, MAX_DAILY),
    "target_labels": (0, MAX_TARGET),
}


ONE_PROMPT = {"overlap": 1, "sampled_percent": 0, "sampled_overlap": 1}


class QueueSettingsError(PlackettError):
    """Settings of a queue that can't be."""


@transaction.atomic
def kind_settings_update(*, project: Project, kind: str, by: Actor, **changes: int | None) -> KindSettings:
    """Change how tasks of a kind are handed out. Tasks that exist keep the overlap they were made with."""
    if kind not in TaskKind.values:
        raise QueueSettingsError(_("There is no kind of task named %(kind)s.") % {"kind": kind})
    for name, value in changes.items():
        if value is not None or name != "target_labels":
            check_range(name, value)
    if kind == TaskKind.PROMPT and any(changes.get(name, usual) != usual for name, usual in ONE_PROMPT.items()):
        raise QueueSettingsError(_("A task to write a prompt yields one prompt: it takes one label."))
    row, _created = KindSettings.objects.select_for_update().get_or_create(project=project, kind=kind)
    if changed := apply(row, changes):
        rules_changed(project)
        audit.record(project=project, by=by, verb="queue.kind_settings", target=project, kind=kind, **changed)
    return row


@transaction.atomic
def queue_policy_update(*, project: Project, by: Actor, **changes: Any) -> QueuePolicy:
    """Change what comes next: `quotas`, `uncertain_first`, `review_after_skips`, `daily_limit` (None: none).

    It holds from the next task on.
    """
    if "quotas" in changes:
        changes["quotas"] = checked_quotas(changes["quotas"])
    for name in ("review_after_skips", "daily_limit"):
        if changes.get(name) is not None:
            check_range(name, changes[name])
    row, _created = QueuePolicy.objects.select_for_update().get_or_create(project=project)
    if changed := apply(row, changes):
        rules_changed(project)
        audit.record(project=project, by=by, verb="queue.policy", target=project, **changed)
    return row


def apply(row: KindSettings | QueuePolicy, changes: dict[str, Any]) -> dict[str, Any]:
    """Write what differs into the row, and return it."""
    changed = {name: value for name, value in changes.items() if getattr(row, name) != value}
    for name, value in changed.items():
        setattr(row, name, value)
    row.save(update_fields=list(changed))
    return changed


def check_range(name: str, value: int | None) -> None:
    low, high = RANGES[name]
    if value is None or not low <= value <= high:
        words = _("%(name)s is %(value)s; it must be a number from %(low)s to %(high)s.")
        raise QueueSettingsError(words % {"name": name, "value": value, "low": low, "high": high})


def checked_quotas(quotas: dict[str, float]) -> dict[str, float]:
    """Return the quotas of known categories that are above 0; all 0 or none at all means that there are no quotas."""
    for category, share in quotas.items():
        if category not in Category.values:
            words = _("There is no category %(category)s. Choose one of: %(known)s.")
            raise QueueSettingsError(words % {"category": category, "known": ", ".join(Category.values)})
        if not math.isfinite(share) or not 0 <= share <= 100:
            words = _("The quota of %(category)s is %(share)s; it must be a number from 0 to 100.")
            raise QueueSettingsError(words % {"category": category, "share": share})
    return {category: float(share) for category, share in quotas.items() if share}
