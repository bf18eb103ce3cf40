"""PPO as a run: what it promises at each update, and bugs planted to see that it notices them."""

import hashlib
import json
import signal

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.rlhf.tiny import (
    EOS,
    FAMILIES,
    events,
    run_json,
    save_world,
    tiny_reward_network,
    tiny_tokenizer,
    write_prompts,
)
from training.rlhf import decode_plain, generate, model, ppo, rewards, rollouts
from training.rlhf.__main__ import run_stage
from training.rlhf.checkpoint import sha256_of
from training.rlhf.config import Numerics, config_from_dict
from training.rlhf.data import length_mask
from training.rlhf.decode import Decoder
from training.rlhf.generate import Decoding, Responses, derive_seed
from training.rlhf.rollouts import PromptCursor, Rollouts, read_prompts
from training.rlhf.workspace import Workspace

CONFIG = {
    "total_updates": 4,
    "rollouts_per_update": 12,
    "minibatch_size": 5,
    "ppo_epochs": 2,
    "max_new_tokens": 6,
    "learning_rate": 1e-3,
    "value_learning_rate": 1e-3,
    "warmup_updates": 2,
    "eval_every": 2,
    "sample_every": 2,
    "sample_count": 2,
    "checkpoint_every_seconds": 0,
    "micro_batch_tokens": 128,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return save_world(tmp_path_factory.mktemp("world"))


def run_ppo(inputs, output, resume=None, numerics=None, **changes):
    given = run_json("ppo", inputs, output, {**CONFIG, **changes})
    if resume:
        given["resume"] = {"path": str(resume), "sha256": sha256_of(resume)}
    given["numerics"] |= numerics or {}
    return run_stage(given)


def told(output) -> str:
    """The sentence of a failed run."""
    return events(output, "failed")[-1]["message"]


def steps(output) -> dict[int, dict[str, float]]:
    """Metrics by step, without the clock's."""
    found = {event["step"]: event["metrics"] for event in events(output, "metrics")}
    return {step: {k: v for k, v in of.items() if k != "tokens_per_second"} for step, of in found.items()}


def shown(output) -> list[dict]:
    return [{k: v for k, v in event.items() if k != "time"} for event in events(output, "sample")]


# A run


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_goes_through_ppo_and_opens_with_the_auto_class(family, tmp_path):
    inputs = save_world(tmp_path / "world", family)
    assert run_ppo(inputs, tmp_path / "out", total_updates=2) == 0, told(tmp_path / "out")
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    start = AutoModelForCausalLM.from_pretrained(inputs["policy"])
    assert type(trained) is type(start)
    assert any(not torch.equal(a, b) for a, b in zip(trained.parameters(), start.parameters(), strict=True))
    assert AutoTokenizer.from_pretrained(tmp_path / "out" / "model").chat_template
    finished = events(tmp_path / "out", "finished")[-1]
    assert finished["sha256"] == sha256_of(tmp_path / "out" / "model")
    provenance = json.loads((tmp_path / "out" / "model" / "plackett.json").read_text())
    assert provenance["stage"] == "ppo" and set(provenance["inputs"]) == set(inputs)


def test_what_an_update_reports(world, tmp_path):
    assert run_ppo(world, tmp_path) == 0
    found = steps(tmp_path)
    assert list(found) == [0, 1, 2, 3, 4]
    wanted = {
        "objective/kl", "objective/score", "objective/reward", "objective/entropy", "policy/approx_kl", "loss/policy",
        "policy/clip_fraction", "policy/ratio_max", "loss/value", "value/explained_variance", "response/length",
        "response/eos_rate", "lr", "grad_norm",
    }  # fmt: skip
    assert all(wanted <= set(found[step]) for step in range(1, 5))
    assert [step for step, of in found.items() if "validation/score" in of] == [0, 2, 4]
    # policy and reference start as the same weights
    assert found[0]["validation/kl"] == pytest.approx(0.0, abs=1e-5)
    assert found[1]["objective/kl"] == pytest.approx(0.0, abs=1e-5)
    assert found[4]["objective/kl"] > 1e-3
    # warm-up from a tenth of the peak: .1, .55, 1
    assert [found[step]["lr"] for step in (1, 2, 3)] == pytest.approx([1e-4, 5.5e-4, 1e-3])
    # 12 rollouts in minibatches of 5, twice: 6 optimiser steps
    assert found[1]["policy/steps"] == 6.0
    assert [(event["step"], event["prompt"][0]["content"]) for event in shown(tmp_path)] == [
        (step, text) for step in (0, 2, 4) for text in ("l", "m n")
    ]


def test_item_11_value_model_starts_from_the_reward_model_and_the_reference_is_frozen(world, tmp_path):
    work = Workspace.open(run_json("ppo", world, tmp_path, CONFIG))
    models = rollouts.load_models(work)
    ids = torch.tensor([[5, 6, 7, EOS]])
    assert torch.equal(models.value(ids), models.reward_model(ids))
    assert not any(weight.requires_grad for weight in models.reference.parameters())
    assert not any(weight.requires_grad for weight in models.reward_model.parameters())
    # ours = raw - shift
    raw = models.reward_model.network(ids).logits.squeeze()
    assert float(models.reward_model.score(ids, torch.tensor([4]))) == pytest.approx(float(raw) - 0.25, abs=1e-5)


def test_a_longer_update_learns_what_the_reward_model_likes(world, tmp_path):
    assert (
        run_ppo(world, tmp_path, total_updates=20, rollouts_per_update=48, minibatch_size=24, kl_coef=0.0,
                learning_rate=5e-3, value_learning_rate=5e-3, eval_every=20, ppo_epochs=1, micro_batch_tokens=4096)
        == 0
    )  # fmt: skip
    found = steps(tmp_path)
    first, last = ([found[step]["objective/reward"] for step in at] for at in (range(1, 4), range(18, 21)))
    assert sum(last) / 3 > sum(first) / 3 + 0.5


# Exact resume (item 30)


FULL = {"ema_decay": 0.9, "kl_target": 2.0, "kl_horizon": 100, "ptx_coef": 0.1, "ptx_batch_size": 3}


@pytest.fixture(scope="module")
def full_world(world, tmp_path_factory):
    """With pretraining text, so that everything that has a state takes part."""
    text = tmp_path_factory.mktemp("text") / "text.jsonl"
    text.write_text("".join(json.dumps({"text": "a b c d e f g " * (1 + i % 3)}) + "\n" for i in range(9)))
    return {**world, "pretraining": text}


@pytest.fixture(scope="module")
def whole(full_world, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    assert run_ppo(full_world, output, **FULL) == 0, told(output)
    return output


def stop_when(monkeypatch, step, phase):
    """Raise SIGTERM when the metrics of `step` are written, or after that in the first sign of life of `phase`."""
    plain_metrics, plain_progress = Workspace.metrics, Workspace.progress

    def metrics(self, at, values):
        plain_metrics(self, at, values)
        if at == step and not phase:
            signal.raise_signal(signal.SIGTERM)

    def progress(self, name, at=None):
        plain_progress(self, name, at)
        if self.started and self.step == step and name == phase:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Workspace, "metrics", metrics)
    monkeypatch.setattr(Workspace, "progress", progress)


@pytest.mark.parametrize(
    ("step", "phase"),
    [(0, ""), (1, ""), (2, ""), (3, ""), (4, ""), (2, "generating"), (2, "scoring"), (2, "training")],
)
def test_item_30_a_stopped_run_goes_on_to_the_same_bits(full_world, whole, tmp_path, monkeypatch, step, phase):
    with monkeypatch.context() as patch:
        stop_when(patch, step, phase)
        assert run_ppo(full_world, tmp_path / "first", **FULL) == 75
    saved = events(tmp_path / "first", "checkpoint")[-1]
    # in the middle of an optimiser's work the update is finished first; before that it is dropped
    assert saved["step"] == step + (phase == "training")
    assert events(tmp_path / "first")[-1]["event"] == "stopped"
    checkpoint = tmp_path / "first" / saved["path"]
    assert sha256_of(checkpoint) == saved["sha256"]
    assert run_ppo(full_world, tmp_path / "second", resume=checkpoint, **FULL) == 0
    assert events(tmp_path / "second", "started")[0]["resumed_from"] == saved["step"]

    assert {**steps(tmp_path / "first"), **steps(tmp_path / "second")} == steps(whole)
    assert shown(tmp_path / "first") + shown(tmp_path / "second") == shown(whole)
    for name in ("model.safetensors", "config.json", "plackett.json"):
        first, second = (hashlib.sha256((at / "model" / name).read_bytes()) for at in (whole, tmp_path / "second"))
        assert first.digest() == second.digest(), name


def test_the_same_run_twice_gives_the_same_bits_and_another_seed_does_not(world, tmp_path):
    digests = []
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        assert run_stage({**run_json("ppo", world, tmp_path / name, {**CONFIG, "total_updates": 1}), "seed": seed}) == 0
        digests.append(sha256_of(tmp_path / name / "model" / "model.safetensors"))
    assert digests[0] == digests[1] != digests[2]


def test_how_a_minibatch_is_cut_into_passes_changes_nothing_but_rounding(world, tmp_path):
    for name, budget in {"one": 100_000, "many": 1}.items():
        assert run_ppo(world, tmp_path / name, total_updates=2, micro_batch_tokens=budget) == 0
    one, many = (AutoModelForCausalLM.from_pretrained(tmp_path / name / "model") for name in ("one", "many"))
    for a, b in zip(one.parameters(), many.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    for step, of in steps(tmp_path / "one").items():
        assert steps(tmp_path / "many")[step] == pytest.approx(of, abs=2e-2, rel=2e-2)


# Planted bugs: each is noticed by a check at run time or changes a figure that a test holds


def test_item_13_holds_in_every_update(world, tmp_path, monkeypatch):
    seen = []
    plain = ppo.check_first_minibatch
    monkeypatch.setattr(ppo, "check_first_minibatch", lambda found, *rest: (seen.append(found), plain(found, *rest)))
    assert run_ppo(world, tmp_path) == 0
    assert len(seen) == 4
    for found in seen:
        assert found["policy/ratio"] == pytest.approx(1.0, abs=1e-5)
        assert found["policy/ratio_max"] == pytest.approx(1.0, abs=1e-4)
        assert found["policy/clip_fraction"] == 0.0 and found["policy/approx_kl"] == pytest.approx(0.0, abs=1e-6)


def test_items_12_and_13_planted_bug_dropout_on(tmp_path, monkeypatch):
    inputs = save_world(tmp_path / "world", "gpt2")
    for name in ("policy", "reward_model"):  # dropout of attention is refused where it is computed
        path = inputs[name] / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"attn_pdrop": 0.0}))
    monkeypatch.setattr(model, "disable_dropout", lambda network: None)
    plain = ppo.optimise

    def optimise(models, *rest):
        models.policy.train()
        return plain(models, *rest)

    monkeypatch.setattr(ppo, "optimise", optimise)
    assert run_ppo(inputs, tmp_path / "out") == 70
    assert "before the first optimiser step" in told(tmp_path / "out")
    assert "Cause: dropout. It is on in 5 modules of the policy, transformer.drop" in told(tmp_path / "out")


