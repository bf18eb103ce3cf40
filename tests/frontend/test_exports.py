"""The pages of exports, leaks, comparisons and erasure; and the link behind which a file lies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core import signing
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotation.models import Membership, Prompt, User
from annotation.services.labels import demonstration_submit
from annotation.services.queue import assignment_next
from tests.frontend.scene import Scene, add_demonstration_tasks
from training import files, links
from training.jobs import carry_out
from training.models import Job, LeakCheck, Snapshot
from training.services import differences
from training.services.jobs import job_claim
from training.services.snapshots import snapshot_build

As = Callable[[User], Client]
NEAR = [f"Explain to a child why the sky over the sea is blue {word} day." for word in ("by", "at")]


def page(scene: Scene, name: str, *args: object) -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, *args])


def write_all(scene: Scene) -> None:
    member = scene.member(scene.alice)
    while assignment := assignment_next(labeler=member, kind="demonstration"):
        demonstration_submit(
            assignment=assignment, text="The tide rises.", submission_id=uuid4(), started_at=timezone.now(),
            active_seconds=5, by=member,
        )  # fmt: skip


@pytest.fixture
def snapshot(scene: Scene) -> Snapshot:
    """Three demonstrations by alice, all in train."""
    Prompt.objects.filter(project=scene.project).update(split="train")
    write_all(scene)
    return snapshot_build(project=scene.project, kind="demonstrations", by=scene.ada, name="first")


@pytest.fixture
def exported(scene: Scene, snapshot: Snapshot, as_: As) -> tuple[Job, str]:
    """(a finished export, its link), by rob's hand."""
    client = as_(scene.rob)
    asked = {"format": "canonical", "container": "jsonl", "split": "train"}
    response = client.post(page(scene, "snapshot_export", snapshot.pk), asked)
    job = Job.objects.get()
    assert response["Location"] == page(scene, "job", job.pk)
    waiting = client.get(page(scene, "job", job.pk)).content.decode()
    assert "hx-get" in waiting and "<progress" in waiting
    claimed = job_claim()
    assert claimed is not None
    carry_out(claimed)
    over = client.get(page(scene, "job_live", job.pk))
    assert over.status_code == 286 and "hx-get" not in over.content.decode()
    return Job.objects.get(), over.context["link"].removeprefix("http://testserver")


def whole(scene: Scene, job: Job) -> bytes:
    return (files.job_folder(job.pk) / job.result["name"]).read_bytes()


def test_a_file_comes_whole_or_from_where_it_broke_off(scene: Scene, exported: tuple[Job, str]) -> None:
    job, link = exported
    content = whole(scene, job)
    client = Client()  # nobody is signed in on the machine that fetches it
    answer = client.get(link)
    assert (answer.status_code, b"".join(answer.streaming_content)) == (200, content)
    assert answer["Accept-Ranges"] == "bytes" and answer["ETag"] == f'"{job.result["sha256"]}"'
    assert answer["Content-Length"] == str(len(content)) and "attachment" in answer["Content-Disposition"]
    rest = client.get(link, HTTP_RANGE="bytes=100-", HTTP_IF_RANGE=answer["ETag"])
    assert (rest.status_code, b"".join(rest.streaming_content)) == (206, content[100:])
    assert rest["Content-Range"] == f"bytes 100-{len(content) - 1}/{len(content)}"


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=5-999999", 206, slice(5, None)),
        ("bytes=999999-", 416, None),
        ("bytes=9-5", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=0-1,4-5", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
    ],
)
def test_parts_of_a_file(scene: Scene, exported: tuple[Job, str], asked: str, status: int, part: slice | None) -> None:
    job, link = exported
    answer = Client().get(link, HTTP_RANGE=asked)
    assert answer.status_code == status
    if part is not None:
        assert b"".join(answer.streaming_content) == whole(scene, job)[part]


