"""Snapshots: building with a preview, the page, downloads in each format, a corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotation.models import Prompt, User
from annotation.services.labels import RankedItem, demonstration_submit, ranking_submit
from annotation.services.queue import assignment_next
from frontend.snapshot_page import query_words
from tests.frontend.scene import Scene
from training.models import Snapshot

As = Callable[[User], Client]
KINDS = {"kind": "demonstrations", "purpose": "train", "ties": "drop", "overlap": "all"}


def page(scene: Scene, name: str, *args: object) -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, *args])


@pytest.fixture
def labeled(scene: Scene) -> Scene:
    """Alice wrote three demonstrations and ranked two groups, all in the train split."""
    Prompt.objects.filter(project=scene.project).update(split="train")
    member = scene.member(scene.alice)
    stamp = {"started_at": timezone.now(), "active_seconds": 5, "by": member}
    while assignment := assignment_next(labeler=member, kind="demonstration"):
        demonstration_submit(assignment=assignment, text="The tide rises.", submission_id=uuid4(), **stamp)
    while assignment := assignment_next(labeler=member, kind="ranking"):
        items = [
            RankedItem(response_id=response.pk, rank=place, rating=8 - place, flags=[])
            for place, response in enumerate(assignment.task.responses.all(), start=1)
        ]
        ranking_submit(assignment=assignment, items=items, submission_id=uuid4(), **stamp)
    return scene


def built(scene: Scene, client: Client, **changes: object) -> Snapshot:
    response = client.post(page(scene, "snapshot_new"), KINDS | changes)
    assert response.status_code == 302, response.context["form"].errors
    return Snapshot.objects.latest("created_at")


def lines(client: Client, url: str) -> list[dict[str, object]]:
    response = client.get(url)
    assert response.status_code == 200 and "attachment" in response["Content-Disposition"]
    assert response.streaming
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]


def test_a_snapshot_is_built_and_shown(labeled: Scene, as_: As) -> None:
    client = as_(labeled.rob)
    snapshot = built(labeled, client, name="first")
    assert snapshot.counts["train"] == 3 and snapshot.name == "first" and snapshot.created_by == labeled.rob
    text = client.get(page(labeled, "snapshot", snapshot.pk)).content.decode()
    assert snapshot.sha256 in text and snapshot.manifest["files"]["train.jsonl"]["sha256"] in text


def test_the_preview_counts_what_would_be_frozen(labeled: Scene, as_: As) -> None:
    client = as_(labeled.rob)
    text = client.post(page(labeled, "snapshot_preview"), KINDS).content.decode()
    assert "<dd>3</dd>" in text and "The tide rises." in text
    narrowed = client.post(page(labeled, "snapshot_preview"), KINDS | {"origins": ["imported"]}).content.decode()
    assert "No row matches" in narrowed
    without_scripts = client.post(page(labeled, "snapshot_new"), KINDS | {"count": "1"})
    assert without_scripts.status_code == 200 and "<dd>3</dd>" in without_scripts.content.decode()
    assert not Snapshot.objects.exists()


def test_the_same_choices_give_the_same_snapshot(labeled: Scene, as_: As) -> None:
    client = as_(labeled.rob)
    first = built(labeled, client, pools=["sft", "rm"])
    assert built(labeled, client, pools=["rm", "sft"]).pk == first.pk


def test_nothing_to_freeze_is_said_in_words(scene: Scene, as_: As) -> None:
    response = as_(scene.rob).post(page(scene, "snapshot_new"), KINDS)
    assert response.status_code == 422 and "No demonstration matches" in response.content.decode()
    assert not Snapshot.objects.exists()


def test_demonstrations_download_as_prompt_and_completion(labeled: Scene, as_: As) -> None:
    client = as_(labeled.rob)
    snapshot = built(labeled, client)
    rows = lines(client, page(labeled, "snapshot_download", snapshot.pk, "train", "prompt-completion"))
    assert len(rows) == 3 and set(rows[0]) == {"prompt", "completion"}
    assert rows[0]["completion"] == [{"role": "assistant", "content": "The tide rises."}]


def test_rankings_download_as_they_are_and_as_pairs(labeled: Scene, as_: As) -> None:
    client = as_(labeled.rob)
    snapshot = built(labeled, client, kind="rankings")
    canonical = lines(client, page(labeled, "snapshot_download", snapshot.pk, "train", "canonical"))
    assert len(canonical) == 2 and canonical[0]["labeler"] == labeled.member(labeled.alice).pseudonym
    assert "alice" not in json.dumps(canonical)
    pairs = lines(client, page(labeled, "snapshot_download", snapshot.pk, "train", "preference"))
    assert len(pairs) == 2 * 6 and set(pairs[0]) == {"prompt", "chosen", "rejected"}


def test_a_download_that_does_not_exist_says_what_there_is(labeled: Scene, as_: As) -> None:
    client = as_(labeled.rob)
    snapshot = built(labeled, client)
    for split, form in (("train", "preference"), ("moon", "canonical")):
        response = client.get(page(labeled, "snapshot_download", snapshot.pk, split, form), follow=True)
        assert "notice-error" in response.content.decode()


def test_who_may_read_build_and_download(labeled: Scene, as_: As) -> None:
    snapshot = built(labeled, as_(labeled.rob))
    download = page(labeled, "snapshot_download", snapshot.pk, "train", "canonical")
    seen = page(labeled, "snapshot", snapshot.pk)
    for who, read, build in (
        (labeled.alice, 404, 404),
        (labeled.rita, 200, 404),
        (labeled.rob, 200, 200),
        (labeled.ada, 200, 200),
        (labeled.sam, 404, 404),
    ):
        client = as_(who)
        assert client.get(page(labeled, "snapshots")).status_code == read
        assert client.get(seen).status_code == read
        assert client.get(download).status_code == build
        assert client.get(page(labeled, "snapshot_new")).status_code == build
        assert client.post(page(labeled, "snapshot_preview"), KINDS).status_code == build


def test_a_snapshot_of_another_project_is_not_there(labeled: Scene, as_: As) -> None:
    from annotation.services.accounts import project_create

    snapshot = built(labeled, as_(labeled.rob))
    project_create(name="Other", by=labeled.ada, slug="other")
    assert as_(labeled.ada).get(reverse("frontend:snapshot", args=["other", snapshot.pk])).status_code == 404


def test_a_corpus_is_uploaded_or_pasted(scene: Scene, as_: As) -> None:
    client, url = as_(scene.ada), page(scene, "corpus_new")
    text = "\n\n".join(f"The tide rises, for the {n}th time." for n in range(40))
    client.post(url, {"name": "file", "file": SimpleUploadedFile("tides.txt", text.encode())})
    client.post(url, {"name": "pasted", "text": "\r\n\r\n".join(f"Wind {n} blows." for n in range(40))})
    made = {snapshot.name: sum(snapshot.counts.values()) for snapshot in Snapshot.objects.filter(kind="corpus")}
    assert made == {"file": 40, "pasted": 40}


def test_an_empty_or_unreadable_corpus_is_refused(scene: Scene, as_: As) -> None:
    client, url = as_(scene.ada), page(scene, "corpus_new")
    for form in (
        {"name": "nothing"},
        {"name": "blank", "text": "  \n "},
        {"name": "bytes", "file": SimpleUploadedFile("x.txt", b"\xff\xfe\x00")},
    ):
        assert client.post(url, form).status_code == 422
    assert not Snapshot.objects.exists()
    for who in (scene.alice, scene.rita, scene.rob, scene.sam):
        assert as_(who).post(url, {"name": "x", "text": "Some text."}).status_code == 404


def test_the_list_stays_flat(labeled: Scene, as_: As, django_assert_num_queries: Callable) -> None:
    client = as_(labeled.rob)
    first = built(labeled, client)
    with CaptureQueriesContext(connection) as few:
        client.get(page(labeled, "snapshots"))
    for number in range(20):
        Snapshot.objects.create(
            project=labeled.project,
            kind="prompts",
            name=f"s{number}",
            manifest={},
            sha256=f"{number:064x}",
            artifact=first.artifact,
            created_by=labeled.rob,
        )
    with django_assert_num_queries(len(few)):
        assert len(client.get(page(labeled, "snapshots")).context["page"].rows) == 21


def test_a_snapshots_page_tells_only_the_filters_that_restricted_something() -> None:
    query = {"pools": ["rm", "sft"], "splits": [], "since": None, "extras": False, "ties": "half", "most": 0}
    assert query_words(query) == [
        ("Pools", "Rankings (reward model), Demonstrations (SFT)"),
        ("Ties in rankings", "each of two tied answers wins half the time"),
    ]
    assert query_words({"validation_percent": 0}) == [("Set aside for validation (%)", "0")]
