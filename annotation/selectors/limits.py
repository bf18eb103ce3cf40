"""How much a labeler may still do today."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Count, Q
from django.utils import timezone

from annotation.models import AssignmentStatus, Membership, Project
from annotation.roles import Capability
from annotation.selectors.rules import rules_of


def midnight() -> datetime:
    """When the day began, by the server's time zone."""
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)


def done_today(labeler: Membership) -> int:
    """How many tasks the labeler submitted since midnight."""
    return labeler.assignments.filter(status=AssignmentStatus.SUBMITTED, ended_at__gte=midnight()).count()


def daily_limit_of(labeler: Membership) -> int | None:
    """The labeler's own limit, else the project's; None where there is none."""
    return labeler.daily_limit or rules_of(labeler.project).policy.daily_limit


def left_today(labeler: Membership) -> int | None:
    """How many tasks the labeler may still take today; None: any number."""
    limit = daily_limit_of(labeler)
    return None if limit is None else max(0, limit - done_today(labeler))


def labelers_today(project: Project) -> Iterator[tuple[Membership, int]]:
    """Those who may be given tasks, with the number that they submitted today. One query."""
    today = Q(assignments__status=AssignmentStatus.SUBMITTED, assignments__ended_at__gte=midnight())
    members = Membership.objects.filter(project=project, is_active=True, user__isnull=False).select_related("user")
    for member in members.annotate(done=Count("assignments", filter=today)).order_by("joined_at", "id"):
        if member.can(Capability.LABEL):
            yield member, member.done
