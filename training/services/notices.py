"""Notices: written with the change that they tell of, read by people, carried out of the house by `delivery`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Value
from django.db.models.functions import Now

from annotation.models import Membership, Project, User
from annotation.services import audit
from training.models import Delivery, Notice, NoticeChoice, NoticeKind, NoticeRead, Run, RunState, Webhook
from training.models.notices import ENDS, NEEDS_A_PERSON, READERS
from training.selectors.workers import waits_of


def notice_of_change(*, run: Run, kind: NoticeKind, why: str = "") -> None:
    """Tell of a run's change of state, in the transaction that changes it."""
    detail = {"run": run.name, "stage": run.stage, "reason": run.reason, "why": (run.message or why)[:500]}
    notice_add(project=run.project, run=run, kind=kind, key=f"run:{run.pk}:{kind}:{run.attempt}", detail=detail)


def notice_of_trouble(*, run_id: UUID, attempt: int, problem: str, words: str) -> None:
    """Tell of what a run goes on in spite of and someone should look at; once an attempt for each problem."""
    run = Run.objects.select_related("project").get(pk=run_id)
    detail = {"run": run.name, "stage": run.stage, "reason": problem, "why": words[:500]}
    key = f"run:{run.pk}:{NoticeKind.TROUBLE}:{attempt}:{problem}"
    notice_add(project=run.project, run=run, kind=NoticeKind.TROUBLE, key=key, detail=detail)


@transaction.atomic
def notice_add(
    *, project: Project, kind: NoticeKind, key: str, detail: dict[str, Any], run: Run | None = None
) -> Notice | None:
    """Write a notice with a delivery for each receiver; None if this was told before."""
    notice, made = Notice.objects.get_or_create(
        key=key, defaults={"project": project, "run": run, "kind": kind, "detail": detail}
    )
    if not made:
        return None
    rows = [Delivery(notice=notice, webhook=webhook) for webhook in webhooks_for(project, kind)]
    rows += [Delivery(notice=notice, user=user) for user in mailboxes_for(project, kind, run)]
    Delivery.objects.bulk_create(rows)
    return notice


def webhooks_for(project: Project, kind: NoticeKind) -> list[Webhook]:
    return [hook for hook in Webhook.objects.filter(project=project, is_enabled=True) if kind in hook.kinds]


def mailboxes_for(project: Project, kind: NoticeKind, run: Run | None) -> list[User]:
    """Members who may read runs, have an address and chose to be written to; nobody where no mail goes out."""
    if not settings.EMAIL_HOST:
        return []
    wants = Q(ends=True) if kind in ENDS else Q(needs_a_person=True) if kind in NEEDS_A_PERSON else Q(pk=None)
    choices = NoticeChoice.objects.filter(wants, user__is_active=True).exclude(user__email="").select_related("user")
    members = set(
        Membership.objects.filter(project=project, is_active=True, role__in=READERS).values_list("user_id", flat=True)
    )
    return [
        choice.user
        for choice in choices
        if (choice.user_id in members or choice.user.is_superuser)
        and not (choice.only_mine and run and run.created_by_id != choice.user_id)
    ]


def notice_stuck_runs() -> int:
    """Tell of queued runs that nothing will ever start as things are, once for each wait; how many there were."""
    since = Now() - Value(timedelta(minutes=settings.RUN_STUCK_MINUTES))
    long = Run.objects.filter(state=RunState.QUEUED, queued_at__lt=since).select_related("project")
    known = Notice.objects.filter(key__in=[stuck_key(run) for run in long])
    told_of = set(known.values_list("key", flat=True))
    untold = [run for run in long if stuck_key(run) not in told_of]
    waits = waits_of(untold)
    told = 0
    for run in untold:
        wait = waits[run.pk].wait if run.pk in waits else None
        if wait and wait.stuck:
            told += stuck_add(run, wait.words) is not None
    return told


@transaction.atomic
def stuck_add(run: Run, words: str) -> Notice | None:
    """The row is locked first: a run that was claimed meanwhile is not stuck."""
    if not Run.objects.select_for_update().filter(pk=run.pk, state=RunState.QUEUED, attempt=run.attempt).exists():
        return None
    detail = {"run": run.name, "stage": run.stage, "reason": "stuck", "why": words}
    return notice_add(project=run.project, run=run, kind=NoticeKind.STUCK, key=stuck_key(run), detail=detail)


def stuck_key(run: Run) -> str:
    """One wait is one notice: it began when the run was queued last."""
    return f"run:{run.pk}:stuck:{run.attempt}:{int(run.queued_at.timestamp())}"


def notices_read(*, user: User, notices: Iterable[Notice]) -> None:
    """Mark as read for this person; doing it twice is doing it once."""
    NoticeRead.objects.bulk_create(
        [NoticeRead(notice=notice, user=user) for notice in notices], ignore_conflicts=True, batch_size=500
    )


@transaction.atomic
def notice_choice_set(*, user: User, email: str, ends: bool, needs_a_person: bool, only_mine: bool) -> NoticeChoice:
    """What this person wants by e-mail, and where to."""
    if user.email != email:
        User.objects.filter(pk=user.pk).update(email=email)
    choice, _made = NoticeChoice.objects.update_or_create(
        user=user, defaults={"ends": ends, "needs_a_person": needs_a_person, "only_mine": only_mine}
    )
    audit.record(project=None, by=user, verb="notices.choose", target=choice, ends=ends, needs_a_person=needs_a_person)
    return choice