def test_item_12_a_model_with_dropout_in_its_config_passes(tmp_path):
    inputs = save_world(tmp_path / "world", "gpt2")  # GPT-2's config has a dropout of .1
    assert json.loads((inputs["policy"] / "config.json").read_text())["attn_pdrop"] > 0
    assert run_ppo(inputs, tmp_path / "out", total_updates=1) == 0


def test_item_14_planted_bug_temperature_forgotten_in_the_update(world, tmp_path, monkeypatch):
    plain = ppo.response_logprobs
    monkeypatch.setattr(ppo, "response_logprobs", lambda policy, part, _, numerics: plain(policy, part, 1.0, numerics))
    assert run_ppo(world, tmp_path, temperature=0.7) == 70
    assert "before the first optimiser step" in told(tmp_path)
    assert "Cause: temperature. The pass that trains leaves it out" in told(tmp_path)


def test_item_14_planted_bug_temperature_forgotten_in_the_old_logprobs(world, tmp_path, monkeypatch):
    plain = rollouts.linear_logprobs_and_entropy
    monkeypatch.setattr(
        rollouts, "linear_logprobs_and_entropy", lambda *given, **how: plain(*given, **{**how, "temperature": 1.0})
    )
    assert run_ppo(world, tmp_path, temperature=0.7) == 70
    assert "sampling and training disagree" in told(tmp_path)
    assert "Cause: temperature. The pass of the old log-probabilities leaves it out" in told(tmp_path)


