"""API tokens: shown once, kept as a digest, never wider than their owner's role."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.models import ApiToken, Membership
from annotation.roles import Capability
from annotation.services import audit
from annotation.services.audit import Actor

PREFIX = "pk_"
MAX_DAYS = 366
USE_NOTED_EVERY = timedelta(minutes=1)

Scope = ApiToken.Scope
NEEDED: dict[str, Capability] = {
    Scope.READ: Capability.READ_PROMPTS,
    Scope.EXPORT: Capability.SNAPSHOT,
    Scope.LABEL: Capability.LABEL,
    Scope.WRITE_PROMPTS: Capability.EDIT_PROMPTS,
    Scope.QUEUE: Capability.MANAGE_QUEUE,
    Scope.REVIEW: Capability.REVIEW,
    Scope.FORMS: Capability.EDIT_FORMS,
    Scope.LAUNCH: Capability.LAUNCH,
}


class TokenError(PlackettError):
    """A token that can't be made as asked."""


@transaction.atomic
def token_create(
    *, membership: Membership, name: str, scopes: Sequence[str], days: int, by: Actor
) -> tuple[ApiToken, str]:
    """Return the token's row and the secret, which is shown this once."""
    check_token(membership, name, scopes, days)
    secret = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        membership=membership,
        name=name.strip(),
        prefix=secret[:10],
        digest=digest_of(secret),
        scopes=sorted(set(scopes)),
        expires_at=timezone.now() + timedelta(days=days),
    )
    audit.record(
        project=membership.project, by=by, verb="token.create", target=token, name=token.name, scopes=token.scopes
    )
    return token, secret


@transaction.atomic
def token_revoke(*, token: ApiToken, by: Actor) -> ApiToken:
    """Make the token useless, at once and for good."""
    if ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=Now()):
        audit.record(project=token.membership.project, by=by, verb="token.revoke", target=token, name=token.name)
    token.refresh_from_db()
    return token


def token_find(secret: str) -> ApiToken | None:
    """Return the token that this secret opens, if it is valid now, and note its use (once a minute at most)."""
    token = (
        ApiToken.objects.select_related("membership__user", "membership__project")
        .filter(digest=digest_of(secret), revoked_at__isnull=True, expires_at__gt=Now(), membership__is_active=True)
        .first()
    )
    if token is None:
        return None
    unnoted = Q(used_at__isnull=True) | Q(used_at__lt=timezone.now() - USE_NOTED_EVERY)
    if token.used_at is None or token.used_at < timezone.now() - USE_NOTED_EVERY:
        ApiToken.objects.filter(unnoted, pk=token.pk).update(used_at=Now())
    return token


def scopes_for(membership: Membership) -> list[str]:
    """Return the scopes that this member may put on a token."""
    return [scope for scope in Scope.values if membership.can(NEEDED[scope])]


def check_token(membership: Membership, name: str, scopes: Sequence[str], days: int) -> None:
    if not name.strip() or len(name.strip()) > 80:
        raise TokenError(_("Give the token a name of 1 to 80 characters, to recognise it by."))
    if not scopes:
        raise TokenError(_("Choose at least one thing that the token may do."))
    too_wide = [scope for scope in scopes if scope not in scopes_for(membership)]
    if too_wide:
        raise TokenError(_("Your role does not allow: %(scopes)s. Leave it out.") % {"scopes": ", ".join(too_wide)})
    if not 1 <= days <= MAX_DAYS:
        raise TokenError(_("A token lives 1 to %(days)d days.") % {"days": MAX_DAYS})


def digest_of(secret: str) -> str:
    return sha256(secret.encode(errors="replace")).hexdigest()
