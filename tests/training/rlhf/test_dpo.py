"""DPO: its loss by hand and by a slow version, its optimum where that is known, and the run as a whole."""

import json
import math
import shutil
import signal

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.rlhf import tiny, world
from training.rlhf import dpo
from training.rlhf.__main__ import run_stage
from training.rlhf.config import ConfigError, DPOConfig, Numerics, config_from_dict
from training.rlhf.dpo import answer_logprobs, implicit_rewards
from training.rlhf.errors import NumericsError
from training.rlhf.reward import encode_ranking, group_loss, total_weight
from training.rlhf.tokens import encode_completion
from training.rlhf.workspace import Workspace

CONFIG = {
    "batch_size": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "max_steps": 5,
    "epochs": 5,
    "eval_every": 2,
    "answered_prompts": 3,
    "sample_count": 2,
    "max_new_tokens": 6,
    "micro_batch_tokens": 400,
    "checkpoint_every_seconds": 0,
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    base = world.make_base(folder / "base")
    return {
        "train": world.write(folder / "train.jsonl", world.rankings(14)),
        "validation": world.write(folder / "validation.jsonl", world.rankings(6)),
        "policy": base,
        "reference": base,
    }


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """A run that nobody stops."""
    output = tmp_path_factory.mktemp("whole")
    assert world.run_here(world.run_json("dpo", inputs, output, CONFIG)) == 0
    return output


# The loss


def ranked(ranks, texts, prompt="c", **settings):
    """A ranking of texts in the tiny world, as `run` encodes it."""
    completions = [{"id": str(place), "content": text} for place, text in enumerate(texts)]
    row = {"id": "r", "prompt": world.user(prompt), "completions": completions, "ranks": ranks}
    return encode_ranking(row, tiny.tiny_tokenizer(), 48, DPOConfig(**settings), training=True)


def a_workspace(tmp_path, **config) -> Workspace:
    numerics = {"matmul": "highest", "device": "cpu", "dtype": "float32"}
    return Workspace.open(tiny.run_json("dpo", {}, tmp_path, config, numerics=numerics))


def slow_logprob(policy, prompt, text) -> float:
    """Token by token, in float64, with no padding anywhere."""
    prompt_ids, answer_ids = encode_completion(tiny.tiny_tokenizer(), world.user(prompt), text)
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([prompt_ids + answer_ids])).logits[0].double()
    logs = logits.log_softmax(-1)
    return sum(float(logs[len(prompt_ids) + place - 1, token]) for place, token in enumerate(answer_ids))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_an_answers_logprob_is_the_sum_over_its_own_tokens(family, tmp_path):
    policy = tiny.tiny_policy(family)
    group = [ranked([1, 2, 3], ["a b", "d", "e f g h"]), ranked([2, 1], ["k", "l m"], prompt="a b c d")]
    found = answer_logprobs(policy, tiny.tiny_tokenizer(), group, a_workspace(tmp_path)).tolist()
    wanted = [slow_logprob(policy, "c", text) for text in ("a b", "d", "e f g h")]
    wanted += [slow_logprob(policy, "a b c d", text) for text in ("k", "l m")]
    assert found == pytest.approx(wanted, abs=1e-4)