def test_item_14_planted_bug_temperature_forgotten_in_sampling(world, tmp_path, monkeypatch):
    plain = generate.choose_tokens
    warm = Decoding(max_new_tokens=6)
    monkeypatch.setattr(generate, "choose_tokens", lambda logits, draws, _: plain(logits, draws, warm))
    assert run_ppo(world, tmp_path, temperature=0.7) == 70
    assert "Cause: temperature. Sampling leaves it out" in told(tmp_path)


def test_item_14_planted_bug_temperature_forgotten_in_the_reference(world, tmp_path, monkeypatch):
    plain = rollouts.response_logprobs
    calls = []

    def forgetful(policy, part, temperature, numerics, **how):
        calls.append(policy)
        return plain(policy, part, temperature if policy is calls[0] else 1.0, numerics, **how)

    monkeypatch.setattr(rollouts, "response_logprobs", forgetful)
    assert run_ppo(world, tmp_path, temperature=0.7, sample_every=0, total_updates=1) == 70
    assert "same weights" in told(tmp_path)
    assert "Cause: temperature. The reference leaves it out" in told(tmp_path)


def test_items_3_and_4_planted_bug_padding_sides_mixed(world, tmp_path, monkeypatch):
    def pad_right_for_generation(prompts):
        width = max(map(len, prompts))
        ids = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in prompts])
        return ids, length_mask(torch.tensor([len(prompt) for prompt in prompts]), width)

    monkeypatch.setattr(generate, "way_to_decode", lambda model: "none")
    monkeypatch.setattr(decode_plain, "pad_left", pad_right_for_generation)
    assert run_ppo(world, tmp_path) == 70
    assert "sampling and training disagree" in told(tmp_path)
    assert "Cause: padding or position ids. Sampling is right for the longest prompts" in told(tmp_path)


