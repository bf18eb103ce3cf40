"""Webhooks in the form of Standard Webhooks 1.0: made, changed, tried, switched off; how they are signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from annotation.ids import uuid7
from annotation.models import Project
from annotation.services import audit
from annotation.services.audit import Actor, account_of
from training.errors import NoticeError
from training.models import Delivery, Notice, NoticeKind, Webhook
from training.models.notices import SENT
from training.outbound import Network, Target, TargetRefused, target_of

MOST_WEBHOOKS = 10


def allowed_networks() -> list[Network]:
    return [ipaddress.ip_network(text) for text in settings.WEBHOOK_NETWORKS]


def checked_target(url: str) -> Target:
    """Where the URL leads, checked. Raises NoticeError in words."""
    try:
        return target_of(url, allowed_networks())
    except TargetRefused as refusal:
        raise NoticeError(refusal_words(refusal.code)) from None


def refusal_words(code: str) -> str:
    return {
        "malformed": _("This is not a web address. Write it like https://example.org/hooks/plackett."),
        "scheme": _("The address must begin with https://."),
        "plain": _("The address must begin with https://, so that nobody on the way reads what is sent."),
        "userinfo": _("Leave user name and password out of the address; what is sent is signed instead."),
        "unknown_host": _("The host of this address can't be found. Check its spelling."),
        "private": _(
            "This address leads into a private network, and nothing is sent there. An owner of the installation may"
            " allow the network by the setting WEBHOOK_NETWORKS."
        ),
    }[code]


def secret_of(webhook: Webhook) -> str:
    """The secret, derived anew each time it is needed: the database holds nothing that signs."""
    words = f"plackett webhook {webhook.pk} {webhook.salt}".encode()
    key = hmac.new(settings.SECRET_KEY.encode(), words, hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(key).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def headers_of(webhook: Webhook, delivery: Delivery, body: bytes, now: datetime) -> dict[str, str]:
    """The same id at each try, so that a receiver can tell a repeated message; the time is the try's own."""
    timestamp = int(now.timestamp())
    return {
        "Content-Type": "application/json",
        "User-Agent": "Plackett",
        "webhook-id": message_id(delivery),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret_of(webhook), message_id(delivery), timestamp, body),
    }


def message_id(delivery: Delivery) -> str:
    return f"msg_{delivery.pk.hex}"


def payload(notice: Notice) -> bytes:
    """What is posted: small, and no text of a label, a prompt or an answer in it."""
    data: dict[str, Any] = {
        "project": notice.project.slug,
        "run": str(notice.run_id) if notice.run_id else None,
        **{name: notice.detail.get(name, "") for name in ("stage", "reason")},
        "name": notice.detail.get("run", ""),
        "message": notice.detail.get("why", ""),
        "url": page_url(notice),
    }
    kind = "webhook.test" if notice.kind == NoticeKind.TEST else f"run.{notice.kind}"
    content = {"type": kind, "timestamp": notice.created_at.isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def page_url(notice: Notice) -> str:
    """The page that it is about; empty where PUBLIC_URL is not set."""
    if not settings.PUBLIC_URL:
        return ""
    where = f"runs/{notice.run_id}/" if notice.run_id else "notices/webhooks/"
    return f"{settings.PUBLIC_URL}/p/{notice.project.slug}/{where}"


def check_kinds(kinds: Sequence[str]) -> list[str]:
    chosen = [kind.value for kind in SENT if kind in set(kinds)]
    if not chosen or set(kinds) - set(SENT):
        raise NoticeError(_("Choose at least one thing to be told of."))
    return chosen


@transaction.atomic
def webhook_create(*, project: Project, url: str, kinds: Sequence[str], by: Actor) -> tuple[Webhook, str]:
    """(the webhook, its secret, which is shown this once). Raises NoticeError."""
    Project.objects.select_for_update().get(pk=project.pk)
    if Webhook.objects.filter(project=project).count() >= MOST_WEBHOOKS:
        raise NoticeError(_("A project has %(n)s webhooks at most. Delete one first.") % {"n": MOST_WEBHOOKS})
    chosen = check_kinds(kinds)
    checked_target(url)
    webhook = Webhook(
        id=uuid7(), project=project, url=url, kinds=chosen, salt=secrets.token_hex(16), created_by=account_of(by)
    )
    save_once(webhook)
    audit.record(project=project, by=by, verb="webhook.create", target=webhook, url=url, kinds=chosen)
    return webhook, secret_of(webhook)


@transaction.atomic
def webhook_change(*, webhook: Webhook, url: str, kinds: Sequence[str], by: Actor) -> Webhook:
    """Another address, other kinds. Raises NoticeError."""
    webhook.kinds = check_kinds(kinds)
    if url != webhook.url:
        checked_target(url)
        webhook.url = url
    save_once(webhook)
    audit.record(project=webhook.project, by=by, verb="webhook.change", target=webhook, url=url, kinds=webhook.kinds)
    return webhook


def save_once(webhook: Webhook) -> None:
    try:
        with transaction.atomic():
            webhook.save()
    except IntegrityError:
        raise NoticeError(_("This project has a webhook with this address already.")) from None


@transaction.atomic
def webhook_switch(*, webhook: Webhook, enabled: bool, by: Actor) -> None:
    """On or off. Switched on, it begins with a clean record; switched off, what is on its way waits."""
    Webhook.objects.filter(pk=webhook.pk).update(is_enabled=enabled, disabled_why="", failures=0)
    verb = "webhook.enable" if enabled else "webhook.disable"
    audit.record(project=webhook.project, by=by, verb=verb, target=webhook, url=webhook.url)


@transaction.atomic
def webhook_new_secret(*, webhook: Webhook, by: Actor) -> str:
    """Another secret; the one before signs nothing from now on."""
    webhook.salt = secrets.token_hex(16)
    webhook.save(update_fields=["salt"])
    audit.record(project=webhook.project, by=by, verb="webhook.new_secret", target=webhook, url=webhook.url)
    return secret_of(webhook)


@transaction.atomic
def webhook_delete(*, webhook: Webhook, by: Actor) -> None:
    audit.record(project=webhook.project, by=by, verb="webhook.delete", target=webhook, url=webhook.url)
    webhook.delete()


@transaction.atomic
def webhook_test(*, webhook: Webhook, by: Actor) -> Delivery:
    """Send a test message, the way all others go."""
    if not webhook.is_enabled:
        raise NoticeError(_("This webhook is switched off. Switch it on first."))
    detail = {"why": "A test message; nothing happened."}
    notice = Notice.objects.create(
        project=webhook.project, kind=NoticeKind.TEST, key=f"webhook:{webhook.pk}:test:{uuid7()}", detail=detail
    )
    audit.record(project=webhook.project, by=by, verb="webhook.test", target=webhook, url=webhook.url)
    return Delivery.objects.create(notice=notice, webhook=webhook)
