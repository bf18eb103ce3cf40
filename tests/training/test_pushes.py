"""Pushing an export to a hub: with the real library, over HTTP, to a small hub of our own; and where the token goes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from annotation.models import AuditEvent, Membership, Project
from annotation.services.tokens import token_create
from tests.training.fake_hub import COMMIT, TOKEN, Hub, serving
from tests.training.labels import demonstrations
from training import files, jobs
from training.errors import JobError
from training.models import Job, JobState, Snapshot
from training.services import pushes
from training.services.jobs import job_cancel, job_claim
from training.services.pushes import push_create
from training.services.snapshots import snapshot_build


@pytest.fixture
def hub(settings: Any) -> Iterator[Hub]:
    with serving() as found:
        settings.HUB_ENDPOINT = found.address
        yield found


@pytest.fixture
def snapshot(project: Project, alice: Membership, rita: Membership) -> Snapshot:
    demonstrations(project, alice, 3)
    return snapshot_build(project=project, kind="demonstrations", by=rita, name="First three")


def done() -> Job:
    claimed = job_claim()
    assert claimed is not None
    jobs.carry_out(claimed)
    return Job.objects.get(pk=claimed.pk)


def pushed(snapshot: Snapshot, by: Membership, **asked: Any) -> Job:
    push_create(snapshot=snapshot, by=by, **{"repository": "acme/rivers", "token": TOKEN, **asked})
    return done()


def everything_stored() -> str:
    """All that the database holds of jobs and what was done, as text."""
    rows: list[Any] = [*Job.objects.values(), *AuditEvent.objects.values()]
    return json.dumps(rows, default=str)


def test_a_folder_reaches_the_hub_and_the_token_nobody_else(
    hub: Hub, snapshot: Snapshot, rita: Membership, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job = push_create(
        snapshot=snapshot, repository="acme/rivers", token=TOKEN, format="prompt-completion", by=rita, container="jsonl"
    )
    waiting = everything_stored()
    assert TOKEN not in waiting and Job.objects.get().secret
    job = done()
    assert job.state == JobState.SUCCEEDED, job.message
    assert job.result["url"] == f"{hub.address}/datasets/acme/rivers" and job.result["commit"] == COMMIT
    held = hub.files["acme/rivers"]
    assert hub.private == {"acme/rivers": True}
    assert {"README.md", "manifest.json", "export.json", "data/train.jsonl", "trl/sft.yaml"} <= set(held)
    assert held["data/train.jsonl"].count(b"\n") == 3 and json.loads(held["manifest.json"]) == snapshot.manifest
    assert not Job.objects.get().secret and cache.get(pushes.pad_key(job)) is None
    assert not files.job_folder(job.pk).exists()
    for kept in (everything_stored(), caplog.text, *(text.decode("latin-1") for text in held.values())):
        assert TOKEN not in kept
    event = AuditEvent.objects.get(verb="snapshot.push")
    assert event.detail["repository"] == "acme/rivers" and event.detail["private"] is True
    # Again, as another file type: what was there before is replaced, not joined.
    again = pushed(snapshot, rita, container="parquet", format="prompt-completion")
    assert again.pk != job.pk and again.state == JobState.SUCCEEDED, again.message
    assert [name for name in hub.files["acme/rivers"] if name.startswith("data/")] == ["data/train.parquet"]


def test_what_the_hub_refuses_is_said_in_words(hub: Hub, snapshot: Snapshot, rita: Membership) -> None:
    hub.private["acme/public"] = False
    hub.files["acme/public"] = {}
    for asked, words in (
        ({"token": "hf_wrong"}, "does not know this token"),
        ({"repository": "acme/public"}, "everyone can read it"),
    ):
        job = pushed(snapshot, rita, **asked)
        assert job.state == JobState.FAILED and words in job.message
        assert "hf_wrong" not in everything_stored() and not job.secret
        assert not files.job_folder(job.pk).exists()
    assert hub.files == {"acme/public": {}}


def test_the_token_is_taken_once(hub: Hub, snapshot: Snapshot, rita: Membership) -> None:
    job = push_create(snapshot=snapshot, repository="acme/rivers", token=TOKEN, by=rita)
    assert pushes.unsealed(Job.objects.get()) == TOKEN
    with pytest.raises(JobError, match="an hour at most"):
        pushes.unsealed(job)
    assert done().state == JobState.FAILED
    waiting = push_create(snapshot=snapshot, repository="acme/other", token=TOKEN, by=rita)
    job_cancel(job=waiting, by=rita)
    assert not Job.objects.exclude(secret="").exists() and hub.asked == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"repository": "rivers"}, "owner/name"),
        ({"repository": "acme/rivers/tree"}, "owner/name"),
        ({"repository": "acme/../rivers"}, "owner/name"),
        ({"repository": "https://evil.example/acme/rivers"}, "owner/name"),
        ({"token": "two\nlines"}, "access token"),
        ({"token": " "}, "access token"),
    ],
)
def test_what_can_be_no_push_is_refused_at_once(
    snapshot: Snapshot, rita: Membership, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(JobError, match=words):
        push_create(snapshot=snapshot, by=rita, **{"repository": "acme/rivers", "token": TOKEN, **asked})


def test_where_it_is_switched_off_there_is_no_form(snapshot: Snapshot, rita: Membership, settings: Any) -> None:
    settings.HUB_ENDPOINT = ""
    with pytest.raises(JobError, match="switched off"):
        push_create(snapshot=snapshot, repository="acme/rivers", token=TOKEN, by=rita)
    client = Client()
    client.force_login(rita.user)
    address = reverse("frontend:snapshot", args=[snapshot.project.slug, snapshot.pk])
    assert "push-token" not in client.get(address).content.decode()


def test_by_page_and_by_api(snapshot: Snapshot, rita: Membership, settings: Any) -> None:
    client = Client()
    client.force_login(rita.user)
    page = reverse("frontend:snapshot", args=[snapshot.project.slug, snapshot.pk])
    assert "push-token" in client.get(page).content.decode()
    form = {"repository": "acme/rivers", "token": TOKEN, "format": "openai", "container": "parquet"}
    asked = reverse("frontend:snapshot_push", args=[snapshot.project.slug, snapshot.pk])
    answer = client.post(asked, {f"push-{name}": value for name, value in form.items()})
    job = Job.objects.get()
    assert answer["Location"] == reverse("frontend:job", args=[snapshot.project.slug, job.pk])
    assert job.asked == {
        "repository": "acme/rivers", "private": True, "format": "openai", "container": "parquet", "ties": "drop",
    }  # fmt: skip
    for address in (page, answer["Location"]):
        assert TOKEN not in client.get(address).content.decode()
    _token, secret = token_create(membership=rita, name="pushes", scopes=["export"], days=1, by=rita.user)
    head: dict[str, Any] = {"HTTP_AUTHORIZATION": f"Bearer {secret}", "content_type": "application/json"}
    told = client.post(
        reverse("training:push", args=[snapshot.project.slug, snapshot.pk]), {**form, "private": False}, **head
    )
    assert told.status_code == 202 and TOKEN not in told.content.decode()
    assert told.json()["asked"]["private"] is False and "secret" not in told.json()
