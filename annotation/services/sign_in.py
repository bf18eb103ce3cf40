"""Links that sign a person in once. The database holds a digest, so that reading it lets nobody in."""

from __future__ import annotations

import secrets
from datetime import timedelta
from hashlib import sha256

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.models import Membership, Project, SignInLink, User
from annotation.roles import Role
from annotation.services import audit
from annotation.services.audit import Actor

LIFETIME = timedelta(hours=24)
OWNER = "owner"


class SignInError(PlackettError):
    """A link that signs nobody in."""


@transaction.atomic
def sign_in_link_create(*, user: User, by: Actor | None = None, lifetime: timedelta = LIFETIME) -> str:
    """Return the token of a new link; it is shown once and not kept."""
    token = secrets.token_urlsafe(32)
    now = timezone.now()
    link = SignInLink.objects.create(user=user, digest=digest_of(token), created_at=now, expires_at=now + lifetime)
    audit.record(project=None, by=by, verb="sign_in_link.create", target=link, username=user.username)
    return token


@transaction.atomic
def sign_in_link_use(token: str) -> User:
    """Return whom the link signs in, and use it up: of two who hold it, one gets in."""
    # Only the row's own columns: a join would make this UPDATE ... WHERE id IN (SELECT ...), and PostgreSQL does not
    # look at such a SELECT again after waiting for a concurrent use.
    unused = SignInLink.objects.filter(digest=digest_of(token), used_at__isnull=True, expires_at__gt=Now())
    link = SignInLink.objects.select_related("user").filter(digest=digest_of(token)).first()
    if link is None or not link.user.is_active or not unused.update(used_at=Now()):
        raise SignInError(_("This link was used before or is too old. Ask your admin for a new one."))
    audit.record(project=None, by=link.user, verb="sign_in_link.use", target=link)
    return link.user


def sign_in_links(project: Project | None = None) -> list[tuple[str, str]]:
    """Return (role, address) with a new link for a member of each role of the project.

    Without a project it is the demo's; where there is none, the installation's owner gets a link (and is made if
    needed).
    """
    project = project or Project.objects.filter(is_demo=True).order_by("created_at").first()
    people = one_of_each_role(project) if project else []
    if not people:
        people = [(OWNER, owner_ensure())]
    return [(role, f"/sign-in/{sign_in_link_create(user=user)}/") for role, user in people]


def one_of_each_role(project: Project) -> list[tuple[str, User]]:
    found: dict[str, User] = {}
    members = Membership.objects.filter(project=project, is_active=True, user__is_active=True).select_related("user")
    for member in members.order_by("joined_at", "id"):
        if member.user is not None:
            found.setdefault(member.role, member.user)
    return [(role, found[role]) for role in Role.values if role in found]


@transaction.atomic
def owner_ensure() -> User:
    """Return the first superuser; make one, without a password, on an installation that has none."""
    owner = User.objects.filter(is_superuser=True, is_active=True).order_by("date_joined", "id").first()
    if owner is not None:
        return owner
    name = next(
        name for number in range(1, 1000) if not User.objects.filter(username=(name := owner_name(number))).exists()
    )
    owner = User(username=name, is_superuser=True)
    owner.set_unusable_password()
    owner.save(force_insert=True)
    audit.record(project=None, by=None, verb="user.create", target=owner, username=owner.username)
    return owner


def owner_name(number: int) -> str:
    return OWNER if number == 1 else f"{OWNER}{number}"


def digest_of(token: str) -> str:
    return sha256(token.encode(errors="replace")).hexdigest()
