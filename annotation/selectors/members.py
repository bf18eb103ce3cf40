"""Who is in a project. Which projects a person may open: `annotation.access`."""

from __future__ import annotations

from django.db.models import Count, F, Max, Q, QuerySet

from annotation.models import AssignmentStatus, Membership, Project


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
        .order_by("-is_active", F("removed_at").asc(nulls_first=True), "imported_name", "joined_at", "id")
    )
