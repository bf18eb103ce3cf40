"""The loop's page and the launch pages: what can be done next and why not, forms drawn from the core's settings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotation.models import Task, TaskKind, User
from frontend.project_forms.runs import ESSENTIALS, LaunchForm
from frontend.setting_words import LABELS
from tests.factories import ModelFactory, RunFactory
from tests.frontend.scene import Scene, add_prompts, make_scene
from training.models import Run, RunInput, Snapshot, Stage
from training.rlhf.config import CONFIGS, schema
from training.services.snapshots import corpus_add

As = Callable[[User], Client]


def page(scene: Scene, name: str, *args: object) -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, *args])


@pytest.fixture
def corpus(scene: Scene) -> Snapshot:
    return corpus_add(
        project=scene.project, by=scene.ada, name="Tides", texts=[f"The tide rises {n}." for n in range(60)]
    )


def filled(client: Client, url: str, **changes: object) -> dict[str, object]:
    """The launch form as the page shows it, with changes."""
    form = client.get(url).context["form"]
    values = {field.html_name: field.value() for field in form}
    return {name: value for name, value in (values | changes).items() if value is not None and value is not False}


def test_every_setting_of_the_core_is_on_its_launch_form() -> None:
    for stage in CONFIGS:
        form = LaunchForm(stage=stage, choices=[], values={})
        named = {field.html_name.removeprefix("setting-") for field in [*form.essential_fields(), *form.more_fields()]}
        assert named == {item["name"] for item in schema(stage)}, stage
        assert set(ESSENTIALS[stage]) <= named
        assert all(field.help_text for field in form.more_fields())


def test_every_setting_has_a_label_of_its_own() -> None:
    assert {item["name"] for stage in CONFIGS for item in schema(stage)} <= set(LABELS)


def test_the_loop_shows_what_is_possible_and_why_the_rest_is_not(scene: Scene, as_: As) -> None:
    response = as_(scene.ada).get(page(scene, "dashboard"))
    text = response.content.decode()
    assert "No corpus yet" in text and page(scene, "corpus_new") in text
    assert page(scene, "run_new", "pretrain") not in text
    cards = {card.drawn.key: card for card in response.context["cards"]}
    assert cards["demonstrations"].state.waiting == 3 and cards["rankings"].state.waiting == 2
    assert not any(action.possible for action in cards["ppo"].actions)


def test_dpo_and_rloo_stand_beside_ppo_as_baselines(scene: Scene, as_: As) -> None:
    response = as_(scene.ada).get(page(scene, "dashboard"))
    text = response.content.decode()
    assert "Was PPO worth it? DPO learns from the rankings alone" in text
    assert page(scene, "run_new", "dpo") not in text, "without a policy it can't be pressed"
    card = response.context["cards"][-1]
    assert [(str(action.label), action.possible) for action in card.baselines] == [
        ("Train DPO", False),
        ("Run RLOO", False),
    ]
    assert all(action.reason and action.fix_url for action in card.baselines)
    run = RunFactory(project=scene.project, stage="sft", state="succeeded", ended_at=timezone.now())
    ModelFactory(project=scene.project, run=run, source="")
    ModelFactory(project=scene.project, kind="reward_model", name="scorer")
    add_prompts(scene, ["What is a tide?", "Why?"], pool="ppo")
    text = as_(scene.ada).get(page(scene, "loop_live")).content.decode()
    assert f'id="baseline-2" href="{page(scene, "run_new", "rloo")}"' in text
    assert "Was PPO worth it?" not in as_(scene.rob).get(page(scene, "dashboard")).content.decode(), (
        "who can't launch sees none"
    )


def test_with_a_corpus_pretraining_is_the_next_step(scene: Scene, as_: As, corpus: Snapshot) -> None:
    text = as_(scene.ada).get(page(scene, "dashboard")).content.decode()
    assert f'class="button button-primary" id="go-base-1" href="{page(scene, "run_new", "pretrain")}"' in text


def test_a_bare_project_begins_with_a_corpus_and_prompts(db: None, as_: As) -> None:
    bare = make_scene(demonstrations=0, rankings=0)
    text = as_(bare.ada).get(page(bare, "dashboard")).content.decode()
    assert f'class="button button-primary" id="go-corpora-1" href="{page(bare, "corpus_new")}"' in text
    assert f'href="{page(bare, "prompts_paste")}"' in text


def test_researchers_see_the_loop_without_buttons_and_labelers_do_not_see_it(
    scene: Scene, as_: As, corpus: Snapshot
) -> None:
    text = as_(scene.rob).get(page(scene, "dashboard")).content.decode()
    assert page(scene, "run_new", "pretrain") not in text
    for who in (scene.alice, scene.sam):
        for name in ("dashboard", "loop_live"):
            assert as_(who).get(page(scene, name)).status_code == 404
    for who in (scene.alice, scene.rita, scene.rob, scene.sam):
        for stage in CONFIGS:
            assert as_(who).get(page(scene, "run_new", stage)).status_code == 404
            assert as_(who).post(page(scene, "run_new", stage), {}).status_code == 404


def test_the_loop_asks_again_only_while_something_moves(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    assert "hx-trigger" not in client.get(page(scene, "loop_live")).content.decode()
    run = RunFactory(project=scene.project, stage="pretrain", state="queued")
    assert 'hx-trigger="every 2s"' in client.get(page(scene, "loop_live")).content.decode()
    Run.objects.filter(pk=run.pk).update(state="paused")
    assert "hx-trigger" not in client.get(page(scene, "loop_live")).content.decode()


def test_the_same_state_is_answered_without_a_body(scene: Scene, as_: As) -> None:
    client, url = as_(scene.ada), page(scene, "loop_live")
    first = client.get(url)
    again = client.get(url, headers={"if-none-match": first["ETag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    RunFactory(project=scene.project, stage="pretrain", state="queued")
    assert client.get(url, headers={"if-none-match": first["ETag"]}).status_code == 200
    chinese = client.get(url, headers={"if-none-match": first["ETag"], "accept-language": "zh-hans"})
    assert chinese.status_code == 200


def test_the_loop_takes_as_many_queries_with_many_runs(
    scene: Scene, as_: As, django_assert_max_num_queries: Callable
) -> None:
    client = as_(scene.ada)
    RunFactory(project=scene.project, stage="sft")
    ModelFactory(project=scene.project)
    with CaptureQueriesContext(connection) as few:
        client.get(page(scene, "dashboard"))
    RunFactory.create_batch(20, project=scene.project, stage="sft")
    ModelFactory.create_batch(20, project=scene.project)
    with django_assert_max_num_queries(len(few)):
        client.get(page(scene, "dashboard"))


def test_handing_out_makes_a_task_for_each_prompt_that_has_none(scene: Scene, as_: As) -> None:
    add_prompts(scene, ["Something new?", "Something else?"], "sft")
    assert "Hand out 2 prompts" in as_(scene.ada).get(page(scene, "dashboard")).content.decode()
    for who in (scene.alice, scene.rita, scene.rob):
        assert as_(who).post(page(scene, "hand_out")).status_code == 404
    as_(scene.ada).post(page(scene, "hand_out"))
    assert Task.objects.filter(project=scene.project, kind=TaskKind.DEMONSTRATION).count() == 5
    assert "Hand out" not in as_(scene.ada).get(page(scene, "dashboard")).content.decode()


def test_a_launch_makes_the_run_with_what_differs_from_the_defaults(scene: Scene, as_: As, corpus: Snapshot) -> None:
    client, url = as_(scene.ada), page(scene, "run_new", "pretrain")
    form = filled(client, url, **{"setting-layers": 2, "setting-learning_rate": "0.001", "seed": 7, "name": "tiny"})
    response = client.post(url, form)
    run = Run.objects.get()
    assert response["Location"] == page(scene, "run", run.pk)
    assert run.config == {"layers": 2, "learning_rate": 0.001}
    assert (run.stage, run.seed, run.name, run.state, run.created_by) == ("pretrain", 7, "tiny", "queued", scene.ada)
    assert RunInput.objects.get(run=run, name="train").snapshot == corpus


def test_a_setting_out_of_range_is_said_at_its_field_and_changes_nothing(
    scene: Scene, as_: As, corpus: Snapshot
) -> None:
    client, url = as_(scene.ada), page(scene, "run_new", "pretrain")
    response = client.post(url, filled(client, url, **{"setting-learning_rate": "-1"}))
    assert response.status_code == 422
    assert "learning_rate must be above 0, got -1" in str(response.context["form"].errors["setting-learning_rate"])
    assert not Run.objects.exists()


def test_a_setting_that_is_folded_away_is_unfolded_when_it_is_wrong(scene: Scene, as_: As, corpus: Snapshot) -> None:
    client, url = as_(scene.ada), page(scene, "run_new", "pretrain")
    assert "<details open" not in client.get(url).content.decode()
    response = client.post(url, filled(client, url, **{"setting-weight_decay": "9"}))
    assert "<details open" in response.content.decode()


def test_settings_that_do_not_go_together_are_said_in_words(scene: Scene, as_: As, corpus: Snapshot) -> None:
    client, url = as_(scene.ada), page(scene, "run_new", "pretrain")
    response = client.post(url, filled(client, url, **{"setting-hidden_size": 100}))
    assert response.status_code == 422 and "multiple of twice the heads" in response.content.decode()


def test_what_is_missing_is_said_when_launched_all_the_same(scene: Scene, as_: As) -> None:
    client, url = as_(scene.ada), page(scene, "run_new", "sft")
    response = client.post(url, filled(client, url))
    assert response.status_code == 422 and not Run.objects.exists()
    assert "No base model yet. Pretrain one, or register a folder." in response.content.decode()


def test_the_form_begins_with_the_latest_run_of_its_stage(scene: Scene, as_: As) -> None:
    RunFactory(project=scene.project, stage="ppo", config={"kl_coef": 0.11})
    RunFactory(project=scene.project, stage="sft", config={"kl_coef": 0.99})
    client, url = as_(scene.ada), page(scene, "run_new", "ppo")
    assert client.get(url).context["form"]["setting-kl_coef"].value() == 0.11
    default = next(item["default"] for item in schema("ppo") if item["name"] == "kl_coef")
    assert client.get(url + "?defaults").context["form"]["setting-kl_coef"].value() == default


def test_run_again_takes_over_settings_inputs_and_seed(scene: Scene, as_: As, corpus: Snapshot) -> None:
    older = corpus_add(project=scene.project, by=scene.ada, name="Older", texts=["Another text."] * 3)
    run = RunFactory(project=scene.project, stage="pretrain", config={"layers": 9}, seed=5)
    RunInput.objects.create(run=run, name="train", snapshot=older)
    RunFactory(project=scene.project, stage="pretrain", config={"layers": 1})
    form = as_(scene.ada).get(page(scene, "run_new", "pretrain") + f"?from={run.pk}").context["form"]
    assert (form["setting-layers"].value(), form["seed"].value()) == (9, 5)
    assert form["input-train"].value() == str(older.pk)


def test_sampling_begins_with_the_projects_k_and_the_policy_of_the_address(scene: Scene, as_: As) -> None:
    scene.project.responses_per_prompt = 6
    scene.project.save()
    policy = ModelFactory(project=scene.project, run=RunFactory(project=scene.project, stage="ppo", state="queued"))
    form = as_(scene.ada).get(page(scene, "run_new", "sample") + f"?policy={policy.pk}").context["form"]
    assert form["setting-samples_per_prompt"].value() == 6
    assert form["input-policy"].value() == str(policy.pk)


def test_k_is_what_the_form_showed(scene: Scene, as_: As) -> None:
    """Four is the core's default, but not this project's: it must not be left out."""
    scene.project.responses_per_prompt = 6
    scene.project.save()
    ModelFactory(project=scene.project, run=RunFactory(project=scene.project, stage="sft", state="queued"))
    client, url = as_(scene.ada), page(scene, "run_new", "sample")
    response = client.post(url, filled(client, url, **{"setting-samples_per_prompt": 4}))
    assert response.status_code == 302, response.context["form"].errors
    assert Run.objects.get(stage=Stage.SAMPLE).config["samples_per_prompt"] == 4


def test_a_stage_that_does_not_exist_is_not_there(scene: Scene, as_: As) -> None:
    assert as_(scene.ada).get(page(scene, "run_new", "magic")).status_code == 404


def test_the_launch_form_speaks_the_readers_language(scene: Scene, client: Client) -> None:
    """Labels, and the core's own help texts, through the catalog."""
    client.force_login(scene.ada)
    text = client.get(page(scene, "run_new", "ppo"), headers={"accept-language": "zh-CN"}).content.decode()
    assert "折扣" in text and "Discount of later rewards" not in text
    assert "学习率" in text and "Learning rate" not in text
