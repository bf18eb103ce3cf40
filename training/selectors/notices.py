"""Reading notices: only those of projects whose runs one may read."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from annotation.models import Membership, User
from training.models import Notice, NoticeKind, NoticeRead
from training.models.notices import READERS

SHOWN_DAYS = 60
MOST = 99


def notices_for(user: User) -> QuerySet[Notice]:
    """Newest first, with `is_read`."""
    rows = Notice.objects.filter(created_at__gte=timezone.now() - timedelta(days=SHOWN_DAYS))
    rows = rows.exclude(kind=NoticeKind.TEST).annotate(is_read=Exists(reads_by(user)))
    if user.is_superuser:
        return rows
    mine = Membership.objects.filter(user=user, is_active=True, role__in=READERS, project=OuterRef("project"))
    return rows.filter(Exists(mine))


def reads_by(user: User) -> QuerySet[NoticeRead]:
    return NoticeRead.objects.filter(notice=OuterRef("pk"), user=user)


def unread_for(user: User) -> QuerySet[Notice]:
    return notices_for(user).filter(~Exists(reads_by(user)))


def unread_count(user: User) -> int:
    """How many are unread, `MOST` + 1 at most. One query."""
    return unread_for(user).order_by()[: MOST + 1].count()
