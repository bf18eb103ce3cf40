"""Building a snapshot in a worker: the same bytes as at once, begun anew where a worker is lost, nothing half made."""

from __future__ import annotations

import shutil
import time
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotation.models import AuditEvent, Membership, Project, Prompt
from annotation.services.tokens import token_create
from tests.factories import PromptFactory
from tests.training.labels import demonstrate, demonstrations
from tests.training.test_leaks import LONG, NEAR
from training import files, jobs
from training.errors import RunError
from training.models import Job, JobKind, JobState, LeakCheck, LeakState, Snapshot
from training.services import builds
from training.services import jobs as job_services
from training.services.builds import build_or_ask, without_leaks_or_ask
from training.services.erasure import person_erase
from training.services.jobs import JobLost, job_cancel, job_claim, jobs_sweep
from training.services.loop import freeze
from training.services.snapshots import snapshot_build


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "AT_ONCE", dict.fromkeys(builds.AT_ONCE, 2))


@pytest.fixture
def labeled(project: Project, alice: Membership) -> Project:
    demonstrations(project, alice, 4)
    return project


def asked(project: Project, by: Membership, **query: Any) -> Job:
    job = build_or_ask(project=project, kind="demonstrations", query=query, by=by, name="many")
    assert isinstance(job, Job)
    return job


def worked(expected: Job) -> Job:
    claimed = job_claim()
    assert claimed is not None and claimed.pk == expected.pk
    jobs.carry_out(claimed)
    claimed.refresh_from_db()
    return claimed


def lose_the_worker() -> None:
    Job.objects.update(lease_until=timezone.now() - job_services.LEASE)


@pytest.fixture(autouse=True)
def nothing_aside() -> None:
    """What a test before, in this process, has left there on purpose."""
    shutil.rmtree(files.root() / "aside", ignore_errors=True)


def left_aside() -> list[str]:
    return [path.name for path in (files.root() / "aside").glob("*")]


def test_few_rows_are_frozen_at_once_and_many_by_a_worker_to_the_same_bytes(labeled: Project, rita: Membership) -> None:
    two = Prompt.objects.filter(project=labeled)[:2]
    Prompt.objects.filter(pk__in=[prompt.pk for prompt in two]).update(category="chat")
    few = build_or_ask(project=labeled, kind="demonstrations", query={"categories": ["chat"]}, by=rita)
    assert isinstance(few, Snapshot) and sum(few.counts.values()) == 2
    few.delete()
    job = worked(asked(labeled, rita))
    assert job.state == JobState.SUCCEEDED, job.message
    made = Snapshot.objects.get()
    assert job.snapshot == made and job.result["rows"] == made.counts and (job.done, job.total) == (4, 4)
    assert LeakCheck.objects.get(snapshot=made).state == LeakState.CLEAN and made.facts["rows"] == 4
    assert made.created_by == rita.user
    assert snapshot_build(project=labeled, kind="demonstrations", by=rita) == made
    assert AuditEvent.objects.filter(verb="snapshot.ask").count() == 1


def test_the_same_build_twice_is_one_job_while_it_waits(labeled: Project, rita: Membership) -> None:
    first = asked(labeled, rita)
    assert asked(labeled, rita) == first and asked(labeled, rita, since="2020-01-01") != first
    Job.objects.exclude(pk=first.pk).delete()
    worked(first)
    again = asked(labeled, rita)  # the rows may be others now
    assert again != first
    assert worked(again).snapshot == Snapshot.objects.get()