def test_parts_of_two_files_are_never_joined(scene: Scene, exported: tuple[Job, str]) -> None:
    job, link = exported
    answer = Client().get(link, HTTP_RANGE="bytes=5-", HTTP_IF_RANGE='"another"')
    assert answer.status_code == 200 and b"".join(answer.streaming_content) == whole(scene, job)
    assert Client().get(link, HTTP_IF_NONE_MATCH=f'"{job.result["sha256"]}"').status_code == 304
    assert not b"".join(Client().head(link).streaming_content)


def test_a_link_ends_with_its_day_its_person_and_its_file(
    scene: Scene, exported: tuple[Job, str], monkeypatch: pytest.MonkeyPatch, as_: As
) -> None:
    job, link = exported
    forged = link.replace(link.split("/")[2], signing.dumps([str(job.pk), str(scene.rob.pk)], salt="other"))
    assert Client().get(forged).status_code == 404
    assert Client().get(link + "x").status_code == 404
    with monkeypatch.context() as patch:
        patch.setattr(links, "LIFETIME_SECONDS", timedelta(0).total_seconds() - 1)
        assert Client().get(link).status_code == 404
    Membership.objects.filter(user=scene.rob).update(is_active=False)
    assert Client().get(link).status_code == 404
    Membership.objects.filter(user=scene.rob).update(is_active=True)
    assert Client().get(link).status_code == 200
    as_(scene.rob).post(page(scene, "job_cancel", job.pk))
    assert Client().get(link).status_code == 404


def test_a_refused_export_says_why(scene: Scene, snapshot: Snapshot, as_: As) -> None:
    asked = {"format": "argilla", "container": "parquet"}
    answer = as_(scene.rob).post(page(scene, "snapshot_export", snapshot.pk), asked, follow=True)
    assert "no one shape" in answer.content.decode() and not Job.objects.exists()


def test_the_page_says_what_each_format_carries_and_what_is_in_it(scene: Scene, snapshot: Snapshot, as_: As) -> None:
    text = as_(scene.rita).get(page(scene, "snapshot", snapshot.pk)).content.decode()
    assert "What each format carries" not in text  # a reviewer may not export
    text = as_(scene.rob).get(page(scene, "snapshot", snapshot.pk)).content.decode()
    for said in ("What each format carries", "Argilla", "guideline_version", "Categories", "<meter", "<caption>"):
        assert said in text
    assert "Leaks: No leak found" in text


def test_a_download_is_packed_where_that_is_asked_for(scene: Scene, snapshot: Snapshot, as_: As) -> None:
    url = page(scene, "snapshot_download", snapshot.pk, "train", "openai")
    answer = as_(scene.rob).get(f"{url}?as=jsonl.gz")
    assert answer["Content-Type"] == "application/gzip" and b"".join(answer.streaming_content)[:2] == b"\x1f\x8b"


