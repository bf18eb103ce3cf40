"""The outbox: what is due is sent, and what does not go through waits in its row for the next try.

The database drives it: a periodic task asks for what is due, takes a row by moving its next try ahead (so that a second
process leaves it alone, and a killed one loses nothing), sends, and writes what came of it. A process that dies between
sending and writing sends again: the message has the same id then, by which a receiver knows it.
"""

from __future__ import annotations

import logging
import smtplib
from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from annotation.services import audit
from training import outbound
from training.models import Delivery, DeliveryState, NoticeKind, Webhook
from training.services.notices import notice_add
from training.services.webhooks import allowed_networks, headers_of, page_url, payload, refusal_words

TAKEN_SECONDS = 120  # how long one process has for what it took, before another tries
BACKOFF_SECONDS = (30, 120, 600, 1800, 7200, 21_600, 43_200, 86_400)  # after the first try, the second, ...
MOST_FAILURES = 20  # in a row, before a webhook is switched off
AT_ONCE = 20  # deliveries a round
KEEP_DAYS = 30

logger = logging.getLogger(__name__)


def deliver_due() -> int:
    """Send what is due; how many were tried."""
    tried = 0
    for delivery in due()[:AT_ONCE]:
        if take(delivery):
            send(delivery)
            tried += 1
    return tried


def due():  # type: ignore[no-untyped-def]
    able = Q(webhook__is_enabled=True) | Q(user__isnull=False)
    rows = Delivery.objects.filter(able, state=DeliveryState.WAITING, next_at__lte=Now())
    return rows.select_related("notice__project", "notice__run", "webhook__project", "user").order_by("next_at", "id")


def take(delivery: Delivery) -> bool:
    """One process at a time: whoever moves the next try ahead has it."""
    later = Now() + Value(timedelta(seconds=TAKEN_SECONDS))
    mine = Delivery.objects.filter(
        pk=delivery.pk, state=DeliveryState.WAITING, tries=delivery.tries, next_at__lte=Now()
    )
    taken = mine.update(tries=F("tries") + 1, next_at=later)
    delivery.tries += 1
    return bool(taken)


def send(delivery: Delivery) -> None:
    if delivery.webhook is not None:
        ok, answer, gone = send_webhook(delivery, delivery.webhook)
        conclude_webhook(delivery, delivery.webhook, ok=ok, answer=answer, gone=gone)
    else:
        ok, answer = send_mail(delivery)
        conclude(delivery, ok=ok, answer=answer)


def send_webhook(delivery: Delivery, webhook: Webhook) -> tuple[bool, str, bool]:
    """(went through, what came of it, the receiver wants no more). The address is resolved and checked anew."""
    body = payload(delivery.notice)
    try:
        target = outbound.target_of(webhook.url, allowed_networks())
        answer = outbound.post(target, body, headers_of(webhook, delivery, body, timezone.now()))
    except outbound.TargetRefused as refusal:
        return False, refusal_words(refusal.code), False
    except outbound.SendFailed as failure:
        return False, str(failure), False
    first_line = answer.text.strip().split("\n", 1)[0].replace("\x00", "")[:200]
    if 300 <= answer.status < 400:
        return False, f"{answer.status}: redirects are not followed", False
    return 200 <= answer.status < 300, f"{answer.status} {first_line}".strip(), answer.status == 410


@transaction.atomic
def conclude_webhook(delivery: Delivery, webhook: Webhook, *, ok: bool, answer: str, gone: bool) -> None:
    conclude(delivery, ok=ok, answer=answer, for_good=gone)
    if ok:
        Webhook.objects.filter(pk=webhook.pk).update(failures=0)
        return
    Webhook.objects.filter(pk=webhook.pk).update(failures=F("failures") + 1)
    fresh = Webhook.objects.get(pk=webhook.pk)
    if gone:
        disable(fresh, "410 Gone")
    elif fresh.failures >= MOST_FAILURES:
        disable(fresh, answer)


def conclude(delivery: Delivery, *, ok: bool, answer: str, for_good: bool = False) -> None:
    """Write what a try came to. Only the try that took the row last may."""
    row = Delivery.objects.filter(pk=delivery.pk, tries=delivery.tries, state=DeliveryState.WAITING)
    if ok or for_good or delivery.tries > len(BACKOFF_SECONDS):
        state = DeliveryState.SENT if ok else DeliveryState.FAILED
        row.update(state=state, answer=answer[:300], ended_at=Now())
    else:
        wait = timedelta(seconds=BACKOFF_SECONDS[delivery.tries - 1])
        row.update(answer=answer[:300], next_at=Now() + Value(wait))


def disable(webhook: Webhook, why: str) -> None:
    """Switch a webhook off that has not worked for long, and tell people, inside the house."""
    if not Webhook.objects.filter(pk=webhook.pk, is_enabled=True).update(is_enabled=False, disabled_why=why[:200]):
        return
    audit.record(project=webhook.project, by=None, verb="webhook.disable", target=webhook, url=webhook.url, why=why)
    notice_add(
        project=webhook.project,
        kind=NoticeKind.WEBHOOK_DISABLED,
        key=f"webhook:{webhook.pk}:disabled:{int(timezone.now().timestamp())}",
        detail={"webhook": webhook.url, "why": why[:500]},
    )


def send_mail(delivery: Delivery) -> tuple[bool, str]:
    """(went through, what came of it), in the receiver's language."""
    user, notice = delivery.user, delivery.notice
    assert user is not None
    if not settings.EMAIL_HOST or not user.email:
        return False, _("No mail goes out: EMAIL_HOST is not set, or the person has no address.")
    with translation.override(user.language or settings.LANGUAGE_CODE):
        name = notice.detail.get("run") or notice.detail.get("webhook", "")
        subject = f"[{notice.project.name}] {notice.get_kind_display()}: {name}".replace("\n", " ").replace("\r", " ")
        lines = [f"{notice.get_kind_display()}: {name}", notice.detail.get("why", ""), page_url(notice)]
        lines.append(_("You get this because you chose so in your profile, under Notices."))
    message = EmailMessage(
        subject=subject[:200],
        body="\n\n".join(line for line in lines if line) + "\n",
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[user.email],
        headers={"Message-ID": f"<{delivery.pk}@plackett>", "Auto-Submitted": "auto-generated"},
        connection=get_connection(fail_silently=False),
    )
    try:
        message.send()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        logger.warning("an e-mail could not be sent (%s)", type(error).__name__)
        return False, f"{type(error).__name__}: {error}"[:300]
    return True, "sent"


def forget_old_deliveries() -> None:
    """Deliveries that are over, after a while; notices stay."""
    old = timezone.now() - timedelta(days=KEEP_DAYS)
    Delivery.objects.exclude(state=DeliveryState.WAITING).filter(created_at__lt=old).delete()