def test_a_build_whose_worker_is_killed_begins_anew(
    labeled: Project, rita: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(labeled, rita)
    first = job_claim()
    assert first is not None

    def dies(*_args: Any, **_named: Any) -> Snapshot:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(builds, "keep", dies)
        with pytest.raises(KeyboardInterrupt):
            jobs.carry_out(first)
    assert not Snapshot.objects.exists() and left_aside() == []
    assert job_claim() is None  # its lease holds still
    lose_the_worker()
    assert jobs_sweep()
    job = worked(job)
    assert job.attempt == 2 and job.state == JobState.SUCCEEDED
    assert job.snapshot == Snapshot.objects.get()
    with pytest.raises(JobLost):
        builds.named(first, builds.Written(files.fresh_folder()), Snapshot.objects.get)  # the dead worker's number


def test_a_build_that_was_lost_behind_its_snapshot_only_looks_at_it(
    labeled: Project, alice: Membership, rita: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(labeled, rita)

    def dies(*_args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(builds, "facts_for", dies)
        with pytest.raises(KeyboardInterrupt):
            worked(job)
    made = Snapshot.objects.get()
    assert made.facts == {}
    demonstrations(labeled, alice, 1)  # a row more, which a second freezing would take
    lose_the_worker()
    assert worked(job).result["snapshot"] == str(made.pk)
    assert Snapshot.objects.get().facts["rows"] == 4


def test_a_cancelled_build_leaves_nothing(labeled: Project, rita: Membership) -> None:
    job = asked(labeled, rita)
    claimed = job_claim()
    assert claimed is not None
    job_cancel(job=job, by=rita)
    jobs.carry_out(claimed)
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED and not Snapshot.objects.exists() and left_aside() == []


def test_a_finished_build_is_not_undone_by_cancelling_it(labeled: Project, rita: Membership) -> None:
    job = worked(asked(labeled, rita))
    assert job_cancel(job=job, by=rita).state == JobState.SUCCEEDED and Snapshot.objects.count() == 1


def test_a_build_that_finds_nothing_any_more_says_so(labeled: Project, rita: Membership) -> None:
    job = asked(labeled, rita)
    Job.objects.filter(pk=job.pk).update(asked={**job.asked, "query": {**job.asked["query"], "languages": ["xx"]}})
    job = worked(job)
    assert job.state == JobState.FAILED and "No demonstration matches" in job.message


def test_what_is_erased_while_it_is_frozen_does_not_come_in(
    labeled: Project, alice: Membership, bob: Membership, rita: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    demonstrate(PromptFactory(project=labeled, pool="sft"), bob, "By bob.")
    job = asked(labeled, rita)
    real = builds.write_aside

    def write_before_an_erasure(*args: Any) -> Any:
        written = real(*args)
        assert sum(written.counts.values()) == 5
        person_erase(member=bob, why="They asked for it.", by=rita)
        return written

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(builds, "write_aside", write_before_an_erasure)
        lost = worked(job)
    assert lost.state == JobState.QUEUED and not Snapshot.objects.exists() and left_aside() == []
    made = worked(job).snapshot
    assert made is not None
    rows = list(builds.rows_with_leaks(made))
    assert len(rows) == 4 and {row["labeler"] for row in rows} == {alice.pseudonym}


def test_many_rows_without_their_leaks_are_a_build_too(project: Project, alice: Membership, rita: Membership) -> None:
    for text, split in ((LONG, "train"), (NEAR, "test"), ("Name three rivers of Europe.", "train")):
        demonstrate(PromptFactory(project=project, pool="sft", text=text, split=split), alice, "An answer.")
    leaking = worked(asked(project, rita)).snapshot
    assert leaking is not None and LeakCheck.objects.get(snapshot=leaking).state == LeakState.FOUND
    job = without_leaks_or_ask(snapshot=leaking, by=rita)
    assert isinstance(job, Job)
    made = worked(job).snapshot
    assert made is not None and made.counts == {"train": 1, "validation": 0, "test": 1}
    check = LeakCheck.objects.get(snapshot=leaking)
    assert (check.state, check.replaced_by, check.decided_by) == (LeakState.LEFT_OUT, made, rita.user)


def test_a_launch_that_would_freeze_many_rows_asks_a_worker_first(labeled: Project, ada: Membership) -> None:
    with pytest.raises(RunError, match="worker"):
        freeze(labeled, "demonstrations", {}, ada)
    assert Job.objects.get().kind == JobKind.BUILD


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_a_long_step_keeps_its_lease(labeled: Project, rita: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    asked(labeled, rita)
    monkeypatch.setattr(job_services, "LEASE", timedelta(seconds=1))
    claimed = job_claim()
    assert claimed is not None
    with job_services.lease_kept(claimed):
        time.sleep(1.5)
        assert job_claim() is None
    time.sleep(1.1)
    assert job_claim() is not None


# --- Pages and API -------------------------------------------------------------------------------------------------


def test_the_api_answers_a_job_and_then_its_snapshot(labeled: Project, rita: Membership) -> None:
    _token, secret = token_create(membership=rita, name="builds", scopes=["read", "export"], days=1, by=rita.user)
    head = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    address = reverse("training:snapshots", args=[labeled.slug])
    answer = Client().post(address, {"kind": "demonstrations"}, content_type="application/json", **head)
    assert answer.status_code == 202, answer.content
    told = answer.json()
    assert (told["kind"], told["state"], told["snapshot"]) == ("build", "queued", None)
    worked(Job.objects.get())
    over = Client().get(reverse("training:job", args=[labeled.slug, told["id"]]), **head).json()
    assert over["state"] == "succeeded" and UUID(over["snapshot"]) == Snapshot.objects.get().pk


def test_the_pages_show_a_build_and_lead_to_its_snapshot(labeled: Project, rita: Membership) -> None:
    client = Client()
    client.force_login(rita.user)
    form = {"kind": "demonstrations", "purpose": "train", "overlap": "all", "ties": "drop", "name": "All there is"}
    answer = client.post(reverse("frontend:snapshot_new", args=[labeled.slug]), form)
    job = Job.objects.get()
    assert answer["Location"] == reverse("frontend:job", args=[labeled.slug, job.pk])
    assert "All there is" in client.get(answer["Location"]).content.decode()
    listed = client.get(reverse("frontend:snapshots", args=[labeled.slug])).content.decode()
    assert answer["Location"] in listed
    worked(job)
    page = client.get(answer["Location"]).content.decode()
    assert reverse("frontend:snapshot", args=[labeled.slug, Snapshot.objects.get().pk]) in page
    assert "do-cancel-job" not in page
