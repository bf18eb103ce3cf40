"""The one door to a project's rows, for pages and API alike: whoever may not gets a 404, as if there were nothing."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.http import Http404

from annotation.models import Assignment, Membership, Project, User
from annotation.roles import CAPABILITIES, Capability, Role

NOTHING_HERE = "There is nothing at this address."

# What is done in a member's name: a superuser does it only where they are a member.
NEEDS_MEMBERSHIP = frozenset({Capability.LABEL, Capability.TOKENS})


@dataclass(frozen=True)
class ProjectAccess:
    """One person in one project. `membership` is None for a superuser who is not a member; they cannot label."""

    user: User
    project: Project
    membership: Membership | None

    def can(self, capability: Capability | str) -> bool:
        if self.user.is_superuser and (self.membership or capability not in NEEDS_MEMBERSHIP):
            return True
        return self.membership is not None and self.membership.can(capability)

    @property
    def role(self) -> str:
        return self.membership.role if self.membership else Role.ADMIN


def project_for(user: User | AnonymousUser, slug: str, capability: Capability | str) -> ProjectAccess:
    """Return the person's access to the project, or raise Http404 where they may not do this there."""
    if not isinstance(user, User) or not user.is_active:
        raise Http404(NOTHING_HERE)
    mine = Membership.objects.filter(project__slug=slug, user=user, is_active=True)
    membership = mine.select_related("project").first()
    project = membership.project if membership else Project.objects.filter(slug=slug).first()
    if project is None:
        raise Http404(NOTHING_HERE)
    if membership is not None:
        membership.user = user  # known: what asks for the account behind it needs no query
    access = ProjectAccess(user, project, membership)
    if not access.can(capability):
        raise Http404(NOTHING_HERE)
    return access


def labeler_for(user: User | AnonymousUser, slug: str) -> tuple[ProjectAccess, Membership]:
    """Return access and membership of someone who may label in this project, or raise Http404."""
    access = project_for(user, slug, Capability.LABEL)
    return access, member_of(access)


def member_of(access: ProjectAccess) -> Membership:
    """The membership behind an access, or Http404 for who is no member."""
    if access.membership is None:
        raise Http404(NOTHING_HERE)
    return access.membership


def assignment_for(
    user: User | AnonymousUser, slug: str, assignment_id: UUID, *, read: str = "task__prompt"
) -> tuple[ProjectAccess, Assignment]:
    """Return the person's own assignment, whatever became of its lease, or raise Http404.

    read: what is read along with it; the prompt is long, and not all need it.
    """
    access = project_for(user, slug, Capability.LABEL)
    return access, own_assignment(access, assignment_id, read=read)


def own_assignment(access: ProjectAccess, assignment_id: UUID, *, read: str = "task__prompt") -> Assignment:
    """The assignment of someone who may label in the project, or Http404 for what is not theirs."""
    membership = member_of(access)
    mine = Assignment.objects.filter(id=assignment_id, labeler=membership)
    assignment = mine.select_related(read).first()
    if assignment is None:
        raise Http404(NOTHING_HERE)
    assignment.labeler, assignment.task.project = membership, access.project
    return assignment


def projects_of(user: User) -> QuerySet[Project]:
    """The projects that a person may open."""
    if user.is_superuser:
        return Project.objects.all()
    return Project.objects.filter(memberships__user=user, memberships__is_active=True).distinct()


def projects_where(user: User, capability: Capability) -> set[UUID]:
    """The projects in which this person may do this."""
    if user.is_superuser and capability not in NEEDS_MEMBERSHIP:
        return set(Project.objects.values_list("pk", flat=True))
    roles = [role for role, may in CAPABILITIES.items() if capability in may]
    mine = Membership.objects.filter(user=user, is_active=True, role__in=roles)
    return set(mine.values_list("project_id", flat=True))
