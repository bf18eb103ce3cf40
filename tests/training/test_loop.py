"""The dashboard's buttons: what is missing is said in words, what is there is frozen, a run names what it reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import current_app
from django.utils import timezone
from kombu.exceptions import OperationalError

from annotation.models import Membership, Project, Response, Task
from tests.factories import ModelFactory, PromptFactory, RankingTaskFactory, RunFactory, lease
from tests.training.labels import demonstrations, rank
from training import files
from training.errors import RunError
from training.models import Model, Round, Run, RunInput, Snapshot
from training.selectors.lineage import ancestry, children_of, labels_behind, models_shaped_by
from training.selectors.loop import loop_state
from training.services.claims import Fence, run_claim
from training.services.loop import input_choices, launch, next_steps
from training.services.publishing import run_succeed
from training.services.runs import run_create
from training.services.snapshots import snapshot_build


def made(project: Project, stage: str, name: str, **values: Any) -> Model:
    """A model as a run of this stage would have left it."""
    run = RunFactory(project=project, stage=stage, name=name, state="succeeded", ended_at=timezone.now())
    kind = "reward_model" if stage == "reward" else "policy"
    return ModelFactory(project=project, kind=kind, name=name, run=run, source="", **values)


def rankings(project: Project, labeler: Membership, number: int, **values: Any) -> list[Any]:
    found = []
    for _ in range(number):
        RankingTaskFactory(prompt=PromptFactory(project=project, pool="rm", **values), answers=3)
        found.append(rank(lease(labeler, "ranking"), lambda response: len(response.text)))
    return found


def steps(project: Project) -> dict[str, str]:
    return {step.stage: step.reason for step in next_steps(project)}


def test_an_empty_project_says_what_to_do_first(project: Project) -> None:
    assert steps(project) == {
        "pretrain": "No corpus yet. Upload a text to pretrain on.",
        "sft": "No base model yet. Pretrain one, or register a folder.",
        "sample": "No policy yet. Train SFT first.",
        "reward": "No base model yet. Pretrain one, or register a folder.",
        "ppo": "No policy yet. Train SFT first.",
        "dpo": "No policy yet. Train SFT first.",
        "rloo": "No policy yet. Train SFT first.",
    }
    assert [step.fix for step in next_steps(project)] == ["corpus_new", "models", "sft", "models", "sft", "sft", "sft"]


def test_too_few_labels_are_counted_in_words(project: Project, alice: Membership) -> None:
    made(project, "pretrain", "base-1")
    assert steps(project)["sft"] == "No demonstrations yet: 0 of at least 8. Start labeling."
    demonstrations(project, alice, 3)
    demonstrations(project, alice, 2, split="test")  # held out, so they do not count
    assert steps(project)["sft"] == "Too few demonstrations yet: 3 of at least 8. Start labeling."
    assert steps(project)["reward"] == "No rankings yet: 0 of at least 8. Start labeling."
    demonstrations(project, alice, 5)
    assert steps(project)["sft"] == ""


def test_every_launch_refuses_in_the_same_words(project: Project, ada: Membership) -> None:
    for step in next_steps(project):
        with pytest.raises(RunError, match=step.reason[:20]):
            launch(project=project, stage=step.stage, by=ada)
    assert not Run.objects.exists() and not Snapshot.objects.exists()


def test_a_bad_setting_freezes_nothing(project: Project, ada: Membership, alice: Membership) -> None:
    made(project, "pretrain", "base-1")
    demonstrations(project, alice, 8)
    for config in ({"learning_rate": -1}, {"learning_rat": 1}, {"batch_size": 1.5}, {"epochs": float("nan")}):
        with pytest.raises(RunError, match="The settings can't be used"):
            launch(project=project, stage="sft", by=ada, config=config)
    assert not Snapshot.objects.exists() and not Run.objects.filter(stage="sft").exists()


def test_sft_takes_all_demonstrations_and_the_newest_base(project: Project, ada: Membership, alice: Membership) -> None:
    made(project, "pretrain", "base-1")
    newest = made(project, "pretrain", "base-2")
    made(project, "sft", "sft-0")
    demonstrations(project, alice, 8)
    run = launch(project=project, stage="sft", by=ada, config={"epochs": 1}, seed=3)
    assert (run.name, run.state, run.seed, run.created_by) == ("sft-1", "queued", 3, ada.user)
    inputs = {item.name: item for item in run.inputs.all()}
    assert inputs["policy"].model == newest
    assert inputs["train"].snapshot is not None and inputs["train"].snapshot.counts["train"] == 8
    assert launch(project=project, stage="sft", by=ada).inputs.get(name="train").snapshot == inputs["train"].snapshot


def test_a_reward_model_trains_on_the_union_of_rounds_and_centres_at_demonstrations(
    project: Project, ada: Membership, alice: Membership
) -> None:
    sft = made(project, "sft", "sft-1")
    last = Round.objects.create(project=project, number=4, policy=sft)
    rankings(project, alice, 8)
    demonstrations(project, alice, 2)
    run = launch(project=project, stage="reward", by=ada)
    inputs = {item.name: item.snapshot or item.model for item in run.inputs.all()}
    assert set(inputs) == {"train", "policy", "demonstrations"}
    assert (inputs["policy"], run.round) == (sft, last)


def test_ppo_names_policy_reference_and_reward_model(project: Project, ada: Membership) -> None:
    sft = made(project, "sft", "sft-1")
    reward = made(project, "reward", "reward-1")
    PromptFactory.create_batch(3, project=project, pool="ppo")
    PromptFactory(project=project, pool="ppo", split="validation")
    first = launch(project=project, stage="ppo", by=ada)
    inputs = {item.name: item.snapshot or item.model for item in first.inputs.all()}
    assert (inputs["policy"], inputs["reference"], inputs["reward_model"]) == (sft, sft, reward)
    assert inputs["train"].counts == {"train": 3, "validation": 1, "test": 0}
    # A second turn from the PPO policy is held to the same reference.
    ppo = ModelFactory(project=project, name="ppo-1", run=first, source="")
    again = launch(project=project, stage="ppo", by=ada, inputs={"policy": ppo})
    assert again.inputs.get(name="reference").model == sft


def test_dpo_learns_from_the_rankings_of_all_rounds_and_stays_close_to_its_start(
    project: Project, ada: Membership, alice: Membership
) -> None:
    sft = made(project, "sft", "sft-1")
    assert steps(project)["dpo"] == "No rankings yet: 0 of at least 8. Start labeling."
    last = Round.objects.create(project=project, number=4, policy=sft)
    rankings(project, alice, 8)
    assert steps(project)["dpo"] == ""
    run = launch(project=project, stage="dpo", by=ada, config={"kl_coef": 0.2})
    inputs = {item.name: item.snapshot or item.model for item in run.inputs.all()}
    assert set(inputs) == {"train", "policy", "reference"}
    assert (inputs["policy"], inputs["reference"], run.round, run.name) == (sft, sft, last, "dpo-1")
    assert inputs["train"].counts["train"] == 8
    # A policy that DPO made is held to what DPO held it to, and answers like any other.
    dpo = ModelFactory(project=project, name="dpo-1", run=run, source="")
    again = launch(project=project, stage="dpo", by=ada, inputs={"policy": dpo})
    assert again.inputs.get(name="reference").model == sft
    PromptFactory(project=project, pool="rm")
    assert launch(project=project, stage="sample", by=ada).inputs.get(name="policy").model == dpo


def test_rloo_reads_what_ppo_reads(project: Project, ada: Membership) -> None:
    sft, reward = made(project, "sft", "sft-1"), made(project, "reward", "reward-1")
    PromptFactory.create_batch(3, project=project, pool="ppo")
    runs = [launch(project=project, stage=stage, by=ada) for stage in ("ppo", "rloo")]
    read = [{item.name: item.snapshot or item.model for item in run.inputs.all()} for run in runs]
    assert read[0] == read[1]
    assert (read[1]["policy"], read[1]["reference"], read[1]["reward_model"]) == (sft, sft, reward)
    assert loop_state(project).ppo.run == runs[1], "the newest of the stages that end in a policy"


def test_an_evaluation_takes_two_policies_to_compare(project: Project, ada: Membership) -> None:
    ppo, dpo = made(project, "ppo", "ppo-1"), made(project, "dpo", "dpo-1")
    reward = made(project, "reward", "reward-1")
    PromptFactory(project=project, pool="eval")
    prompts = snapshot_build(project=project, kind="prompts", by=ada)
    inputs = {"policy": ppo, "opponent": dpo, "reward_model": reward, "prompts": prompts}
    run = launch(project=project, stage="evaluate", by=ada, inputs=inputs)
    assert {item.name: item.snapshot or item.model for item in run.inputs.all()} == inputs
    assert children_of(dpo.run) == [run]


def test_ptx_brings_the_corpus(project: Project, ada: Membership, corpus: Snapshot) -> None:
    made(project, "sft", "sft-1")
    made(project, "reward", "reward-1")
    PromptFactory(project=project, pool="ppo")
    run = launch(project=project, stage="ppo", by=ada, config={"ptx_coef": 1.0})
    assert run.inputs.get(name="pretraining").snapshot == corpus


def test_sampling_opens_a_round_and_takes_what_is_not_answered(project: Project, ada: Membership) -> None:
    sft = made(project, "sft", "sft-1")
    prompts = PromptFactory.create_batch(5, project=project, pool="rm")
    run = launch(project=project, stage="sample", by=ada, prompts=3)
    assert run.config == {"samples_per_prompt": project.responses_per_prompt}
    assert (run.round.number, run.round.policy, run.round.sampling_run) == (1, sft, run)
    assert run.inputs.get(name="prompts").snapshot.counts["train"] == 3
    Response.objects.create(
        project=project, prompt=prompts[0], text="x", content_hash="x", origin="model", model=sft, run=run
    )
    rest = launch(project=project, stage="sample", by=ada, make_tasks=False)
    assert rest.inputs.get(name="prompts").snapshot.counts["train"] == 4
    assert (rest.round, rest.then) == (None, {})


def test_a_policy_that_has_answered_everything_says_so(project: Project, ada: Membership) -> None:
    sft = made(project, "sft", "sft-1")
    prompt = PromptFactory(project=project, pool="rm")
    Response.objects.create(project=project, prompt=prompt, text="x", content_hash="x", origin="model", model=sft)
    with pytest.raises(RunError, match="sft-1 has answered every prompt"):
        launch(project=project, stage="sample", by=ada)
    assert not Snapshot.objects.exists()


def test_the_choices_are_what_there_is(project: Project, ada: Membership, corpus: Snapshot) -> None:
    sft, reward = made(project, "sft", "sft-1"), made(project, "reward", "reward-1")
    choices = {choice.name: choice for choice in input_choices(project, "ppo")}
    assert list(choices) == ["train", "policy", "reference", "reward_model", "pretraining"]
    assert (choices["reference"].default, choices["reward_model"].default) == (sft, reward)
    assert (choices["train"].fresh, choices["train"].default) == (True, None)
    assert (choices["pretraining"].required, choices["pretraining"].options) == (False, [corpus])


# --- What a run may read --------------------------------------------------------------------------


def test_inputs_of_another_project_or_kind_are_refused(
    project: Project, ada: Membership, alice: Membership, corpus: Snapshot
) -> None:
    def create(**inputs: Any) -> None:
        run_create(project=project, stage="sft", config={}, inputs=inputs, by=ada)

    base = made(project, "pretrain", "base-1")
    with pytest.raises(RunError, match="needs the input 'train'"):
        create(policy=base)
    with pytest.raises(RunError, match="must be a snapshot of demonstrations; corpus-1 is not"):
        create(train=corpus, policy=base)
    demonstrations(project, alice, 1)
    train = snapshot_build(project=project, kind="demonstrations", by=ada)
    with pytest.raises(RunError, match="must be a policy; r is not"):
        create(train=train, policy=made(project, "reward", "r"))
    with pytest.raises(RunError, match="another project"):
        create(train=train, policy=ModelFactory())
    with pytest.raises(RunError, match="has no input 'reward_model'"):
        create(train=train, policy=base, reward_model=base)


def test_labels_for_evaluation_never_train(project: Project, ada: Membership, alice: Membership) -> None:
    task = RankingTaskFactory(prompt=PromptFactory(project=project, pool="rm"), answers=3)
    Task.objects.filter(pk=task.pk).update(purpose="eval")
    rank(lease(alice, "ranking"), lambda response: len(response.text))
    snapshot = snapshot_build(project=project, kind="rankings", query={"purpose": "eval"}, by=ada)
    policy = made(project, "sft", "sft-1")
    with pytest.raises(RunError, match="for evaluation only"):
        run_create(project=project, stage="reward", config={}, inputs={"train": snapshot, "policy": policy}, by=ada)


def test_models_with_other_vocabularies_do_not_meet(project: Project, ada: Membership) -> None:
    made(project, "sft", "sft-1", card={"vocabulary_sha256": "a"})
    made(project, "reward", "reward-1", card={"vocabulary_sha256": "b"})
    PromptFactory(project=project, pool="ppo")
    with pytest.raises(RunError, match="different vocabularies"):
        launch(project=project, stage="ppo", by=ada)


def test_the_hash_of_a_run_is_that_of_what_decides_it(corpus: Snapshot, ada: Membership) -> None:
    def hash_of(**values: Any) -> str:
        config = values.pop("config", {})
        inputs = {"train": corpus}
        return run_create(
            project=corpus.project, stage="pretrain", config=config, inputs=inputs, by=ada, **values
        ).config_hash

    plain = hash_of()
    assert hash_of(name="other", priority=3) == plain
    assert hash_of(config={"layers": 4}) == plain, "a default that is spelled out changes nothing"
    assert len({plain, hash_of(seed=1), hash_of(config={"layers": 5}), hash_of(numerics={"threads": 7})}) == 4


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, "3"])
def test_a_seed_that_is_none_is_refused(corpus: Snapshot, ada: Membership, seed: Any) -> None:
    with pytest.raises(RunError, match="seed"):
        run_create(project=corpus.project, stage="pretrain", config={}, inputs={"train": corpus}, by=ada, seed=seed)


def test_a_run_is_queued_though_redis_is_away(
    corpus: Snapshot, ada: Membership, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("no connection")

    monkeypatch.setattr(current_app, "send_task", away)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        run = run_create(project=corpus.project, stage="pretrain", config={}, inputs={"train": corpus}, by=ada)
    assert callbacks and Run.objects.get(pk=run.pk).state == "queued"


# --- What comes out -------------------------------------------------------------------------------


def answers(run: Run, rows: list[dict[str, Any]]) -> str:
    """Write what a sampling core would have left; returns its hash."""
    path = files.attempt_folder(run.pk, run.attempt) / "responses.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files.file_hash(path)


def test_answers_become_responses_and_ranking_tasks(project: Project, ada: Membership) -> None:
    sft = made(project, "sft", "sft-1")
    prompts = PromptFactory.create_batch(3, project=project, pool="rm")
    launch(project=project, stage="sample", by=ada, config={"samples_per_prompt": 2})
    run = run_claim(queue="gpu", worker="w")
    assert run is not None
    rows = [
        {"prompt_id": str(prompt.pk), "index": index, "text": f"{number} {index}", "tokens": 3, "ended": True}
        for number, prompt in enumerate(prompts)
        for index in range(2)
    ]
    run_succeed(fence=Fence(run.pk, 1), stage="sample", sha256=answers(run, rows), result={"response/length": 3})
    run.refresh_from_db()
    assert run.result == {"response/length": 3.0, "responses": 6, "ranking_tasks": 3}
    assert Response.objects.filter(run=run, model=sft).count() == 6
    assert list(Task.objects.values_list("kind", "round__number")) == [("ranking", 1)] * 3
    assert run.output is not None and run.output.kind == "responses"


def test_answers_of_several_policies_are_each_their_own(project: Project, ada: Membership) -> None:
    sft, ppo = made(project, "sft", "sft-1"), made(project, "ppo", "ppo-1")
    prompt = PromptFactory(project=project, pool="rm")
    launch(
        project=project,
        stage="sample",
        by=ada,
        config={"samples_per_prompt": 3},
        inputs={"policy": ppo, "policy_2": sft},
    )
    run = run_claim(queue="gpu", worker="w")
    assert run is not None
    rows = [
        {"prompt_id": str(prompt.pk), "index": index, "policy": policy, "text": f"answer {index}"}
        for index, policy in enumerate(["policy", "policy", "policy_2"])
    ]
    run_succeed(fence=Fence(run.pk, 1), stage="sample", sha256=answers(run, rows), result={})
    wrote = Response.objects.filter(run=run).order_by("index").values_list("text", "model__name")
    assert list(wrote) == [("answer 0", "ppo-1"), ("answer 1", "ppo-1"), ("answer 2", "sft-1")]
    run.refresh_from_db()
    assert (run.result["responses"], run.result["ranking_tasks"]) == (3, 1)


def test_answers_to_a_strangers_prompt_publish_nothing(project: Project, ada: Membership) -> None:
    made(project, "sft", "sft-1")
    PromptFactory(project=project, pool="rm")
    launch(project=project, stage="sample", by=ada)
    run = run_claim(queue="gpu", worker="w")
    assert run is not None
    stranger = PromptFactory()
    sha256 = answers(run, [{"prompt_id": str(stranger.pk), "index": 0, "text": "x"}])
    with pytest.raises(Exception, match="not in this project"):
        run_succeed(fence=Fence(run.pk, 1), stage="sample", sha256=sha256, result={})
    run.refresh_from_db()
    assert (run.state, run.output, Response.objects.count()) == ("running", None, 0)


def test_the_dashboard_counts_in_the_same_queries(
    project: Project, ada: Membership, alice: Membership, corpus: Snapshot, django_assert_max_num_queries: Any
) -> None:
    made(project, "pretrain", "base-1")
    demonstrations(project, alice, 4)
    rankings(project, alice, 2)
    sft = made(project, "sft", "sft-1")
    with django_assert_max_num_queries(13):
        state = loop_state(project)
    assert [state.corpora.count, state.demonstrations.count, state.rankings.count] == [1, 4, 2]
    assert state.base.count == 3, "the one pretrained, and the two that answered the rankings, which are registered"
    assert (state.sft.model, state.sft.run) == (sft, sft.run)
    assert state.answers.count == 6
    with django_assert_max_num_queries(12):
        next_steps(project)


# --- Provenance -----------------------------------------------------------------------------------


def result_of(run: Run, **values: Any) -> Model:
    return ModelFactory(project=run.project, name=run.name, run=run, source="", **values)


def test_from_a_model_to_its_labels_and_back(project: Project, ada: Membership, alice: Membership) -> None:
    """base -> sft (demonstrations) -> reward (rankings) and ppo (sft + reward)."""
    base = made(project, "pretrain", "base-1")
    written = demonstrations(project, alice, 8)
    sft = result_of(launch(project=project, stage="sft", by=ada))
    ranked = rankings(project, alice, 8)
    reward = result_of(launch(project=project, stage="reward", by=ada), kind="reward_model")
    PromptFactory(project=project, pool="ppo")
    ppo = result_of(launch(project=project, stage="ppo", by=ada))
    behind = labels_behind(ppo)
    assert (behind.total, behind.kinds) == (16, [("Demonstrations", 8), ("Rankings", 8)])
    assert labels_behind(sft).total == 8 and labels_behind(base).total == 0
    assert {model.name for model in ancestry(ppo)[0]} == {"base-1", "sft-1", "reward-1"}
    assert models_shaped_by(written[0].pk) == [sft, reward, ppo]
    assert models_shaped_by(ranked[0].pk) == [reward, ppo]
    assert sft.run is not None and children_of(sft.run) == [reward.run, ppo.run]
    assert RunInput.objects.filter(run=ppo.run, model=sft).count() == 2