def test_the_loss_by_hand_and_by_the_slow_version(tmp_path):
    """-log sigmoid(beta ((log pi - log ref) of the better - of the worse)), mean over pairs: Rafailov et al., eq. 7."""
    policy, reference, beta = tiny.tiny_policy(seed=1), tiny.tiny_policy(seed=2), 0.3
    texts, ranks = ["a b", "d", "e f g", "h"], [2, 1, 3, 1]
    ranking, config = ranked(ranks, texts), DPOConfig(kl_coef=beta)
    known = {id(ranking): [slow_logprob(reference, "c", text) for text in texts]}
    work = a_workspace(tmp_path)
    rewards = implicit_rewards(policy, tiny.tiny_tokenizer(), known, config, work, [ranking])
    loss = group_loss(rewards, [ranking], config) / total_weight([ranking])
    moved = [slow_logprob(policy, "c", text) - slow_logprob(reference, "c", text) for text in texts]
    pairs = [(i, j) for i in range(4) for j in range(4) if ranks[i] < ranks[j]]
    slow = sum(math.log1p(math.exp(-beta * (moved[i] - moved[j]))) for i, j in pairs) / 5
    assert len(pairs) == 5
    assert loss.item() == pytest.approx(slow, abs=1e-5)
    # as likely as before: every pair is a toss-up
    known = {id(ranking): [slow_logprob(policy, "c", text) for text in texts]}
    rewards = implicit_rewards(policy, tiny.tiny_tokenizer(), known, config, work, [ranking])
    assert (group_loss(rewards, [ranking], config)).item() == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_the_optimum_is_the_closed_form(beta, tmp_path):
    """Where a is preferred to b with probability p, the best policy has log odds of a over b that are those of the
    reference plus logit(p) / beta (section 4: r = beta log(pi / pi_ref) fits Bradley and Terry's model)."""
    made = tiny.save_world(tmp_path / "world")
    rows = [
        {
            "id": f"r{number}",
            "prompt": world.user("c"),
            "completions": [{"id": "a", "content": "a"}, {"id": "b", "content": "b"}],
            "ranks": [1, 2] if number < 7 else [2, 1],
        }
        for number in range(10)
    ]
    train = world.write(tmp_path / "train.jsonl", rows)
    given = {"train": train, "policy": made["policy"], "reference": made["policy"]}
    config = {"batch_size": 10, "learning_rate": 3e-3, "warmup_steps": 0, "epochs": 120, "kl_coef": beta,
              "max_grad_norm": 0, "schedule": "linear"}  # fmt: skip
    assert run_stage(tiny.run_json("dpo", given, tmp_path / "out", config)) == 0
    odds = []
    for folder in (made["policy"], tmp_path / "out" / "model"):
        policy = AutoModelForCausalLM.from_pretrained(folder)
        odds.append(slow_logprob(policy, "c", "a") - slow_logprob(policy, "c", "b"))
    assert odds[1] - odds[0] == pytest.approx(math.log(7 / 3) / beta, abs=0.02)


# The run


def test_it_learns_the_order_and_says_how_far_it_went(whole):
    found = dict(world.steps(whole))
    assert list(found) == [0, 1, 2, 3, 4, 5]
    # nothing has moved: each pair a toss-up, no distance
    assert found[0]["loss/validation"] == pytest.approx(math.log(2), abs=1e-3)
    assert (found[0]["validation/kl"], found[0]["accuracy/validation"]) == (pytest.approx(0, abs=1e-3), 0.5)
    assert found[1]["loss/train"] == pytest.approx(math.log(2), abs=1e-3)
    assert found[5]["loss/validation"] < 0.67 < found[0]["loss/validation"]
    assert found[5]["rewards/margin"] == pytest.approx(found[5]["rewards/chosen"] - found[5]["rewards/rejected"])
    assert found[5]["rewards/margin"] > 0 and found[5]["accuracy/train"] > 0.6
    assert [step for step, of in found.items() if "validation/kl" in of] == [0, 2, 4, 5]
    wanted = {"loss/train", "rewards/chosen", "rewards/rejected", "rewards/margin", "accuracy/train", "logprobs/chosen",
              "lr", "grad_norm"}  # fmt: skip
    assert all(wanted <= set(found[step]) for step in range(1, 6))
    shown = world.events(whole, "sample")
    assert [event["step"] for event in shown] == [0, 0, 2, 2, 4, 4, 5, 5]


def test_the_policy_is_a_plain_hugging_face_folder_with_a_report(whole, inputs):
    folder = whole / "model"
    assert AutoModelForCausalLM.from_pretrained(folder) is not None
    assert AutoTokenizer.from_pretrained(folder).chat_template
    card = json.loads((folder / "plackett.json").read_text())
    assert card["stage"] == "dpo" and set(card["inputs"]) == set(inputs)
    assert [row["part"] for row in card["agreement"]] == ["all", "k", "k", "k"]
    assert sum(row["pairs"] for row in card["calibration"]) == card["agreement"][0]["pairs"]
    assert card["metrics"]["accuracy/validation/low"] <= card["metrics"]["accuracy/validation"]