def test_a_large_download_becomes_a_job(
    scene: Scene, snapshot: Snapshot, as_: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.views.snapshots.ROWS_AT_ONCE", 2)
    answer = as_(scene.rob).get(page(scene, "snapshot_download", snapshot.pk, "train", "openai"))
    assert answer["Location"] == page(scene, "job", Job.objects.get().pk)


def test_leaks_are_looked_at_side_by_side_and_decided(scene: Scene, as_: As) -> None:
    add_demonstration_tasks(scene, NEAR)
    Prompt.objects.filter(project=scene.project).update(split="train")
    Prompt.objects.filter(project=scene.project, messages__0__content=NEAR[1]).update(split="test")
    write_all(scene)
    leaking = snapshot_build(project=scene.project, kind="demonstrations", by=scene.ada)
    client, url = as_(scene.rob), page(scene, "snapshot_leaks", leaking.pk)
    assert "1 prompt in train is held out too" in client.get(page(scene, "snapshot", leaking.pk)).content.decode()
    text = client.get(url).content.decode()
    assert NEAR[0] in text and NEAR[1] in text and "Leave them out of train" in text
    assert client.post(url, {"decision": "accept", "reason": "short"}).status_code == 422
    client.post(url, {"decision": "accept", "reason": "Another time of day is another question."})
    check = LeakCheck.objects.get(snapshot=leaking)
    assert (check.state, check.decided_by) == ("accepted", scene.rob)
    answer = client.post(url, {"decision": "leave_out"})
    made = Snapshot.objects.latest("pk")
    assert answer["Location"] == page(scene, "snapshot", made.pk)
    assert made.counts["train"] == leaking.counts["train"] - 1
    assert as_(scene.rita).post(url, {"decision": "leave_out"}).status_code == 404


def test_two_snapshots_are_compared(scene: Scene, snapshot: Snapshot, as_: As, monkeypatch: pytest.MonkeyPatch) -> None:
    label = snapshot.labels.first()
    assert label is not None
    from annotation.models import Demonstration

    first = Demonstration.objects.filter(project=scene.project).earliest("id")
    demonstration_submit(
        assignment=first.assignment, text="It falls again.", submission_id=uuid4(), started_at=None, active_seconds=1,
        by=first.labeler,
    )  # fmt: skip
    add_demonstration_tasks(scene, ["Name a sea."])
    Prompt.objects.filter(project=scene.project).update(split="train")
    write_all(scene)
    second = snapshot_build(project=scene.project, kind="demonstrations", by=scene.ada)
    found = as_(scene.rita).get(page(scene, "snapshot_difference", second.pk)).context["found"]
    assert [found[name] for name in ("added", "gone", "changed", "same")] == [1, 0, 1, 2]
    assert found["mix"]["labeler"] == [[scene.member(scene.alice).pseudonym, 3, 4]]
    monkeypatch.setattr(differences, "SMALL", 1)
    url = f"{page(scene, 'snapshot_difference', second.pk)}?before={snapshot.pk}"
    job_page = as_(scene.rob).get(url)["Location"]
    claimed = job_claim()
    assert claimed is not None
    carry_out(claimed)
    assert url in as_(scene.rob).get(job_page).content.decode()
    assert as_(scene.rob).get(url).context["found"]["changed"] == 1


def test_the_query_is_said_in_words_before_it_is_frozen(scene: Scene, snapshot: Snapshot, as_: As) -> None:
    alice = scene.member(scene.alice).pseudonym
    asked = {"kind": "demonstrations", "purpose": "train", "ties": "drop", "overlap": "all", "held_out_labelers": alice}
    client = as_(scene.rob)
    text = client.post(page(scene, "snapshot_preview"), asked).content.decode()
    assert "Held-out labelers" in text and alice in text and "<dd>3</dd>" in text
    client.post(page(scene, "snapshot_new"), asked)
    made = Snapshot.objects.latest("pk")
    assert made.counts == {"train": 0, "validation": 0, "test": 0, "held_out_labelers": 3}
    wrong = client.post(page(scene, "snapshot_preview"), {**asked, "labelers": "nobody-here"}).content.decode()
    assert "Nobody in this project has the pseudonym nobody-here" in wrong


def test_an_admin_sees_what_is_where_and_erases_it(
    scene: Scene, snapshot: Snapshot, as_: As, django_capture_on_commit_callbacks: Callable
) -> None:
    url = page(scene, "member_traces", scene.member(scene.alice).pk)
    client = as_(scene.ada)
    assert "first" in client.get(url).content.decode()
    assert client.post(url, {"what": "erase", "why": "no"}).status_code == 422
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(url, {"what": "erase", "why": "They asked to be forgotten."}, follow=True)
    assert "To be built anew" in answer.content.decode()
    assert not files.path_of(snapshot.artifact).exists()
    gone = client.get(page(scene, "snapshot", snapshot.pk)).content.decode()
    assert "This snapshot was erased" in gone and "They asked to be forgotten." in gone
    assert "Write the files" not in gone


def test_a_snapshot_is_erased_by_itself(scene: Scene, snapshot: Snapshot, as_: As) -> None:
    url = page(scene, "snapshot_erase", snapshot.pk)
    as_(scene.ada).post(url, {"why": "no"})
    assert Snapshot.objects.get().erased_at is None
    as_(scene.ada).post(url, {"why": "The licence was withdrawn."})
    assert Snapshot.objects.get().erased_why == "The licence was withdrawn."
    assert as_(scene.rob).post(url, {"why": "The licence was withdrawn."}).status_code == 404
