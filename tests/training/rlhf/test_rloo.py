"""RLOO: its losses by hand, its optimum in closed form, and the run as a whole."""

import json
import math
import signal
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from tests.training.rlhf.test_ppo_closed_form import (  # noqa: F401  (a fixture)
    EOS,
    OTHER,
    next_token,
    score_as_it_is,
    two_tokens,
)
from tests.training.rlhf.tiny import events, run_json, save_world
from training.rlhf import rollouts
from training.rlhf.__main__ import run_stage
from training.rlhf.checkpoint import sha256_of
from training.rlhf.config import ConfigError, config_from_dict
from training.rlhf.rloo_losses import clipped_loss, leave_one_out, reinforce_loss
from training.rlhf.workspace import Workspace

CONFIG = {
    "total_updates": 4,
    "prompts_per_update": 4,
    "samples_per_prompt": 3,
    "max_new_tokens": 6,
    "learning_rate": 1e-3,
    "warmup_updates": 2,
    "eval_every": 2,
    "eval_rows": 4,
    "sample_every": 2,
    "sample_count": 2,
    "checkpoint_every_seconds": 0,
    "micro_batch_tokens": 128,
    "ema_decay": 0.9,
}
CLIP = {"loss": "clip", "minibatch_size": 5, "update_epochs": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return save_world(tmp_path_factory.mktemp("world"))


def run_rloo(inputs, output, resume=None, **changes):
    run = run_json("rloo", inputs, output, {**CONFIG, **changes})
    if resume:
        run["resume"] = {"path": str(resume), "sha256": sha256_of(resume)}
    return run_stage(run)


def steps(output) -> dict[int, dict[str, float]]:
    found = {event["step"]: event["metrics"] for event in events(output, "metrics")}
    return {step: {k: v for k, v in of.items() if k != "tokens_per_second"} for step, of in found.items()}


# Losses


def test_leave_one_out_by_hand():
    # 1, 2, 6: the others' means are 4, 3.5 and 1.5
    assert leave_one_out(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]])).tolist() == [[-3, -1.5, 4.5], [0, 0, 0]]
    with pytest.raises(ValueError, match="two answers"):
        leave_one_out(torch.tensor([[1.0]]))


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(-3, 3))
def test_advantages_of_a_prompt_add_up_to_0_and_forget_what_all_share(rewards, shift):
    advantages = leave_one_out(torch.tensor([rewards], dtype=torch.float64))
    assert advantages.sum().item() == pytest.approx(0, abs=1e-9)
    slow = [reward - fmean(rewards[:place] + rewards[place + 1 :]) for place, reward in enumerate(rewards)]
    assert advantages[0].tolist() == pytest.approx(slow, abs=1e-9)
    moved = leave_one_out(torch.tensor([rewards], dtype=torch.float64) + shift)
    assert moved[0].tolist() == pytest.approx(slow, abs=1e-9)


def test_the_losses_by_hand():
    logprobs, advantages = torch.tensor([-1.0, -2.0]), torch.tensor([3.0, -1.0])
    assert reinforce_loss(logprobs, advantages, count=4).item() == pytest.approx((3 * 1 - 1 * 2) / 4)
    # ratios 2 and 0.5: a gain is cut at 1.2, a loss at 0.8 (the larger of -A r and its clipped form)
    old = logprobs - torch.tensor([math.log(2), -math.log(2)])
    found = clipped_loss(logprobs, old, advantages, cliprange=0.2, count=2)
    assert found.item() == pytest.approx((-3 * 1.2 + 0.8) / 2)


def test_clipping_and_reinforce_have_one_gradient_where_nothing_has_moved():
    advantages = torch.tensor([1.5, -0.5, 2.0])
    gradients = []
    for loss in (
        lambda x: reinforce_loss(x, advantages, count=3),
        lambda x: clipped_loss(x, torch.tensor([-1.0, -2.0, -3.0]), advantages, cliprange=0.2, count=3),
    ):
        logprobs = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
        loss(logprobs).backward()
        gradients.append(logprobs.grad.tolist())
    assert gradients[0] == pytest.approx(gradients[1])


# The optimum


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_rloo_reaches_the_closed_form(two_tokens, tmp_path, monkeypatch, beta):  # noqa: F811
    """The same world and the same optimum as PPO's: reference times exp(score / beta)."""
    inputs, policy, reward = two_tokens
    monkeypatch.setattr(rollouts, "response_scores", score_as_it_is)
    config = {
        "total_updates": 50,
        "prompts_per_update": 64,
        "samples_per_prompt": 4,
        "max_new_tokens": 1,
        "missing_eos_penalty": 0.0,
        "kl_coef": beta,
        "learning_rate": 0.03,
        "schedule": "linear",
        "warmup_updates": 0,
        "sample_every": 0,
        "ema_decay": 0.0,
    }
    assert run_rloo(inputs, tmp_path, **config) == 0
    with torch.no_grad():
        hidden = reward.transformer(input_ids=torch.tensor([[OTHER, OTHER], [OTHER, EOS]])).last_hidden_state
        scores = reward.score(hidden)[:, -1, 0].double()
    reference = next_token(policy)
    best = (reference + scores / beta).log_softmax(-1)
    reached = next_token(AutoModelForCausalLM.from_pretrained(tmp_path / "model"))
    away = float((reference.exp() * (reference - best)).sum())
    left = float((reached.exp() * (reached - best)).sum())
    assert left < 1e-3 < 1e-2 < away, (left, away, best.exp(), reached.exp(), scores)


