"""The audit log's only door: every service that writes something that matters says so here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annotation.models import AuditEvent, Membership, Project, User

if TYPE_CHECKING:
    from django.db.models import Model

Actor = User | Membership
"""Who acts: an account, or a member (the only name that labelers without an account have)."""


def record(*, project: Project | None, by: Actor | None, verb: str, target: Model, **detail: Any) -> AuditEvent:
    """Write one line of the audit log. `by` is None for Plackett itself."""
    return AuditEvent.objects.create(
        project=project,
        actor=account_of(by),
        actor_name=name_of(by),
        verb=verb,
        target_type=target._meta.model_name or "",
        target_id=str(target.pk),
        detail=detail,
    )


def account_of(actor: Actor | None) -> User | None:
    return actor.user if isinstance(actor, Membership) else actor


def name_of(actor: Actor | None) -> str:
    if actor is None:
        return "system"
    user = account_of(actor)
    if user is not None:
        return user.username
    assert isinstance(actor, Membership)
    return actor.imported_name[:150] or actor.pseudonym
