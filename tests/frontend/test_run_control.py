"""The pages of control: the queue, checkpoints, copies, deletion; what one may see of other projects there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotation.models import User
from tests.factories import ArtifactFactory, ModelFactory, ProjectFactory, RunFactory, UserFactory
from tests.frontend.scene import Scene
from training import files
from training.models import Checkpoint, Run, RunInput
from training.selectors.workers import in_line
from training.services.claims import run_claim
from training.services.snapshots import corpus_add
from training.services.workers import worker_drain, worker_seen

As = Callable[[User], Client]


def page(scene: Scene, name: str, *args: object) -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, *args])


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_the_queue_says_why_each_run_waits(scene: Scene, as_: As) -> None:
    RunFactory(project=scene.project, name="sft-1")
    client = as_(scene.rob)
    shown = text(client, page(scene, "run_queue"))
    assert "stuck" in shown and "No worker listens on the queue “gpu”" in shown
    worker_seen(name="gpu@one:7", queues=["gpu"], slots=1)
    assert "takes it within seconds" in text(client, page(scene, "run_queue"))
    busy = run_claim(queue="gpu", worker="gpu@one:7")
    RunFactory(project=scene.project, name="sft-2")
    shown = text(client, page(scene, "run_queue"))
    assert "is busy" in shown and busy is not None and page(scene, "run", busy.pk) in shown
    worker_drain(node="gpu@one", how="finish", by=scene.ada)
    assert "is drained" in text(client, page(scene, "run_queue"))


def test_stuck_shows_on_the_runs_page_and_on_the_loop(scene: Scene, as_: As) -> None:
    run = RunFactory(project=scene.project, stage="sft", name="sft-1")
    client = as_(scene.ada)
    for address in (page(scene, "run", run.pk), page(scene, "run_live", run.pk), page(scene, "dashboard")):
        shown = text(client, address)
        assert "Stuck." in shown and "No worker listens" in shown and page(scene, "run_queue") in shown
    first = client.get(page(scene, "run_live", run.pk))
    worker_seen(name="gpu@one:7", queues=["gpu"], slots=1)
    again = client.get(page(scene, "run_live", run.pk), headers={"if-none-match": first["ETag"]})
    assert again.status_code == 200 and "takes it within seconds" in again.content.decode()


def test_a_run_of_another_project_is_a_place_in_the_line_and_no_more(scene: Scene, as_: As) -> None:
    other = ProjectFactory(name="Secret plans")
    hidden = RunFactory(project=other, name="sft-hidden", place=1)
    mine = RunFactory(project=scene.project, name="sft-mine", place=2)
    client = as_(scene.ada)
    shown = text(client, page(scene, "run_queue"))
    assert "sft-hidden" not in shown and "Secret plans" not in shown and "A run of another project" in shown
    assert client.post(page(scene, "run_move", hidden.pk), {"to": "bottom"}).status_code == 404
    client.post(page(scene, "run_move", mine.pk), {"to": "top"})
    assert list(in_line("gpu")) == [hidden, mine]  # it does not jump another project's run
    worker_seen(name="gpu@one:7", queues=["gpu"], slots=1)
    run_claim(queue="gpu", worker="gpu@one:7")
    shown = text(client, page(scene, "run_queue"))
    assert "1 run of another project" in shown and "sft-hidden" not in shown
    owner = UserFactory(username="owner", is_superuser=True)
    assert "sft-hidden" in text(as_(owner), page(scene, "run_queue"))


def test_moving_up_down_and_to_the_top(scene: Scene, as_: As) -> None:
    runs = {name: RunFactory(project=scene.project, name=name, place=n) for n, name in enumerate("abc")}
    client = as_(scene.ada)
    shown = text(client, page(scene, "run_queue"))
    assert f'id="top-{runs["c"].pk}"' in shown and f'id="up-{runs["a"].pk}"' not in shown
    client.post(page(scene, "run_move", runs["c"].pk), {"to": "top"})
    assert [run.name for run in in_line("gpu")] == ["c", "a", "b"]
    assert 'id="top-' not in text(as_(scene.rob), page(scene, "run_queue"))  # reads, and moves nothing


def test_priority_and_queue_are_changed_on_the_runs_page(scene: Scene, as_: As) -> None:
    run = RunFactory(project=scene.project, name="sft-1")
    client = as_(scene.ada)
    assert 'id="run-priority"' in text(client, page(scene, "run", run.pk))
    client.post(page(scene, "run_move", run.pk), {"priority": "7", "queue": "gpu4"})
    run.refresh_from_db()
    assert (run.priority, run.queue) == (7, "gpu4")
    answer = client.post(page(scene, "run_move", run.pk), {"priority": "high"}, follow=True)
    assert "whole number" in answer.content.decode()


def checkpoint_of(run: Run, step: int) -> Checkpoint:
    row = Checkpoint(run=run, attempt=1, step=step)
    path = files.checkpoint_path(row)
    path.mkdir(parents=True)
    (path / "state.bin").write_text(str(step))
    sha256 = files.folder_hash(path)
    row.artifact = ArtifactFactory(kind="checkpoint", sha256=sha256, size=5_000_000, storage_key=sha256)
    row.save()
    return row


def test_a_failed_run_goes_on_from_a_chosen_checkpoint(scene: Scene, as_: As) -> None:
    run = RunFactory(project=scene.project, state="failed", ended_at=timezone.now(), attempt=1)
    first, last = checkpoint_of(run, 100), checkpoint_of(run, 200)
    client = as_(scene.ada)
    shown = text(client, page(scene, "run", run.pk))
    assert "Go on from step 100" in shown and "4.8\xa0MB" in shown
    assert "Go on from step" not in text(as_(scene.rob), page(scene, "run", run.pk))
    as_(scene.ada).post(page(scene, "run_checkpoint", run.pk, first.pk))
    run.refresh_from_db()
    assert (run.state, run.step) == ("queued", 100)
    assert Checkpoint.objects.get(pk=last.pk).set_aside
    assert "set aside" in text(client, page(scene, "run", run.pk))


def test_a_cancelled_run_offers_a_copy_that_begins_at_a_checkpoint(scene: Scene, as_: As) -> None:
    model = ModelFactory(project=scene.project)
    run = RunFactory(
        project=scene.project,
        stage="evaluate",
        state="cancelled",
        ended_at=timezone.now(),
        attempt=1,
        numerics={"threads": 1},
    )
    RunInput.objects.create(run=run, name="policy", model=model)
    checkpoint = checkpoint_of(run, 100)
    client = as_(scene.ada)
    assert "New run from step 100" in text(client, page(scene, "run", run.pk))
    answer = client.post(page(scene, "run_checkpoint", run.pk, checkpoint.pk), follow=True)
    copy = Run.objects.get(cloned_from=run)
    assert copy.step == 100 and "Copied from" in answer.content.decode()
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_run_again_with_changes_names_what_differs(scene: Scene, as_: As) -> None:
    parent = RunFactory(project=scene.project, stage="pretrain", name="base-1", seed=1, config={"batch_size": 4})
    corpus = corpus_add(project=scene.project, texts=[f"Line {n} of a small corpus." for n in range(60)], by=scene.ada)
    RunInput.objects.create(run=parent, name="train", snapshot=corpus)
    client = as_(scene.ada)
    address = page(scene, "run_new", "pretrain") + f"?from={parent.pk}"
    form = client.get(address)
    assert "Filled in from" in form.content.decode()
    filled = form.context["form"]
    data = {
        field.html_name: field.value() for field in filled if field.value() is not None and field.value() is not False
    }
    answer = client.post(address, {**data, "seed": 2}, follow=True)
    assert not answer.context.get("form"), answer.context["form"].errors
    copy = Run.objects.exclude(pk=parent.pk).get()
    assert copy.cloned_from == parent
    shown = answer.content.decode()
    assert "What it does otherwise" in shown and "<code>seed</code>" in shown
    assert "<code>batch_size</code></th>" not in shown  # the same in both


def test_deleting_shows_what_goes_and_wants_the_name(scene: Scene, as_: As) -> None:
    run = RunFactory(project=scene.project, name="sft-1", state="failed", ended_at=timezone.now())
    checkpoint_of(run, 100)
    client = as_(scene.ada)
    assert page(scene, "run_delete", run.pk) in text(client, page(scene, "run", run.pk))
    assert "1 checkpoint" in text(client, page(scene, "run_delete", run.pk))
    wrong = client.post(page(scene, "run_delete", run.pk), {"name": "sft"})
    assert wrong.status_code == 422 and "Type the run&#x27;s name" in wrong.content.decode()
    client.post(page(scene, "run_delete", run.pk), {"name": "sft-1"})
    assert not Run.objects.exists()


def test_where_something_forbids_it_there_is_no_button(scene: Scene, as_: As) -> None:
    run = RunFactory(project=scene.project, name="sft-1")
    shown = text(as_(scene.ada), page(scene, "run_delete", run.pk))
    assert "Cancel it first" in shown and "Delete for good" not in shown


def test_the_page_says_what_pausing_and_cancelling_do_to_the_work(scene: Scene, as_: As, settings: Any) -> None:
    settings.RUN_STOP_SECONDS = 45
    run = RunFactory(project=scene.project, state="running", attempt=1, lease_until=timezone.now())
    client = as_(scene.ada)
    assert "there is no checkpoint yet" in text(client, page(scene, "run", run.pk))
    checkpoint_of(run, 100)
    shown = text(client, page(scene, "run", run.pk))
    assert "has 45 seconds" in shown and "drops what was done after step 100" in shown


@pytest.mark.parametrize("name", ["run_queue", "run"])
def test_the_queries_stay_the_same_however_many_wait(
    scene: Scene, as_: As, name: str, django_assert_max_num_queries: Any
) -> None:
    run = RunFactory(project=scene.project)
    RunFactory.create_batch(25, project=scene.project)
    client = as_(scene.ada)
    with django_assert_max_num_queries(40):
        text(client, page(scene, name, *([run.pk] if name == "run" else [])))


def test_the_api_does_the_same(scene: Scene, as_: As) -> None:
    runs = {name: RunFactory(project=scene.project, name=name, place=n) for n, name in enumerate("ab")}
    client = as_(scene.ada)

    def at(name: str, run: Run) -> str:
        return reverse(f"training:{name}", args=[scene.project.slug, run.pk])

    queue = client.get(reverse("training:run_queue", args=[scene.project.slug])).json()
    assert [(row["name"], row["position"], row["why"], row["stuck"]) for row in queue] == [
        ("a", 1, "no_worker", True),
        ("b", 2, "no_worker", True),
    ]
    moved = client.post(at("move", runs["b"]), {"to": "top", "queue": "gpu"}, "application/json")
    assert moved.status_code == 200 and [run.name for run in in_line("gpu")] == ["b", "a"]
    assert client.post(at("move", runs["b"]), {}, "application/json").status_code == 400
    run = RunFactory(project=scene.project, name="c", state="failed", ended_at=timezone.now(), attempt=1)
    checkpoint = checkpoint_of(run, 10)
    [row] = client.get(at("checkpoints", run)).json()
    assert (row["id"], row["step"]) == (checkpoint.pk, 10)
    found = client.get(at("delete", run)).json()
    assert (found["checkpoints"], found["may_go"], found["model"]) == (1, True, None)
    assert client.post(at("delete", run), {"name": "x"}, "application/json").status_code == 400
    went = client.post(at("checkpoints", run), {"checkpoint": checkpoint.pk}, "application/json").json()
    assert (went["state"], went["step"]) == ("queued", 10)