def test_item_3_planted_bug_positions_not_counted_from_a_rows_own_start(world, tmp_path, monkeypatch):
    plain = Decoder._forward
    monkeypatch.setattr(Decoder, "_forward", lambda self, ids, at, keep: plain(self, ids, at + (at > 0), keep))
    monkeypatch.setattr(generate, "way_to_decode", lambda model: "modules")
    assert run_ppo(world, tmp_path) == 70
    assert "Sampling differs from a batch of one" in told(tmp_path)


def test_planted_bug_weights_that_move_between_scoring_and_training(world, tmp_path, monkeypatch):
    plain = ppo.optimise

    def optimise(models, *rest):
        with torch.no_grad():
            models.policy.get_input_embeddings().weight.mul_(1.5)
        return plain(models, *rest)

    monkeypatch.setattr(ppo, "optimise", optimise)
    assert run_ppo(world, tmp_path) == 70
    assert "the weights changed in between" in told(tmp_path) and "Cause" not in told(tmp_path)


def test_item_15_rollouts_are_drawn_from_the_whole_distribution(world, tmp_path, monkeypatch):
    used = []
    plain = ppo.sample_rollouts

    def sample(models, prompts, seeds, decoding, **options):
        used.append(decoding)
        return plain(models, prompts, seeds, decoding, **options)

    monkeypatch.setattr(ppo, "sample_rollouts", sample)
    assert run_ppo(world, tmp_path, total_updates=1, temperature=0.9) == 0
    assert set(used) == {Decoding(max_new_tokens=6, temperature=0.9, top_p=1.0, top_k=0)}
    assert not {"top_p", "top_k"} & set(vars(config_from_dict("ppo", {}))), "there is nothing to set"


