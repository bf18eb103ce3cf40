"""The bell, the page of notices, what one wants by e-mail, and a project's webhooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotation.models import User
from tests.factories import RunFactory
from tests.frontend.scene import Scene
from training.models import Delivery, Notice, NoticeChoice, Run, Webhook
from training.services.claims import Fence, run_claim
from training.services.publishing import run_fail

As = Callable[[User], Client]
NOTICES, MARK = reverse("frontend:notices"), reverse("frontend:notices_mark")
CHOICES = reverse("frontend:notice_choices")


@pytest.fixture
def failed(scene: Scene) -> Run:
    run = RunFactory(project=scene.project, name="sft-1")
    assert run_claim(queue="gpu", worker="w")
    run_fail(fence=Fence(run.pk, 1), reason="data", message="There are <b>no</b> rows.")
    return run


def test_the_bell_counts_and_the_page_tells(scene: Scene, as_: As, failed: Run) -> None:
    client = as_(scene.rob)
    assert "1 unread notice" in client.get(reverse("frontend:runs", args=[scene.project.slug])).content.decode()
    text = client.get(NOTICES).content.decode()
    assert "sft-1" in text and "&lt;b&gt;no" in text and "A run failed" in text
    client.post(MARK, {"notice": Notice.objects.get().pk})
    assert "unread notice" not in client.get(NOTICES).content.decode()
    assert "Nothing unread" in client.get(NOTICES + "?unread").content.decode()
    assert "1 unread notice" in as_(scene.ada).get(NOTICES).content.decode()  # her own are still unread


def test_labelers_and_strangers_are_told_nothing(scene: Scene, as_: As, failed: Run) -> None:
    for user in (scene.alice, scene.sam):
        client = as_(user)
        assert "sft-1" not in client.get(NOTICES).content.decode()
        client.post(MARK, {"notice": Notice.objects.get().pk})
    client = as_(scene.alice)
    with CaptureQueriesContext(connection) as asked:
        text = client.get(reverse("frontend:guidelines", args=[scene.project.slug])).content.decode()
    assert NOTICES not in text  # no bell where one labels, and no query for it
    assert not [query for query in asked if "training_notice" in query["sql"]]
    assert not Notice.objects.filter(reads__isnull=False).exists()


def test_all_are_marked_at_once_and_nonsense_marks_nothing(scene: Scene, as_: As, failed: Run) -> None:
    client = as_(scene.ada)
    client.post(MARK, {"notice": "nonsense"})
    assert "unread notice" in client.get(NOTICES).content.decode()
    client.post(MARK)
    assert "unread notice" not in client.get(NOTICES).content.decode()
    assert client.get(MARK).status_code == 405


def test_each_person_chooses_their_mail(scene: Scene, as_: As) -> None:
    client = as_(scene.rob)
    assert "sends no mail yet" in client.get(CHOICES).content.decode()
    refused = client.post(CHOICES, {"needs_a_person": "on"})
    assert refused.status_code == 422 and "Where to?" in refused.content.decode()
    client.post(CHOICES, {"needs_a_person": "on", "email": "rob@example.org"})
    choice = NoticeChoice.objects.get(user=scene.rob)
    assert (choice.ends, choice.needs_a_person, choice.user.email) == (False, True, "rob@example.org")
    for address in (NOTICES, CHOICES, MARK):
        assert Client().post(address).status_code == 302


def hooks(scene: Scene, *args: object) -> str:
    return reverse(
        f"frontend:webhook{'_action' if len(args) > 1 else '' if args else 's'}", args=[scene.project.slug, *args]
    )


def test_a_webhooks_secret_is_shown_once(scene: Scene, as_: As, settings: Any) -> None:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    client = as_(scene.ada)
    made = client.post(hooks(scene), {"url": "http://127.0.0.1:9/x", "kinds": ["failed"]}).content.decode()
    assert "whsec_" in made and "only this once" in made
    hook = Webhook.objects.get()
    assert "whsec_" not in client.get(hooks(scene)).content.decode()
    assert "whsec_" not in client.get(hooks(scene, hook.pk)).content.decode()
    assert "whsec_" in client.post(hooks(scene, hook.pk, "secret")).content.decode()
    client.post(hooks(scene, hook.pk, "test"))
    assert "waiting" in client.get(hooks(scene, hook.pk)).content.decode() and Delivery.objects.count() == 1
    client.post(hooks(scene, hook.pk, "disable"))
    assert "It is switched off" in client.get(hooks(scene, hook.pk)).content.decode()
    client.post(hooks(scene, hook.pk, "enable"))
    client.post(hooks(scene, hook.pk), {"url": hook.url, "kinds": ["succeeded", "stuck"]})
    hook.refresh_from_db()
    assert hook.is_enabled and hook.kinds == ["succeeded", "stuck"]
    client.post(hooks(scene, hook.pk, "delete"))
    assert not Webhook.objects.exists()


def test_an_address_inside_is_refused_on_the_page_and_in_the_api(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    refused = client.post(hooks(scene), {"url": "https://169.254.169.254/", "kinds": ["failed"]})
    assert refused.status_code == 422 and "private network" in refused.content.decode()
    address = reverse("training:webhooks", args=[scene.project.slug])
    answer = client.post(address, {"url": "https://[::1]/", "kinds": ["failed"]}, "application/json")
    assert answer.status_code == 400 and "private network" in answer.json()["detail"]
    assert not Webhook.objects.exists()


def test_the_api_keeps_webhooks_and_notices(scene: Scene, as_: As, failed: Run) -> None:
    client, slug = as_(scene.ada), scene.project.slug
    made = client.post(
        reverse("training:webhooks", args=[slug]), {"url": "https://1.1.1.1/", "kinds": ["failed"]}, "application/json"
    ).json()
    assert made["secret"].startswith("whsec_")
    [row] = client.get(reverse("training:webhooks", args=[slug])).json()
    assert "secret" not in row
    one = reverse("training:webhook", args=[slug, row["id"]])
    assert client.patch(one, {"is_enabled": False}, "application/json").json()["is_enabled"] is False
    test = reverse("training:webhook_test", args=[slug, row["id"]])
    assert client.post(test).status_code == 400  # switched off
    client.patch(one, {"is_enabled": True}, "application/json")
    assert client.post(test).json()["state"] == "waiting"
    assert client.get(one).json()[0]["kind"] == "test"
    assert client.delete(one).status_code == 204
    notices = reverse("training:notices", args=[slug])
    [told] = client.get(notices).json()["results"]
    assert (told["kind"], told["is_read"]) == ("failed", False)
    assert client.post(notices, {"notices": [told["id"]]}, "application/json").status_code == 204
    assert client.get(notices).json()["results"][0]["is_read"] is True
