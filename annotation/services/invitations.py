"""Invitations: a link shown once, good for some people and some days, useless once revoked."""

from __future__ import annotations

import secrets
from datetime import timedelta
from hashlib import sha256

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.models import Invitation, Membership, Project, User
from annotation.roles import Role
from annotation.services import audit
from annotation.services.accounts import user_create
from annotation.services.audit import Actor

MAX_DAYS = 90
MAX_USES = 500
INVITED_ROLES = tuple(role for role in Role.values if role != Role.ADMIN)


class InvitationError(PlackettError):
    """An invitation that can't be made, or that lets nobody in."""


@transaction.atomic
def invitation_create(
    *, project: Project, role: str, days: int, max_uses: int, by: Actor, note: str = ""
) -> tuple[Invitation, str]:
    """Return the invitation and its token, which is shown this once."""
    if role not in INVITED_ROLES:
        raise InvitationError(_("Nobody becomes an admin by a link. Bring them in, then change their role."))
    if not 1 <= days <= MAX_DAYS:
        raise InvitationError(_("An invitation holds from 1 to %(limit)s days.") % {"limit": MAX_DAYS})
    if not 1 <= max_uses <= MAX_USES:
        raise InvitationError(_("An invitation is for 1 to %(limit)s people.") % {"limit": MAX_USES})
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        project=project,
        role=role,
        note=note.strip()[:120],
        digest=digest_of(token),
        max_uses=max_uses,
        created_by=audit.account_of(by),
        expires_at=timezone.now() + timedelta(days=days),
    )
    audit.record(
        project=project, by=by, verb="invitation.create", target=invitation, role=role, max_uses=max_uses, days=days
    )
    return invitation, token


@transaction.atomic
def invitation_revoke(*, invitation: Invitation, by: Actor) -> None:
    """Make the link useless, at once and for good; who came in by it stays."""
    if Invitation.objects.filter(pk=invitation.pk, revoked_at__isnull=True).update(revoked_at=Now()):
        audit.record(project=invitation.project, by=by, verb="invitation.revoke", target=invitation)


def invitation_find(token: str) -> Invitation:
    """Return the invitation that a link opens, or say what is wrong with it."""
    invitation = Invitation.objects.select_related("project").filter(digest=digest_of(token)).first()
    if invitation is None:
        raise InvitationError(_("This link is not an invitation. Check that you have all of it."))
    check_open(invitation)
    return invitation


@transaction.atomic
def invitation_accept(*, token: str, user: User) -> Membership:
    """Let an account in by a link; one that is in already stays as it is and uses nothing up."""
    found = invitation_find(token)
    invitation = Invitation.objects.select_for_update(of=("self",), no_key=True).get(pk=found.pk)
    membership = Membership.objects.filter(project=found.project, user=user).first()
    if membership is not None and membership.is_active:
        return membership
    if membership is not None:
        raise InvitationError(_("You were taken out of this project. Only its admin can let you in again."))
    check_open(invitation)
    membership = Membership.objects.create(project=found.project, user=user, role=invitation.role)
    invitation.uses += 1
    invitation.save(update_fields=["uses"])
    audit.record(
        project=found.project,
        by=user,
        verb="member.join",
        target=membership,
        role=membership.role,
        invitation=str(invitation.pk),
    )
    return membership


@transaction.atomic
def invitation_accept_as_new(*, token: str, username: str, password: str, language: str = "") -> Membership:
    """Make an account for who holds the link, and let it in; without room for them no account is made."""
    invitation_find(token)
    user = user_create(username=username, password=password, language=language)
    return invitation_accept(token=token, user=user)


def check_open(invitation: Invitation) -> None:
    if invitation.revoked_at is not None:
        raise InvitationError(_("This invitation was withdrawn. Ask who sent it for a new one."))
    if invitation.uses >= invitation.max_uses:
        raise InvitationError(_("This invitation has been used up. Ask who sent it for a new one."))
    if invitation.expires_at <= timezone.now():
        raise InvitationError(_("This invitation has expired. Ask who sent it for a new one."))


def digest_of(token: str) -> str:
    return sha256(token.encode()).hexdigest()
