"""Notices come with the change that they tell of, once; webhooks and mails carry them out, and are tried again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone

from annotation.models import AuditEvent, Membership
from tests.factories import RunFactory
from tests.training.conftest import walk_to
from training.errors import NoticeError
from training.models import Delivery, Notice, Run, Webhook
from training.selectors.notices import notices_for, unread_count
from training.services.claims import Fence, run_claim
from training.services.delivery import BACKOFF_SECONDS, MOST_FAILURES, deliver_due, forget_old_deliveries, take
from training.services.notices import notice_choice_set, notice_stuck_runs, notices_read
from training.services.publishing import run_fail
from training.services.runs import run_cancel, run_retry
from training.services.webhooks import (
    secret_of,
    signature,
    webhook_change,
    webhook_create,
    webhook_new_secret,
    webhook_switch,
    webhook_test,
)


@dataclass
class Receiver:
    """A real HTTP server that keeps what it is sent, and answers as it is told."""

    url: str = ""
    status: int = 200
    location: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(found.status)
            if found.location:
                self.send_header("Location", found.location)
            self.end_headers()
            self.wfile.write(b"heard\nmore")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def hook(receiver: Receiver, ada: Membership) -> Webhook:
    return webhook_create(project=ada.project, url=receiver.url, kinds=["failed", "stuck"], by=ada)[0]


def fail(run: Run, attempt: int = 1) -> None:
    assert run_claim(queue=run.queue, worker="w")
    run_fail(fence=Fence(run.pk, attempt), reason="data", message="It is too short.")


def make_due() -> None:
    Delivery.objects.filter(state="waiting").update(next_at=timezone.now() - timedelta(seconds=1))


def test_a_failed_run_is_told_of_once_and_signed(run: Run, hook: Webhook, receiver: Receiver) -> None:
    fail(run)
    assert deliver_due() == 1 and deliver_due() == 0
    [(headers, body)] = receiver.got
    content = json.loads(body)
    assert content["type"] == "run.failed"
    assert content["data"]["run"] == str(run.pk) and content["data"]["message"] == "It is too short."
    key = base64.b64decode(secret_of(hook).removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}" and len(key) == 32
    assert abs(int(headers["webhook-timestamp"]) - timezone.now().timestamp()) < 60
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.tries, delivery.answer) == ("sent", 1, "200 heard")


def test_the_signature_is_the_one_of_the_specifications_libraries() -> None:
    """The test vector that the reference libraries of Standard Webhooks share."""
    body = b'{"test": 2432232314}'
    found = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_change_that_is_rolled_back_is_told_to_nobody(run: Run, hook: Webhook) -> None:
    assert run_claim(queue="gpu", worker="w")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        run_fail(fence=Fence(run.pk, 1), reason="data", message="x")
        raise ZeroDivisionError
    assert not Notice.objects.exists() and not Delivery.objects.exists()


def test_each_ending_has_a_notice_of_its_own(run: Run, ada: Membership, hook: Webhook) -> None:
    fail(run)
    run_retry(run=run, by=ada)
    fail(run, attempt=2)
    run_retry(run=run, by=ada)
    run_cancel(run=run, by=ada)
    assert list(Notice.objects.order_by("id").values_list("kind", flat=True)) == ["failed", "failed", "cancelled"]
    assert Delivery.objects.count() == 2  # this webhook did not ask to hear of cancelled ones


def test_what_does_not_go_through_is_tried_again_later_with_the_same_id(
    run: Run, hook: Webhook, receiver: Receiver
) -> None:
    receiver.status = 503
    fail(run)
    deliver_due()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.answer) == ("waiting", "503 heard")
    assert timedelta(seconds=20) < delivery.next_at - timezone.now() <= timedelta(seconds=BACKOFF_SECONDS[0])
    assert deliver_due() == 0
    make_due()
    receiver.status = 202
    deliver_due()
    assert Delivery.objects.get().state == "sent"
    ids = [headers["webhook-id"] for headers, _body in receiver.got]
    assert ids[0] == ids[1] and len(ids) == 2
    assert Webhook.objects.get().failures == 0


def test_after_the_last_try_it_is_given_up(run: Run, hook: Webhook, receiver: Receiver) -> None:
    receiver.status = 500
    fail(run)
    for _ in range(len(BACKOFF_SECONDS) + 1):
        make_due()
        deliver_due()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.tries) == ("failed", len(BACKOFF_SECONDS) + 1)


def test_a_process_that_dies_while_sending_loses_nothing(run: Run, hook: Webhook, receiver: Receiver) -> None:
    fail(run)
    delivery = Delivery.objects.select_related("notice").get()
    stale = Delivery.objects.get()
    assert take(delivery) and not take(stale)  # a second process leaves it alone meanwhile
    assert deliver_due() == 0
    make_due()  # the one that had it never came back
    assert deliver_due() == 1
    assert Delivery.objects.get().state == "sent"


def test_redirects_are_not_followed(run: Run, hook: Webhook, receiver: Receiver) -> None:
    receiver.status, receiver.location = 302, "http://169.254.169.254/"
    fail(run)
    deliver_due()
    assert len(receiver.got) == 1 and "redirects" in Delivery.objects.get().answer


def test_an_address_that_leads_inside_by_now_is_refused_at_the_sending(
    run: Run, hook: Webhook, receiver: Receiver, settings: Any
) -> None:
    settings.WEBHOOK_NETWORKS = []
    fail(run)
    deliver_due()
    assert receiver.got == [] and "private network" in Delivery.objects.get().answer


def test_a_webhook_that_never_works_is_switched_off_and_people_are_told(
    run: Run, hook: Webhook, receiver: Receiver, ada: Membership
) -> None:
    receiver.status = 500
    Webhook.objects.update(failures=MOST_FAILURES - 1)
    fail(run)
    deliver_due()
    hook.refresh_from_db()
    assert (hook.is_enabled, hook.disabled_why) == (False, "500 heard")
    assert Notice.objects.filter(kind="webhook_disabled").count() == 1
    make_due()
    assert deliver_due() == 0 and Delivery.objects.get().state == "waiting"
    receiver.status = 200
    webhook_switch(webhook=hook, enabled=True, by=ada)
    assert deliver_due() == 1 and Delivery.objects.get().state == "sent"


def test_a_receiver_that_is_gone_is_not_asked_again(run: Run, hook: Webhook, receiver: Receiver) -> None:
    receiver.status = 410
    fail(run)
    deliver_due()
    hook.refresh_from_db()
    assert not hook.is_enabled and Delivery.objects.get().state == "failed"


def test_the_database_holds_nothing_that_signs(hook: Webhook, ada: Membership, settings: Any) -> None:
    secret = secret_of(hook)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM training_webhook")
        row = repr(cursor.fetchall())
    key = base64.b64decode(secret.removeprefix("whsec_"))
    assert secret not in row and key.hex() not in row and secret[6:20] not in row
    assert AuditEvent.objects.filter(detail__icontains=secret[6:20]).count() == 0
    fresh = webhook_new_secret(webhook=hook, by=ada)
    assert fresh != secret and secret_of(Webhook.objects.get()) == fresh
    settings.SECRET_KEY = "another key, which is as long as the first one was"
    assert secret_of(hook) != fresh


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://10.0.0.1/", "private network"),
        ("http://1.1.1.1/", "https://"),
        ("gopher://x", "https://"),
        ("https://u:p@1.1.1.1/", "user name"),
        ("https://no-such-host.invalid/", "spelling"),
    ],
)
def test_a_bad_address_is_refused_when_it_is_saved(ada: Membership, url: str, words: str) -> None:
    with pytest.raises(NoticeError, match=words):
        webhook_create(project=ada.project, url=url, kinds=["failed"], by=ada)


def test_a_changed_address_is_checked_too(hook: Webhook, ada: Membership) -> None:
    with pytest.raises(NoticeError, match="private"):
        webhook_change(webhook=hook, url="https://192.168.0.1/", kinds=["failed"], by=ada)
    with pytest.raises(NoticeError, match="at least one"):
        webhook_change(webhook=hook, url=hook.url, kinds=[], by=ada)
    with pytest.raises(NoticeError, match="already"):
        webhook_create(project=ada.project, url=hook.url, kinds=["failed"], by=ada)


def test_a_test_message_goes_the_way_of_all_others(hook: Webhook, receiver: Receiver, ada: Membership) -> None:
    webhook_test(webhook=hook, by=ada)
    deliver_due()
    assert json.loads(receiver.got[0][1])["type"] == "webhook.test"
    assert not notices_for(ada.user).exists()  # nothing for the bell


def test_a_run_that_waits_in_vain_is_told_of_once_a_wait(run: Run, ada: Membership, settings: Any) -> None:
    settings.RUN_STUCK_MINUTES = 5
    assert notice_stuck_runs() == 0  # not long enough
    Run.objects.update(queued_at=timezone.now() - timedelta(minutes=6))
    assert notice_stuck_runs() == 1 and notice_stuck_runs() == 0
    notice = Notice.objects.get()
    assert notice.kind == "stuck" and "No worker listens" in notice.detail["why"]


def test_mail_goes_to_those_who_chose_it_and_may_read(
    run: Run, ada: Membership, rex: Membership, alice: Membership, sam: Any, settings: Any
) -> None:
    settings.EMAIL_HOST, settings.PUBLIC_URL = "mail.example.org", "https://labels.example.org"
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    chosen = {"ends": False, "needs_a_person": True, "only_mine": False}
    for person in (rex.user, alice.user, sam):  # alice labels, sam is in another project
        notice_choice_set(user=person, email=f"{person.username}@example.org", **chosen)
    notice_choice_set(user=ada.user, email="ada@example.org", ends=True, needs_a_person=False, only_mine=False)
    rex.user.refresh_from_db()
    type(rex.user).objects.filter(pk=rex.user.pk).update(language="zh-hans")
    Run.objects.filter(pk=run.pk).update(name="sft\nBcc: all@example.org")
    fail(run)
    assert deliver_due() == 1
    [message] = mail.outbox
    assert message.to == ["rex@example.org"] and "\n" not in message.subject
    assert f"https://labels.example.org/p/{run.project.slug}/runs/{run.pk}/" in message.body


def test_no_mail_is_queued_where_none_can_go_out(run: Run, rex: Membership) -> None:
    notice_choice_set(user=rex.user, email="rex@example.org", ends=True, needs_a_person=True, only_mine=False)
    fail(run)
    assert not Delivery.objects.exists()


def test_a_mail_server_that_refuses_is_asked_again(run: Run, rex: Membership, settings: Any) -> None:
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    notice_choice_set(user=rex.user, email="rex@example.org", ends=True, needs_a_person=True, only_mine=False)
    fail(run)
    deliver_due()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.tries) == ("waiting", 1) and "Error" in delivery.answer


def test_deliveries_that_are_long_over_are_forgotten_and_notices_stay(
    run: Run, hook: Webhook, receiver: Receiver
) -> None:
    fail(run)
    deliver_due()
    forget_old_deliveries()
    assert Delivery.objects.count() == 1
    Delivery.objects.update(created_at=timezone.now() - timedelta(days=40))
    forget_old_deliveries()
    assert Delivery.objects.count() == 0 and Notice.objects.count() == 1


def test_notices_are_seen_by_those_who_read_runs_there(
    run: Run, ada: Membership, rita: Membership, alice: Membership, sam: Any
) -> None:
    fail(run)
    RunFactory(project=ada.project)
    assert unread_count(ada.user) == unread_count(rita.user) == 1
    assert unread_count(alice.user) == unread_count(sam) == 0
    notices_read(user=ada.user, notices=list(notices_for(ada.user)))
    notices_read(user=ada.user, notices=list(notices_for(ada.user)))
    assert (unread_count(ada.user), unread_count(rita.user)) == (0, 1)
    walk_to(RunFactory(project=ada.project), "running")
    Membership.objects.filter(pk=rita.pk).update(is_active=False)
    assert unread_count(rita.user) == 0