def test_items_19_and_21_planted_bugs_change_what_is_learned(world, tmp_path, monkeypatch):
    """A reward one token early, and whitening of each rollout by itself: the last weights must tell."""
    plain_rewards, plain_whiten = rewards.token_rewards, rewards.whiten

    def early(kl, scores, mask, kl_coef):
        lengths = mask.sum(1)
        moved = plain_rewards(kl, torch.zeros_like(scores), mask, kl_coef)
        moved[torch.arange(len(scores)), (lengths - 2).clamp(min=0)] += scores
        return moved

    def whiten_each(x, mask):
        return torch.cat([plain_whiten(x[row : row + 1], mask[row : row + 1]) for row in range(len(x))])

    digests = set()
    for name, patched in {"right": {}, "early": {"token_rewards": early}, "parts": {"whiten": whiten_each}}.items():
        with monkeypatch.context() as patch:
            for function, bug in patched.items():
                patch.setattr(ppo, function, bug)
            assert run_ppo(world, tmp_path / name, total_updates=1, sample_every=0) == 0
        digests.add(sha256_of(tmp_path / name / "model" / "model.safetensors"))
    assert len(digests) == 3


# Rollouts


def rollouts_of(prompts: list[list[int]], answers: list[list[int]]) -> Rollouts:
    width = max(map(len, answers))
    ids = torch.tensor([answer + [0] * (width - len(answer)) for answer in answers])
    lengths = torch.tensor([len(answer) for answer in answers])
    ended = torch.tensor([answer[-1] == EOS for answer in answers])
    responses = Responses(ids, lengths, ended, torch.zeros(ids.shape))
    whole, _ = rollouts.pad_right([p + a for p, a in zip(prompts, answers, strict=True)], 0)
    return Rollouts(whole, torch.tensor([len(prompt) for prompt in prompts]), responses)


def test_a_pass_selects_the_token_before_each_response_token():
    made = rollouts_of([[5, 6, 7], [8]], [[9, EOS], [10, 11, 12]])
    [part] = made.passes([0, 1], 10_000, torch.device("cpu"))
    assert part.rows == [0, 1]
    assert part.select[0].nonzero().flatten().tolist() == [2, 3]
    assert part.select[1].nonzero().flatten().tolist() == [0, 1, 2]
    assert part.tokens.tolist() == [9, EOS, 10, 11, 12]
    assert part.row.ids[0, part.before].tolist() == part.ids[part.select].tolist() == [7, 9, 8, 10, 11]
    assert rollouts.spread(part.tokens, part.mask).tolist() == [[9.0, EOS, 0.0], [10.0, 11.0, 12.0]]


def test_item_5_an_answer_is_scored_at_an_eos_there_or_not():
    made = rollouts_of([[5, 6], [8]], [[9, EOS], [10, 11, 12]])
    reward_model = model.RewardModel(tiny_reward_network())
    reward_model.shift = 0.5
    [part] = made.passes([0, 1], 10_000, torch.device("cpu"))
    found = rollouts.response_scores(reward_model, part, EOS, Numerics(device="cpu", dtype="float32"))
    for row, ids in zip(part.rows, ([5, 6, 9, EOS], [8, 10, 11, EOS]), strict=True):
        wanted = reward_model.network(input_ids=torch.tensor([ids])).logits.squeeze() - 0.5
        assert found[row].item() == pytest.approx(wanted.item(), abs=1e-5)
    assert part.row.ids[0, part.row.last].tolist() == [EOS, 12], "the policy goes on seeing its own token"


