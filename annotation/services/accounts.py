"""Accounts, projects, and who belongs to a project in which role."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.fields import default_ranking_fields
from annotation.models import FormVersion, Guideline, Membership, Project, TaskKind, User
from annotation.roles import Role
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.queue import leases_give_back

DEFAULT_GUIDELINES = """\
# How to label

**Writing an answer.** Do what the person asks, as you would wish it done: helpful first, then true, then harmless.
Say it in your own words, in the language of the prompt, no longer than it needs to be.

**Rating and ranking answers.** Read the prompt and every answer to its end. Rate each answer from 1 (worst) to 7 (best)
and tick what applies to it. Then put all answers in order, the best first. Answers that are equally good may share a
place.

- Prefer the answer that does what was asked, and everything that was asked.
- An answer that makes something up is worse than one that says it does not know.
- Between two good answers, ask which one you would rather get from an assistant.

**Skipping.** If you can't tell what a prompt wants, or would rather not work on its topic, skip it and say why.
"""

PROJECT_SETTINGS = frozenset({"description", "responses_per_prompt", "is_demo"})


class AccountError(PlackettError):
    """An account, a project or a membership that can't be as asked."""


SPLIT_SETTINGS = frozenset({"split_salt", "validation_percent", "test_percent"})


@transaction.atomic
def user_create(
    *,
    username: str,
    password: str | None = None,
    email: str = "",
    language: str = "",
    is_superuser: bool = False,
    by: Actor | None = None,
) -> User:
    """Make an account. Without a password its owner signs in by a link."""
    user = User(username=username.strip(), email=email, language=language, is_superuser=is_superuser)
    if User.objects.filter(username__iexact=user.username).exists():
        raise AccountError(
            _("There is an account named %(name)s already. Choose another name.") % {"name": user.username}
        )
    try:
        if password is not None:
            validate_password(password, user)
        user.set_password(password)
        user.full_clean()
    except ValidationError as problem:
        raise AccountError(" ".join(problem.messages)) from problem
    user.save(force_insert=True)
    audit.record(project=None, by=by or user, verb="user.create", target=user, username=user.username)
    return user


@transaction.atomic
def project_create(*, name: str, by: User, slug: str | None = None, **settings: Any) -> Project:
    """Make a project with its first guidelines and form; whoever makes it is its admin.

    Beside what `project_update` takes, `validation_percent`, `test_percent` and `split_salt` may be given, here only.
    """
    project = Project(name=name.strip(), slug=slug or free_slug(name), created_by=by)
    for key in SPLIT_SETTINGS & settings.keys():
        setattr(project, key, settings.pop(key))
    apply_settings(project, settings)
    project.save(force_insert=True)
    Membership.objects.create(project=project, user=by, role=Role.ADMIN)
    Guideline.objects.create(project=project, version=1, body=DEFAULT_GUIDELINES, created_by=by)
    FormVersion.objects.create(project=project, kind=TaskKind.RANKING, version=1, fields=default_ranking_fields())
    audit.record(project=project, by=by, verb="project.create", target=project, name=project.name)
    return project


@transaction.atomic
def project_update(*, project: Project, by: Actor, **settings: Any) -> Project:
    """Change a project's settings. How its queue is steered: `services.queue_settings`."""
    name = settings.pop("name", project.name)
    project.name = str(name).strip()
    apply_settings(project, settings)
    project.save()
    audit.record(project=project, by=by, verb="project.update", target=project, name=project.name, **settings)
    return project


