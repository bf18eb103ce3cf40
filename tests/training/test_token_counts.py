"""Tokens of a snapshot for a model: asked for on its page and by API, counted by the core in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotation.models import Membership, Project
from annotation.services.tokens import token_create
from tests.factories import ModelFactory
from tests.training.labels import demonstrations
from tests.training.rlhf import world
from training import files, jobs
from training.errors import JobError
from training.models import Job, JobState, Model, Snapshot
from training.services import token_counts
from training.services.jobs import job_cancel, job_claim
from training.services.snapshots import snapshot_build
from training.services.token_counts import tokens_ask


@pytest.fixture
def snapshot(project: Project, alice: Membership, rita: Membership) -> Snapshot:
    demonstrations(project, alice, 3)
    return snapshot_build(project=project, kind="demonstrations", by=rita)


@pytest.fixture
def model(project: Project) -> Model:
    made = ModelFactory(project=project, context_length=96)
    world.make_base(files.path_of(made.artifact), context=96)
    return made


def done() -> Job:
    claimed = job_claim()
    assert claimed is not None
    jobs.carry_out(claimed)
    claimed.refresh_from_db()
    return claimed


def test_from_the_page_to_the_figures(snapshot: Snapshot, model: Model, rita: Membership) -> None:
    client = Client()
    client.force_login(rita.user)
    page = reverse("frontend:snapshot", args=[snapshot.project.slug, snapshot.pk])
    asked = reverse("frontend:snapshot_tokens", args=[snapshot.project.slug, snapshot.pk])
    answer = client.post(asked, {"model": str(model.pk), "context_length": "40"})
    job = done()
    assert answer["Location"] == reverse("frontend:job", args=[snapshot.project.slug, job.pk])
    assert job.state == JobState.SUCCEEDED, job.message
    found = job.result["splits"]["train"]
    assert job.result["context_length"] == 40 and found["rows"] == 3 and found["tokens"] > 3 * 40
    assert sum(found["left_out"].values()) == 3
    for shown in (client.get(page), client.get(answer["Location"])):
        text = shown.content.decode()
        assert model.name in text and "than the context" in text
    assert tokens_ask(snapshot=snapshot, model=model, context_length=40, by=rita) == job  # nothing of it changes


def test_by_api(snapshot: Snapshot, model: Model, rita: Membership) -> None:
    _token, secret = token_create(membership=rita, name="counts", scopes=["read", "export"], days=1, by=rita.user)
    head: dict[str, Any] = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    address = reverse("training:tokens", args=[snapshot.project.slug, snapshot.pk])
    told = Client().post(address, {"model": str(model.pk)}, content_type="application/json", **head)
    assert told.status_code == 202, told.content
    [job] = Client().get(address, **head).json()["results"]
    assert job == told.json() and (job["kind"], job["asked"]["room"]) == ("tokens", 128)
    elsewhere = ModelFactory().pk
    assert Client().post(address, {"model": str(elsewhere)}, content_type="application/json", **head).status_code == 404


def test_what_can_not_be_counted_is_refused(snapshot: Snapshot, model: Model, rita: Membership) -> None:
    with pytest.raises(JobError, match="at most 96 tokens"):
        tokens_ask(snapshot=snapshot, model=model, context_length=97, by=rita)
    with pytest.raises(JobError, match="Choose a policy"):
        tokens_ask(snapshot=snapshot, model=ModelFactory(project=snapshot.project, kind="reward_model"), by=rita)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("""print('{"problem": "it has no tokenizer"}')""", "it has no tokenizer"),
        ("raise SystemError('it fell over')", "it fell over"),
        ("""print('{"rows": 1}')""", "no answer came"),
    ],
)
def test_what_goes_wrong_in_the_core_is_said_in_words(
    snapshot: Snapshot, model: Model, rita: Membership, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.setattr(token_counts, "COMMAND", [sys.executable, "-c", program])
    tokens_ask(snapshot=snapshot, model=model, by=rita)
    job = done()
    assert job.state == JobState.FAILED and words in job.message


def test_a_cancelled_count_ends_the_core(
    snapshot: Snapshot, model: Model, rita: Membership, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = f"""import os, time; open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
print('{{"rows": 1}}', flush=True); time.sleep(600)"""
    monkeypatch.setattr(token_counts, "COMMAND", [sys.executable, "-c", program])
    job = tokens_ask(snapshot=snapshot, model=model, by=rita)
    claimed = job_claim()
    assert claimed is not None
    real = token_counts.counted_by_core

    def cancelled_meanwhile(order: Any, tell: Any) -> Any:
        job_cancel(job=job, by=rita)
        return real(order, tell)

    monkeypatch.setattr(token_counts, "counted_by_core", cancelled_meanwhile)
    jobs.carry_out(claimed)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert Job.objects.get().state == JobState.CANCELLED