# The run


@pytest.fixture(scope="module", params=["reinforce", "clip"])
def whole(request, world, tmp_path_factory):
    """A run of either loss that nobody stops: (what it changed, its folder)."""
    changes = CLIP if request.param == "clip" else {}
    output = tmp_path_factory.mktemp("whole")
    assert run_rloo(world, output, **changes) == 0
    return changes, output


def test_what_an_update_reports(whole, world):
    changes, output = whole
    found = steps(output)
    assert list(found) == [0, 1, 2, 3, 4]
    wanted = {"objective/kl", "objective/score", "objective/reward", "objective/reward_spread", "objective/entropy",
              "loss/policy", "response/length", "response/eos_rate", "lr", "grad_norm", "policy/steps"}  # fmt: skip
    assert all(wanted <= set(found[step]) for step in range(1, 5))
    assert found[0]["validation/kl"] == pytest.approx(0, abs=1e-5)
    assert found[1]["objective/kl"] == pytest.approx(0, abs=1e-5)
    assert found[4]["objective/kl"] > 1e-4
    # 12 answers: one step, or minibatches of 5 twice
    assert found[1]["policy/steps"] == (6.0 if changes else 1.0)
    assert [step for step, of in found.items() if "validation/score" in of] == [0, 2, 4]
    card = json.loads((output / "model" / "plackett.json").read_text())
    assert card["stage"] == "rloo" and set(card["inputs"]) == set(world)
    assert AutoModelForCausalLM.from_pretrained(output / "model") is not None


@pytest.mark.parametrize("stop_at", [0, 1, 3])
def test_stopped_at_any_update_and_resumed_it_ends_in_the_same_bytes(whole, world, tmp_path, monkeypatch, stop_at):
    changes, output = whole
    plain = Workspace.metrics

    def metrics(self, step, values):
        plain(self, step, values)
        if step == stop_at:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "metrics", metrics)
        assert run_rloo(world, tmp_path / "first", **changes) == 75
    saved = events(tmp_path / "first", "checkpoint")[-1]
    assert saved["step"] == stop_at
    assert run_rloo(world, tmp_path / "second", resume=tmp_path / "first" / saved["path"], **changes) == 0
    assert {**steps(tmp_path / "first"), **steps(tmp_path / "second")} == steps(output)
    for name in ("model.safetensors", "plackett.json"):
        assert (tmp_path / "second" / "model" / name).read_bytes() == (output / "model" / name).read_bytes()


def test_a_longer_run_learns_what_the_reward_model_likes(world, tmp_path):
    changes = {"total_updates": 20, "prompts_per_update": 12, "samples_per_prompt": 4, "kl_coef": 0.0,
               "learning_rate": 5e-3, "eval_every": 0, "eval_rows": 1, "sample_every": 0, "micro_batch_tokens": 4096,
               "ema_decay": 0.0, "warmup_updates": 0}  # fmt: skip
    assert run_rloo(world, tmp_path, **changes) == 0
    found = steps(tmp_path)
    first, last = ([found[step]["objective/reward"] for step in at] for at in (range(1, 4), range(18, 21)))
    assert sum(last) / 3 > sum(first) / 3 + 0.3


def test_it_stops_where_the_policy_has_gone_too_far(world, tmp_path):
    assert run_rloo(world, tmp_path, total_updates=30, learning_rate=1e-2, kl_coef=0.0, max_kl=0.5, eval_every=0) == 0
    found = steps(tmp_path)
    assert max(found) < 30 and found[max(found)]["objective/kl"] > 0.5


def test_temperature_forgotten_in_one_pass_is_noticed(world, tmp_path, monkeypatch):
    """Planted: the update sees other probabilities than the rollouts."""
    plain = rollouts.response_logprobs

    def forgets(policy, part, temperature, numerics, **options):
        return plain(policy, part, 1.0 if torch.is_grad_enabled() else temperature, numerics, **options)

    monkeypatch.setattr("training.rlhf.rloo.response_logprobs", forgets)
    assert run_rloo(world, tmp_path, temperature=0.5) == 70
    assert "the ratio is off 1" in events(tmp_path, "failed")[0]["message"]


def test_reinforce_takes_one_step():
    for name, value in {"minibatch_size": 8, "update_epochs": 2}.items():
        with pytest.raises(ConfigError, match=f"{name} must be [01] where the loss is reinforce, which takes one step"):
            config_from_dict("rloo", {name: value})
    assert config_from_dict("rloo", {"loss": "clip", "minibatch_size": 8, "update_epochs": 2})
    with pytest.raises(ConfigError, match="samples_per_prompt must be at least 2, got 1"):
        config_from_dict("rloo", {"samples_per_prompt": 1})