def apply_settings(project: Project, settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if key not in PROJECT_SETTINGS:
            raise TypeError(f"a project has no setting {key}")
        setattr(project, key, value)
    try:
        project.full_clean(exclude=["created_by"])  # null once the account that made it has gone
    except ValidationError as problem:
        raise AccountError(" ".join(problem.messages)) from problem


def free_slug(name: str) -> str:
    """Return an address for a project of this name that no other has; random where the name has no Latin letters."""
    stem = slugify(name)[:50].strip("-") or f"project-{secrets.token_hex(3)}"
    taken = set(Project.objects.filter(slug__startswith=stem).values_list("slug", flat=True))
    if stem not in taken:
        return stem
    return next(slug for number in range(2, len(taken) + 3) if (slug := f"{stem}-{number}") not in taken)


@transaction.atomic
def member_add(*, project: Project, user: User, role: str, by: Actor) -> Membership:
    """Let an account into the project; one who was removed comes back with all that they made."""
    check_role(role)
    membership = Membership.objects.filter(project=project, user=user).first()
    if membership is not None and membership.is_active:
        raise AccountError(_("%(name)s is a member already.") % {"name": user.username})
    if membership is None:
        membership = Membership.objects.create(project=project, user=user, role=role)
    else:
        membership.role, membership.is_active, membership.removed_at = role, True, None
        membership.save(update_fields=["role", "is_active", "removed_at"])
    audit.record(project=project, by=by, verb="member.add", target=membership, username=user.username, role=role)
    return membership


@transaction.atomic
def member_set_role(*, membership: Membership, role: str, by: Actor) -> Membership:
    check_role(role)
    if role != Role.ADMIN:
        keep_an_admin(membership)
    before, membership.role = membership.role, role
    membership.save(update_fields=["role"])
    audit.record(
        project=membership.project, by=by, verb="member.set_role", target=membership, before=before, after=role
    )
    return membership


@transaction.atomic
def member_set_active(*, membership: Membership, active: bool, by: Actor) -> Membership:
    """Pause a member, or let one who was paused or removed in again. Drafts are kept; tasks in hand go to others."""
    if not active:
        keep_an_admin(membership)
        leases_give_back(labeler=membership)
    membership.is_active = active
    membership.removed_at = None
    membership.save(update_fields=["is_active", "removed_at"])
    verb = "member.restore" if active else "member.pause"
    audit.record(project=membership.project, by=by, verb=verb, target=membership)
    return membership


@transaction.atomic
def member_remove(*, membership: Membership, by: Actor) -> Membership:
    """Take a member out for good. What they made stays; tasks in hand go to others, their API tokens are revoked."""
    keep_an_admin(membership)
    leases_give_back(labeler=membership)
    membership.is_active, membership.removed_at = False, timezone.now()
    membership.save(update_fields=["is_active", "removed_at"])
    membership.api_tokens.filter(revoked_at__isnull=True).update(revoked_at=Now())
    audit.record(project=membership.project, by=by, verb="member.remove", target=membership)
    return membership


def imported_labeler(*, project: Project, name: str) -> Membership:
    """Return the member that stands for a labeler of an imported dataset: the same name, the same member."""
    return labeler_without_account(project, name, is_simulated=False)


def simulated_labeler(*, project: Project, number: int) -> Membership:
    """Return the project's simulated labeler of this number; its labels are marked so."""
    return labeler_without_account(project, f"simulated labeler {number}", is_simulated=True)


def labeler_without_account(project: Project, name: str, *, is_simulated: bool) -> Membership:
    name = name.strip()
    if not name or len(name) > 200:
        raise AccountError(_("A labeler's name has 1 to 200 characters."))
    try:
        with transaction.atomic():
            membership, _created = Membership.objects.get_or_create(
                project=project, imported_name=name, defaults={"role": Role.LABELER, "is_simulated": is_simulated}
            )
    except IntegrityError:  # made by another process just now
        membership = Membership.objects.get(project=project, imported_name=name)
    if membership.is_simulated != is_simulated:
        raise AccountError(_("The labeler's name %(name)s is taken. Choose another name.") % {"name": name})
    return membership


def check_role(role: str) -> None:
    if role not in Role.values:
        raise AccountError(
            _("There is no role %(role)s. Choose one of: %(roles)s.") % {"role": role, "roles": ", ".join(Role.values)}
        )


def keep_an_admin(membership: Membership) -> None:
    """Refuse to take the last admin away from a project; whoever may be the last waits for the others' changes."""
    if membership.role != Role.ADMIN or not membership.is_active:
        return
    admins = Membership.objects.select_for_update().filter(
        project=membership.project, role=Role.ADMIN, is_active=True, user__is_active=True
    )
    if not [admin for admin in admins if admin.pk != membership.pk]:
        raise AccountError(_("This is the project's only admin. Make someone else an admin first."))
