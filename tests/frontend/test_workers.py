"""The workers' page and its API: who may see them, and who drains."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from annotation.models import User
from annotation.services.tokens import token_create
from tests.factories import ProjectFactory, RunFactory, UserFactory
from tests.frontend.scene import Scene
from training.models import Drain
from training.services.claims import run_claim
from training.services.workers import worker_gone, worker_seen

As = Callable[[User], Client]
PAGE, DRAIN = reverse("frontend:workers"), reverse("frontend:worker_drain")


@pytest.fixture
def owner(db: None) -> User:
    return UserFactory(username="owner", is_superuser=True)


@pytest.fixture
def busy(scene: Scene) -> str:
    run = RunFactory(project=scene.project, name="sft-1")
    worker_seen(name="gpu@one:7", queues=["gpu"], slots=1)
    assert run_claim(queue="gpu", worker="gpu@one:7") == run
    return "gpu@one"


def test_it_tells_of_host_device_memory_version_and_what_runs(scene: Scene, as_: As, busy: str) -> None:
    text = as_(scene.rob).get(PAGE).content.decode()
    assert "gpu@one" in text and "sft-1" in text and "CPU thread" in text and "in use" in text
    assert "0.1.0+" in text and "not the code of this page" not in text


def test_who_reads_no_runs_anywhere_finds_nothing(scene: Scene, as_: As, owner: User) -> None:
    for user, status in ((scene.alice, 404), (scene.sam, 404), (scene.rita, 200), (owner, 200)):
        assert as_(user).get(PAGE).status_code == status, user
        assert as_(user).get(reverse("training:workers")).status_code == status, user
    assert Client().get(PAGE).status_code == 302 and Client().get(reverse("training:workers")).status_code == 401


def test_runs_of_other_projects_have_no_name_there(scene: Scene, as_: As) -> None:
    RunFactory(project=ProjectFactory(), name="hidden-1")
    worker_seen(name="gpu@one:7", queues=["gpu"], slots=1)
    run_claim(queue="gpu", worker="gpu@one:7")
    text = as_(scene.ada).get(PAGE).content.decode()
    assert "hidden-1" not in text and "A run of another project" in text
    [row] = as_(scene.ada).get(reverse("training:workers")).json()
    assert (row["busy"], row["runs"]) == (1, [])


def test_only_the_owner_drains(scene: Scene, as_: As, owner: User, busy: str) -> None:
    for user in (scene.ada, scene.rob):
        assert "Drain" not in as_(user).get(PAGE).content.decode()
        assert as_(user).post(DRAIN, {"node": busy, "how": "finish"}).status_code == 404
        address = reverse("training:worker_drain")
        assert as_(user).post(address, {"node": busy}, "application/json").status_code == 404
    client = as_(owner)
    client.post(DRAIN, {"node": busy, "how": "hand_back", "why": "a new disk"})
    assert Drain.objects.get().by == owner
    text = client.get(PAGE).content.decode()
    assert "a new disk" in text and "Take runs again" in text
    worker_gone(name="gpu@one:7")
    assert "Drained, and not there now" in client.get(PAGE).content.decode()
    client.post(DRAIN, {"node": busy})
    assert not Drain.objects.exists()
    assert "No worker was seen lately" in client.get(PAGE).content.decode()
    answer = client.post(DRAIN, {"node": "gpu@nowhere", "how": "finish"}, follow=True)
    assert "No worker of this name" in answer.content.decode()


def test_the_api_drains_within_the_tokens_scopes(scene: Scene, as_: As, owner: User, busy: str) -> None:
    client = as_(owner)
    assert client.post(reverse("training:worker_drain"), {"node": busy}, "application/json").status_code == 204
    assert client.get(reverse("training:workers")).json()[0]["drained"] == "finish"
    assert client.post(reverse("training:worker_undrain"), {"node": busy}, "application/json").status_code == 204
    assert client.get(reverse("training:workers")).json()[0]["drained"] == ""
    member = scene.member(scene.ada)
    _token, secret = token_create(membership=member, name="t", scopes=["export"], days=1, by=scene.ada)
    header = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    assert Client().get(reverse("training:workers"), **header).status_code == 403