def test_passes_hold_every_rollout_once_without_padding_within_the_budget():
    made = rollouts_of([[5] * (1 + 7 * i % 9) for i in range(11)], [[9] * (1 + i % 4) + [EOS] for i in range(11)])
    parts = made.passes(range(11), 24, torch.device("cpu"))
    assert sorted(row for part in parts for row in part.rows) == list(range(11))
    for part in parts:
        assert int(made.lengths[part.rows].sum()) <= 24 and part.row.tokens == int(made.lengths[part.rows].sum())
    alone = made.passes([0, 1], 1, torch.device("cpu"))
    assert [part.rows for part in alone] == [[1], [0]], "one that is over the budget goes alone"


def test_item_6_views_do_not_depend_on_the_batch(world, tmp_path):
    work = Workspace.open(run_json("ppo", world, tmp_path, CONFIG))
    models = rollouts.load_models(work)
    prompts = read_prompts(work, "train", models.tokenizer, 48, 6)
    decoding = Decoding(max_new_tokens=6)
    nothing = lambda: None  # noqa: E731
    made = rollouts.sample_rollouts(models, prompts, list(range(30)), decoding, batch_tokens=9999, heartbeat=nothing)
    views = [
        rollouts.view_rollouts(models, made, 1.0, with_values=True, budget=budget, heartbeat=nothing)
        for budget in (1, 100_000)
    ]
    for one, other in zip(*views, strict=True):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other), atol=1e-4, rtol=1e-4)


def test_the_cursor_takes_each_prompt_once_a_pass_in_new_orders_and_resumes():
    cursor = PromptCursor(10, seed=3)
    first = cursor.peek(10)
    assert sorted(first) == list(range(10))
    both = cursor.peek(20)
    assert both[:10] == first and sorted(both[10:]) == list(range(10)) and both[10:] != first
    cursor.advance(13)
    other = PromptCursor(10, seed=3)
    other.load_state_dict(cursor.state_dict())
    assert other.peek(7) == both[13:]
    with pytest.raises(ValueError, match="10 prompts"):
        PromptCursor(11, seed=3).load_state_dict(cursor.state_dict())


def test_item_27_prompts_are_used_once_and_long_ones_are_left_out_never_cut(world, tmp_path):
    write_prompts(tmp_path / "train.jsonl", ["a b", "a b", "c " * 60, "d"])
    assert run_ppo({**world, "train": tmp_path / "train.jsonl"}, tmp_path / "out", total_updates=1) == 0
    [data] = [event for event in events(tmp_path / "out", "data") if event["split"] == "train"]
    assert (data["kept"], data["filtered"]) == (2, 2)
    assert data["reasons"] == {
        "prompt that was there before": 1,
        "prompt longer than the context, less the room for an answer": 1,
    }


def test_no_prompt_left_is_said_in_words(world, tmp_path):
    write_prompts(tmp_path / "train.jsonl", ["c " * 60])
    assert run_ppo({**world, "train": tmp_path / "train.jsonl"}, tmp_path / "out") == 65
    assert "no prompt is left" in told(tmp_path / "out")


def test_a_reward_model_of_another_tokenizer_or_template_is_refused(tmp_path):
    inputs = save_world(tmp_path / "world")
    other = tiny_tokenizer()
    other.chat_template = other.chat_template.replace("Assistant: ", "Assistant:\n")
    other.save_pretrained(inputs["reward_model"])
    assert run_ppo(inputs, tmp_path / "template") == 65
    assert "the reward model has another chat template than the policy" in told(tmp_path / "template")
    other = tiny_tokenizer()
    other.add_tokens(["zebra"])
    other.save_pretrained(inputs["reward_model"])
    assert run_ppo(inputs, tmp_path / "tokens") == 65
    assert "another tokenizer than the policy" in told(tmp_path / "tokens")


# Brakes and options


