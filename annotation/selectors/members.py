"""Who is in a project, and which projects a person is in."""

from __future__ import annotations

from django.db.models import Count, Max, Q, QuerySet

from annotation.models import AssignmentStatus, Membership, Project, User


def projects_of(user: User) -> QuerySet[Project]:
    """The projects that a person may open."""
    if user.is_superuser:
        return Project.objects.all()
    return Project.objects.filter(memberships__user=user, memberships__is_active=True).distinct()


def project_of(user: User, slug: str) -> Project | None:
    return projects_of(user).filter(slug=slug).first()


def membership_of(user: User, project: Project) -> Membership | None:
    active = Membership.objects.filter(user=user, project=project, is_active=True)
    return active.select_related("project", "user").first()


def members(project: Project) -> QuerySet[Membership]:
    """Everyone who has worked in the project: people first, then the labelers of imports and the simulated ones.

    Each has `label_count`, the tasks labeled, and `latest_label_at`.
    """
    labeled = Q(assignments__status=AssignmentStatus.SUBMITTED)
    return (
        Membership.objects.filter(project=project)
        .select_related("user")
        .annotate(
            label_count=Count("assignments", filter=labeled),
            latest_label_at=Max("assignments__ended_at", filter=labeled),
        )
        .order_by("-is_active", "imported_name", "joined_at", "id")
    )
