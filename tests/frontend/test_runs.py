"""Runs: the list, one run's page live and over, curves as JSON and as a table, what may be done to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotation.models import User
from frontend.curves import pictures_of
from frontend.run_pages import thinned
from frontend.run_words import describe, duration_words, seconds_left
from tests.factories import ModelFactory, RunFactory
from tests.frontend.scene import Scene
from training import files
from training.models import ArtifactKind, Attempt, MetricChunk, Run, RunInput, RunLine, RunSample, Stage

As = Callable[[User], Client]


def page(scene: Scene, name: str, *args: object) -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, *args])


@pytest.fixture
def running(scene: Scene) -> Run:
    now = timezone.now()
    run = RunFactory(
        project=scene.project,
        stage="sft",
        name="sft-1",
        state="running",
        attempt=1,
        lease_until=now + timedelta(hours=1),
        started_at=now,
        step=40,
        total_steps=100,
        latest_metrics={"loss/train": 1.234},
        data_report=[{"split": "train", "kept": 90, "filtered": 2, "reasons": {"longer than the context": 2}}],
        created_by=scene.ada,
    )
    Attempt.objects.create(run=run, number=1, worker="w", started_at=now - timedelta(seconds=60))
    steps = list(range(1, 41))
    MetricChunk.objects.create(
        run=run,
        attempt=1,
        first_step=1,
        last_step=40,
        columns={
            "step": steps,
            "loss/train": [3.0 - step / 40 for step in steps],
            "loss/validation": [2.5 if step % 20 == 0 else None for step in steps],
        },
    )
    for step in (10, 40):
        RunSample.objects.create(
            run=run,
            attempt=1,
            step=step,
            index=0,
            prompt=[{"role": "user", "content": "Why?"}],
            response=f"<b>Because</b> of step {step}.",
        )
    RunLine.objects.create(run=run, attempt=1, text="It has begun.")
    return run


def finish(run: Run, state: str = "succeeded", **values: object) -> None:
    Run.objects.filter(pk=run.pk).update(state=state, ended_at=timezone.now(), lease_until=None, **values)


def test_the_page_tells_what_it_does_and_how_it_is_doing(scene: Scene, as_: As, running: Run) -> None:
    RunInput.objects.create(run=running, name="policy", model=ModelFactory(project=scene.project, name="base-7"))
    text = as_(scene.rob).get(page(scene, "run", running.pk)).content.decode()
    assert "base-7 is fine-tuned on the demonstrations" in text
    assert "40 of 100 steps" in text and re.search(r"about \d+ (seconds|minutes?) left", text)
    assert "90 rows used, 2 left out" in text and "longer than the context: 2" in text
    assert "It has begun." in text and "1.23" in text
    assert "&lt;b&gt;Because" in text and "<b>Because" not in text


def test_the_live_part_asks_again_until_the_run_is_over(scene: Scene, as_: As, running: Run) -> None:
    client, url = as_(scene.ada), page(scene, "run_live", running.pk)
    first = client.get(url)
    assert 'hx-trigger="every 2s"' in first.content.decode()
    assert client.get(url, headers={"if-none-match": first["ETag"]}).status_code == 304
    Run.objects.filter(pk=running.pk).update(step=41)
    assert client.get(url, headers={"if-none-match": first["ETag"]}).status_code == 200
    finish(running)
    over = client.get(url, headers={"if-none-match": first["ETag"]})
    assert over.status_code == 200 and "hx-trigger" not in over.content.decode()
    samples = client.get(page(scene, "run_samples", running.pk)).content.decode()
    assert "hx-trigger" not in samples


def test_samples_of_a_step_stand_beside_the_first(scene: Scene, as_: As, running: Run) -> None:
    client = as_(scene.ada)
    latest = client.get(page(scene, "run_samples", running.pk)).content.decode()
    assert "of step 40" in latest and "of step 10" in latest and "every 4s" in latest
    chosen = client.get(page(scene, "run_samples", running.pk) + "?step=10").content.decode()
    assert "of step 10" in chosen and "of step 40" not in chosen and "every 4s" not in chosen
    assert client.get(page(scene, "run_samples", running.pk) + "?step=x").status_code == 200


def test_answers_of_a_sampling_run_are_one_list_without_steps(scene: Scene, as_: As) -> None:
    run = RunFactory(project=scene.project, stage="sample", name="answers-1", created_by=scene.ada)
    Attempt.objects.create(run=run, number=1, worker="w")
    for step in (1, 2):
        RunSample.objects.create(
            run=run, attempt=1, step=step, index=0, prompt=[], response=f"From batch {step}.", score=None
        )
    text = as_(scene.ada).get(page(scene, "run_samples", run.pk)).content.decode()
    assert text.index("From batch 1.") < text.index("From batch 2.")
    assert text.count("The first of its answers") == 2
    assert "At step" not in text and "Steps at which" not in text


def test_a_later_attempts_sample_takes_the_place_of_the_earlier(scene: Scene, as_: As, running: Run) -> None:
    Attempt.objects.create(run=running, number=2, worker="w", resumed_from=30, versions={"code": "2"})
    RunSample.objects.create(run=running, attempt=2, step=40, index=0, prompt=[], response="Second attempt.")
    text = as_(scene.ada).get(page(scene, "run_samples", running.pk)).content.decode()
    assert "Second attempt." in text and "of step 40." not in text


def test_curves_are_grouped_and_sparse_series_keep_their_gaps(scene: Scene, as_: As, running: Run) -> None:
    client, url = as_(scene.rob), page(scene, "run_metrics", running.pk)
    response = client.get(url)
    answer = json.loads(response.content)
    assert answer["over"] is False
    [loss] = answer["pictures"]
    assert loss["title"] == "Loss" and loss["steps"][-1] == 40
    values = {series["name"]: series["values"] for series in loss["series"]}
    assert values["loss/train"][-1] == 2.0
    assert [value for value in values["loss/validation"] if value is not None] == [2.5, 2.5]
    assert client.get(url, headers={"if-none-match": response["ETag"]}).status_code == 304
    finish(running)
    assert json.loads(client.get(url).content)["over"] is True


def test_the_figures_are_also_a_table(scene: Scene, as_: As, running: Run) -> None:
    text = as_(scene.rob).get(page(scene, "run_figures", running.pk)).content.decode()
    assert "loss/train" in text and "2.975<" in text


def test_pictures_hold_only_the_steps_that_have_a_value_and_no_metric_is_lost() -> None:
    series = {
        "step": [1, 2, 3],
        "perplexity/validation": [None, 4.0, None],
        "odd/metric": [1.0, None, None],
        "lr": [None] * 3,
    }
    pictures = pictures_of(series)
    assert [(picture["title"], picture["steps"]) for picture in pictures] == [("Perplexity", [2]), ("odd/metric", [1])]


def test_a_cancelled_run_says_so_and_asks_no_more(scene: Scene, as_: As, running: Run) -> None:
    as_(scene.ada).post(page(scene, "run_action", running.pk, "cancel"))
    running.refresh_from_db()
    assert running.state == "cancelling"
    text = as_(scene.ada).get(page(scene, "run", running.pk)).content.decode()
    assert "being stopped" in text and "do-cancel" not in text


@pytest.mark.parametrize(
    ("state", "action", "after"),
    [
        ("queued", "cancel", "cancelled"),
        ("queued", "pause", "paused"),
        ("running", "pause", "pausing"),
        ("paused", "resume", "queued"),
        ("failed", "retry", "queued"),
        ("succeeded", "retry", "succeeded"),
        ("succeeded", "cancel", "succeeded"),
        ("cancelled", "resume", "cancelled"),
    ],
)
def test_what_may_be_done_follows_the_lifecycle(scene: Scene, as_: As, state: str, action: str, after: str) -> None:
    now = timezone.now()
    over = state in {"succeeded", "failed", "cancelled"}
    run = RunFactory(
        project=scene.project,
        state=state,
        attempt=1,
        ended_at=now if over else None,
        lease_until=now + timedelta(hours=1) if state == "running" else None,
    )
    client = as_(scene.ada)
    offered = f'id="do-{action}"' in client.get(page(scene, "run", run.pk)).content.decode()
    assert offered == (after != state)
    response = client.post(page(scene, "run_action", run.pk, action), follow=True)
    run.refresh_from_db()
    assert run.state == after
    assert ("notice-error" in response.content.decode()) == (after == state)


def test_only_admins_act_and_only_in_their_project(scene: Scene, as_: As, running: Run) -> None:
    for who in (scene.alice, scene.rita, scene.rob, scene.sam):
        assert as_(who).post(page(scene, "run_action", running.pk, "cancel")).status_code == 404
    stranger = RunFactory(state="queued")
    assert as_(scene.ada).post(page(scene, "run_action", stranger.pk, "cancel")).status_code == 404
    assert as_(scene.ada).get(page(scene, "run", stranger.pk)).status_code == 404
    running.refresh_from_db()
    stranger.refresh_from_db()
    assert (running.state, stranger.state) == ("running", "queued")


def test_reading_is_for_those_who_may(scene: Scene, as_: As, running: Run) -> None:
    names = ["run", "run_live", "run_samples", "run_metrics", "run_figures"]
    for who, status in ((scene.alice, 404), (scene.sam, 404), (scene.rita, 200), (scene.rob, 200), (scene.ada, 200)):
        assert {as_(who).get(page(scene, name, running.pk)).status_code for name in names} == {status}
        assert as_(who).get(page(scene, "runs")).status_code == status
    assert as_(scene.rob).get(page(scene, "run", running.pk)).content.decode().count("do-cancel") == 0


def test_a_failed_run_shows_the_reason_and_the_way_on(scene: Scene, as_: As, running: Run) -> None:
    finish(running, "failed", message="Out of memory. Lower micro_batch_tokens.")
    text = as_(scene.ada).get(page(scene, "run", running.pk)).content.decode()
    assert "Lower micro_batch_tokens" in text and "do-retry" in text
    assert page(scene, "run_new", "sft") + f"?from={running.pk}" in text


def test_parents_children_and_the_model_it_made(scene: Scene, as_: As, running: Run) -> None:
    parent = RunFactory(project=scene.project, stage="pretrain", name="the-parent")
    base = ModelFactory(project=scene.project, run=parent)
    RunInput.objects.create(run=running, name="policy", model=base)
    finish(running)
    made = ModelFactory(project=scene.project, run=running, name="the-model")
    child = RunFactory(project=scene.project, stage="ppo", name="the-child")
    RunInput.objects.create(run=child, name="policy", model=made)
    text = as_(scene.rob).get(page(scene, "run", running.pk)).content.decode()
    for found in (page(scene, "run", parent.pk), page(scene, "run", child.pk), page(scene, "model", made.pk)):
        assert f'href="{found}"' in text


def test_the_list_filters_pages_and_stays_flat(scene: Scene, as_: As, django_assert_num_queries: Callable) -> None:
    client, url = as_(scene.rob), page(scene, "runs")
    assert "No runs yet" in client.get(url).content.decode()
    RunFactory(project=scene.project, stage="ppo", state="queued", name="waits", created_by=scene.ada)
    with CaptureQueriesContext(connection) as few:
        assert "every 3s" in client.get(url).content.decode()
    RunFactory.create_batch(60, project=scene.project, stage="sft", state="paused", created_by=scene.ada)
    with django_assert_num_queries(len(few)):
        response = client.get(url)
    assert len(response.context["page"].rows) == 50 and response.context["page"].older
    assert "waits" in client.get(url, {"stage": "ppo"}).content.decode()
    assert "waits" not in client.get(url, {"state": "paused"}).content.decode()
    assert "every 3s" not in client.get(url, {"state": "paused"}).content.decode()


def test_every_stage_is_described_without_a_missing_word() -> None:
    inputs = {name: name.upper() for name in ("train", "prompts", "policy", "reward_model", "reference")}
    for stage in Stage.values:
        sentences = describe(Run(stage=stage, config={}), inputs)
        assert sentences and not any("%(" in sentence for sentence in sentences)
    [first, *_rest] = describe(Run(stage="ppo", config={"total_updates": 12}), inputs)
    assert "each of 12 updates POLICY" in first and "REWARD_MODEL scores" in first


def test_settings_of_another_version_are_said_to_be_so() -> None:
    [sentence] = describe(Run(stage="sft", config={"warp": 9}), {})
    assert "warp" in sentence


def test_time_left_goes_by_this_attempts_speed() -> None:
    now = timezone.now()
    run = Run(state="running", step=60, total_steps=100)
    # 20 steps since the checkpoint at 40, in 40 seconds: 40 more take 80.
    assert seconds_left(run, now - timedelta(seconds=40), 40, now) == pytest.approx(80)
    assert seconds_left(run, now, 60, now) is None
    assert seconds_left(Run(state="queued", step=60, total_steps=100), now, 0, now) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.6, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7140, "119 minutes"), (7260, "2 h 1 min")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_thinned_steps_keep_both_ends() -> None:
    steps = thinned(list(range(0, 1000, 5)), 40)
    assert len(steps) == 40 and steps[0] == 0 and steps[-1] == 995 and steps == sorted(set(steps))


def test_a_finished_evaluation_offers_its_whole_report(scene: Scene, as_: As) -> None:
    run = RunFactory(project=scene.project, stage="evaluate", state="succeeded", ended_at=timezone.now())
    aside = files.fresh_folder() / "report.json"
    aside.write_text('{"rankings": [{"id": "one", "scores": [0.5, -0.5]}]}')
    run.output = files.publish(path=aside, kind=ArtifactKind.REPORT, sha256=files.file_hash(aside))
    run.save()
    client = as_(scene.rob)
    assert page(scene, "run_report", run.id) in client.get(page(scene, "run", run.id)).content.decode()
    response = client.get(page(scene, "run_report", run.id))
    assert json.loads(b"".join(response.streaming_content))["rankings"][0]["scores"] == [0.5, -0.5]  # type: ignore[attr-defined]
    assert 'filename="report-' in response["Content-Disposition"]
    assert as_(scene.sam).get(page(scene, "run_report", run.id)).status_code == 404


def test_a_run_without_a_report_says_so(scene: Scene, as_: As, running: Run) -> None:
    client = as_(scene.rob)
    assert page(scene, "run_report", running.id) not in client.get(page(scene, "run", running.id)).content.decode()
    response = client.get(page(scene, "run_report", running.id), follow=True)
    assert "This run has no report" in response.content.decode()