def test_item_23_a_ratio_that_explodes_is_skipped_and_a_far_policy_ends_the_update(world, tmp_path):
    wild = {"learning_rate": 0.5, "warmup_updates": 0, "total_updates": 1, "sample_every": 0, "max_grad_norm": 0.0}
    # every ratio is above .001, so every step is left out, and the weights stay
    assert run_ppo(world, tmp_path / "skip", max_ratio=1e-3, **wild) == 0
    assert steps(tmp_path / "skip")[1]["policy/steps"] == 0
    skipped = (tmp_path / "skip" / "model" / "model.safetensors").read_bytes()
    assert skipped == (world["policy"] / "model.safetensors").read_bytes()
    assert run_ppo(world, tmp_path / "end", max_approx_kl=0.01, **wild) == 0
    assert steps(tmp_path / "end")[1]["policy/steps"] == 1


def test_a_run_ends_and_publishes_when_the_kl_passes_its_limit(world, tmp_path):
    assert run_ppo(world, tmp_path, max_kl=1e-3, total_updates=50) == 0
    found = steps(tmp_path)
    last = max(found)
    assert last < 50 and found[last]["objective/kl"] > 1e-3
    assert "validation/score" in found[last] and (tmp_path / "model").is_dir()


def test_the_kl_coefficient_follows_its_target(world, tmp_path):
    assert run_ppo(world, tmp_path, kl_target=1e-6, kl_horizon=12, kl_coef=0.1) == 0
    found = [steps(tmp_path)[step]["objective/kl_coef"] for step in (1, 2, 3)]
    # below the target, then above: each batch of 12 moves it by a fifth
    assert found[0] == 0.1 and found[1] != found[0] and found[2] == pytest.approx(found[1] * 1.2)


def test_value_warm_up_leaves_the_policy_alone(world, tmp_path):
    assert run_ppo(world, tmp_path, total_updates=2, value_warmup_updates=2) == 0
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    start = AutoModelForCausalLM.from_pretrained(world["policy"])
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), start.parameters(), strict=True))
    assert "grad_norm" not in steps(tmp_path)[1] and steps(tmp_path)[1]["grad_norm/value"] > 0


def test_the_average_of_the_weights_is_what_is_published(world, tmp_path):
    for name, decay in {"last": 0.0, "average": 0.9}.items():
        assert run_ppo(world, tmp_path / name, total_updates=1, warmup_updates=0, ema_decay=decay) == 0
    start, last, average = (
        AutoModelForCausalLM.from_pretrained(at).state_dict()
        for at in (world["policy"], tmp_path / "last" / "model", tmp_path / "average" / "model")
    )
    for name in start:
        torch.testing.assert_close(average[name], 0.9 * start[name] + 0.1 * last[name], atol=1e-6, rtol=1e-5)


def test_item_24_ptx_shows_both_gradient_norms_and_pulls_towards_the_text(full_world, tmp_path):
    assert run_ppo(full_world, tmp_path, ptx_coef=1.0, learning_rate=1e-2, warmup_updates=0, total_updates=4) == 0
    found = steps(tmp_path)
    assert all(found[step]["grad_norm/ppo"] > 0 and found[step]["grad_norm/ptx"] > 0 for step in range(1, 5))
    assert found[4]["loss/ptx"] < found[1]["loss/ptx"]


def test_the_first_update_shows_that_it_lives(world, tmp_path, monkeypatch):
    monkeypatch.setattr("training.rlhf.workspace.PROGRESS_SECONDS", 0.0)
    assert run_ppo(world, tmp_path, total_updates=1) == 0
    phases = [event["phase"] for event in events(tmp_path, "progress") if event["step"] == 0]
    assert {"generating", "scoring", "training", "validating"} <= set(phases)


def test_bfloat16_keeps_the_checks_within_its_own_tolerance(world, tmp_path):
    assert run_ppo(world, tmp_path, total_updates=2, numerics={"dtype": "bfloat16"}) == 0, told(tmp_path)
    assert ppo.tolerance(Numerics(dtype="bfloat16")) > ppo.tolerance(Numerics(matmul="highest"))


def test_seeds_are_named_by_what_they_draw():
    assert derive_seed(1, "a") == derive_seed(1, "a") != derive_seed(1, "b")
    assert 0 <= derive_seed(-5, "x") < 2**48