@pytest.mark.parametrize("stop_at", [0, 2, 5])
def test_stopped_at_any_step_and_resumed_it_ends_in_the_same_bytes(inputs, whole, tmp_path, monkeypatch, stop_at):
    plain = Workspace.metrics

    def metrics(self, step, values):
        plain(self, step, values)
        if step == stop_at:
            signal.raise_signal(signal.SIGTERM)

    run = world.run_json("dpo", inputs, tmp_path / "first", CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "metrics", metrics)
        assert world.run_here(run) == 75
    checkpoint = world.events(tmp_path / "first", "checkpoint")[-1]  # the best so far may be there too
    shutil.move(tmp_path / "first", tmp_path / "moved")
    given = {"path": str(tmp_path / "moved" / checkpoint["path"]), "sha256": checkpoint["sha256"]}
    asked = []
    plain_logprobs = dpo.sequence_logprobs
    monkeypatch.setattr(dpo, "sequence_logprobs", lambda *args: asked.append(1) or plain_logprobs(*args))
    assert world.run_here({**run, "output": str(tmp_path / "second"), "resume": given}) == 0
    assert not asked, "what the reference says is in the checkpoint"
    told = [*world.steps(tmp_path / "moved"), *world.steps(tmp_path / "second")]
    assert told == list(world.steps(whole))
    assert world.weights(tmp_path / "second") == world.weights(whole)
    cards = [(folder / "model" / "plackett.json").read_bytes() for folder in (tmp_path / "second", whole)]
    assert cards[0] == cards[1]


def test_passes_of_any_size_give_the_same_losses(inputs, whole, tmp_path):
    wanted = [metrics["loss/train"] for step, metrics in world.steps(whole) if step]
    config = {**CONFIG, "micro_batch_tokens": 100_000, "eval_every": 0, "answered_prompts": 0}
    assert world.run_here(world.run_json("dpo", inputs, tmp_path / "out", config)) == 0
    assert [metrics["loss/train"] for step, metrics in world.steps(tmp_path / "out") if step] == pytest.approx(
        wanted, rel=1e-3
    )


def test_a_reference_that_speaks_differently_stops_the_run(inputs, tmp_path, monkeypatch):
    """Planted: what the reference said is not what the policy says, though they are the same weights."""
    plain = dpo.sequence_logprobs
    monkeypatch.setattr(dpo, "sequence_logprobs", lambda *args: [[v - 1 for v in row] for row in plain(*args)])
    run = world.run_json("dpo", {name: inputs[name] for name in ("train", "policy", "reference")}, tmp_path, CONFIG)
    assert world.run_here(run) == 70
    assert "same weights, yet an implicit reward is" in world.events(tmp_path, "failed")[0]["message"]
    with pytest.raises(NumericsError):
        seen = dpo.Seen()
        seen.largest = math.nan
        dpo.check_starts_at_reference(seen, Numerics(dtype="float32"))


def test_adapters_are_trained_and_published_merged(inputs, tmp_path):
    config = {**CONFIG, "lora_rank": 2, "max_steps": 3, "answered_prompts": 0, "eval_every": 0}
    assert world.run_here(world.run_json("dpo", inputs, tmp_path, config)) == 0
    found = [metrics["loss/train"] for step, metrics in world.steps(tmp_path) if step]
    assert found[0] == pytest.approx(math.log(2), abs=1e-3) and found[-1] < found[0]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model") is not None


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match="ties must be drop or half where the loss is plackett_luce, got margin"):
        config_from_dict("dpo", {"loss": "plackett_luce", "ties": "margin"})
    with pytest.raises(ConfigError, match="margin must be none where the loss is plackett_luce, got ranks"):
        config_from_dict("reward", {"loss": "plackett_luce", "margin": "ranks"})
