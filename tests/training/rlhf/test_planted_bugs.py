"""The bugs that people who wrote RLHF before us report, planted one at a time: each must turn a check red.

A row of the table says what is broken, how it is planted in the smallest place, which test or audit holds against it,
and a few words of what that says. Each guard is green before and red after.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from tests.training.rlhf import test_checklist, test_rewards
from tests.training.rlhf import world as plain_world
from tests.training.rlhf.oracle import slow
from tests.training.rlhf.tiny import EOS, PAD, events, run_json, save_world
from tests.training.rlhf.watching import plant, watch
from training.rlhf import data, decode_plain, flat, generate, model, ppo, ppo_losses, rewards, rollouts, tokens
from training.rlhf.__main__ import run_stage

Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.xdist_group("planted bugs")  # they share what was shown to be sound

# An audit: one update of PPO, every number that the losses are given worked out again, slowly


SETTINGS = {
    "total_updates": 1,
    "rollouts_per_update": 24,
    "minibatch_size": 24,
    "micro_batch_tokens": 100,
    "max_new_tokens": 6,
    "temperature": 0.7,
    "kl_coef": 0.2,
    "gamma": 0.95,
    "lam": 0.9,
    "missing_eos_penalty": 1.5,
    "sample_every": 0,
    "sample_count": 0,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """GPT-2, which has dropout in its config and positions that are learned."""
    inputs = save_world(tmp_path_factory.mktemp("world"), "gpt2")
    for name in ("policy", "reward_model"):  # dropout of attention is refused where it is computed
        path = inputs[name] / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"attn_pdrop": 0.0}))
    return {name: path for name, path in inputs.items() if name != "validation"}


def audit(given: Given) -> None:
    """Raise AssertionError where an update is not what the definitions make of the same answers."""
    with Patch.context() as patch:
        [sampled, kl, finish, policy_losses, value_losses] = [
            watch(patch, function)
            for function in (
                generate.generate,
                rewards.kl_per_token,
                rewards.finish_scores,
                ppo_losses.policy_loss,
                ppo_losses.value_loss,
            )
        ]
        run = run_json("ppo", given.world, given.folder, SETTINGS)
        run["numerics"] |= {"matmul": "highest"}
        code = run_stage(run)
    assert code == 0, events(given.folder, "failed")[-1]["message"]
    responses, prompts = sampled[0].result, sampled[0].given["prompts"]
    answers = [responses.tokens(row) for row in range(len(prompts))]
    assert any(PAD in answer for answer in answers), "the audit wants a policy that says the pad token"
    assert [answer[-1] == EOS for answer in answers] == responses.ended.tolist(), "an answer that ended has no EOS"
    mask = kl[0].given["mask"]
    assert mask.sum(dim=1).tolist() == list(map(len, answers)), "a mask is not as long as its answer"
    scores = [score_at_eos(given.network, [*prompt, *of]) for prompt, of in zip(prompts, answers, strict=True)]
    assert finish[0].given["scores"].tolist() == pytest.approx(scores, abs=1e-4), "a score is read elsewhere"

    def rows(tensor: Tensor) -> list[list[float]]:
        return [row[: len(of)] for row, of in zip(tensor.tolist(), answers, strict=True)]

    kls = map(slow.kl, rows(kl[0].given["logprobs"]), rows(kl[0].given["ref_logprobs"]))
    ends = [score - 1.5 * (not ended) for score, ended in zip(scores, responses.ended.tolist(), strict=True)]
    values = given.values([[*prompt, *of] for prompt, of in zip(prompts, answers, strict=True)], answers)
    advantages = [
        slow.advantages(slow.rewards(of, end, 0.2), value, 0.95, 0.9)
        for of, end, value in zip(kls, ends, values, strict=True)
    ]
    returns = [a + v for of, value in zip(advantages, values, strict=True) for a, v in zip(of, value, strict=True)]
    learned = torch.cat([call.given["advantages"] for call in policy_losses])
    expected = sorted(itertools.chain(*slow.whiten(advantages)))
    assert sorted(learned.tolist()) == pytest.approx(expected, abs=1e-3), "advantages are not those of the definitions"
    learned = torch.cat([call.given["returns"] for call in value_losses])
    assert sorted(learned.tolist()) == pytest.approx(sorted(returns), abs=1e-3), "returns are not the definitions'"


@torch.no_grad()
def score_at_eos(network: Any, ids: list[int]) -> float:
    """Of the plain model: the last token is EOS, there or not; the world's shift taken off."""
    hidden = network.base_model(torch.tensor([[*ids[:-1], EOS]])).last_hidden_state
    return float(network.score(hidden)[0, -1, 0]) - 0.25


class Given(NamedTuple):
    """What a guard needs."""

    world: dict[str, Path]
    folder: Path
    network: Any
    base: Path
    tokenizer: Any
    policy: Any
    reward_model: Any

    @torch.no_grad()
    def values(self, sequences: list[list[int]], answers: list[list[int]]) -> list[list[float]]:
        """Of the states before each token of each answer; the value model starts as the reward model."""
        found = []
        for ids, answer in zip(sequences, answers, strict=True):
            states = self.network.score(self.network.base_model(torch.tensor([ids])).last_hidden_state)[0, :, 0] - 0.25
            found.append(states[len(ids) - len(answer) - 1 : -1].tolist())
        return found


# The bugs


def dropout_on(patch: Patch) -> None:
    patch.setattr(model, "disable_dropout", lambda network: None)
    plain = ppo.optimise
    patch.setattr(ppo, "optimise", lambda models, *rest: (models.policy.train(), plain(models, *rest))[1])


def temperature_forgotten_in_the_update(patch: Patch) -> None:
    plain = ppo.response_logprobs
    patch.setattr(ppo, "response_logprobs", lambda model, part, _, *rest, **how: plain(model, part, 1.0, *rest, **how))


def temperature_forgotten_in_the_reference(patch: Patch) -> None:
    plain, policies = rollouts.response_logprobs, []

    def forgetful(model: Any, part: Any, temperature: float, *rest: Any, **how: Any) -> Any:
        policies.append(model)  # the policy is looked at first
        return plain(model, part, temperature if model is policies[0] else 1.0, *rest, **how)

    patch.setattr(rollouts, "response_logprobs", forgetful)


def temperature_forgotten_in_sampling(patch: Patch) -> None:
    plain = generate.choose_tokens
    warm = generate.Decoding(max_new_tokens=6)
    patch.setattr(generate, "choose_tokens", lambda logits, draws, _: plain(logits, draws, warm))


def reward_moved(by: int) -> Callable[[Patch], None]:
    def moved(plain: Any, kl: Tensor, scores: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
        found = plain(kl, torch.zeros_like(scores), mask, kl_coef)
        found[torch.arange(len(scores)), (mask.sum(dim=1) - 1 + by).clamp(0, mask.shape[1] - 1)] += scores
        return found

    return lambda patch: plant(patch, rewards.token_rewards, moved)


def score_read_one_token_early(patch: Patch) -> None:
    patch.setattr(flat.FlatRow, "last", property(lambda row: torch.tensor([places[-2] for places in row.places])))


def prompts_padded_on_the_right(patch: Patch) -> None:
    def pad(prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
        ids, lengths = data.pad_right(prompts, PAD)
        width = int(lengths.max())
        return ids[:, :width], data.length_mask(lengths, width)

    patch.setattr(generate, "way_to_decode", lambda model: "none")
    patch.setattr(decode_plain, "pad_left", pad)


def scores_padded_on_the_left(patch: Patch) -> None:
    def pad(plain: Any, sequences: Any, pad_id: int) -> tuple[Tensor, Tensor]:
        ids, lengths = plain(sequences, pad_id)
        return torch.stack([row.roll(-int(length)) for row, length in zip(ids, lengths, strict=True)]), lengths

    plant(patch, data.pad_right, pad)


def mask_from_the_pad_id(patch: Patch) -> None:
    patch.setattr(rollouts.Rollouts, "mask", property(lambda made: made.responses.ids != PAD))


def whitened_in_parts(patch: Patch) -> None:
    def parts(plain: Any, x: Tensor, mask: Tensor) -> Tensor:
        return torch.cat([plain(x[at : at + 4], mask[at : at + 4]) for at in range(0, len(x), 4)])

    plant(patch, rewards.whiten, parts)


def pad_is_eos(patch: Patch) -> None:
    def prepare(plain: Any, *given: Any) -> Any:
        prepared = plain(*given)
        prepared.pad_token = prepared.eos_token
        return prepared

    plant(patch, tokens.prepare_tokenizer, prepare)


def eos_masked_as_padding(patch: Patch) -> None:
    def encode(plain: Any, made_by: Any, *given: Any) -> tuple[list[int], list[bool]]:
        ids, counts = plain(made_by, *given)
        return ids, [count and token != made_by.eos_token_id for token, count in zip(ids, counts, strict=True)]

    plant(patch, tokens.encode_conversation, encode)


def demonstrations_cut(patch: Patch) -> None:
    def encode(plain: Any, *given: Any) -> tuple[list[int], list[bool]]:
        ids, counts = plain(*given)
        return ids[:96], counts[:96]

    plant(patch, tokens.encode_conversation, encode)


def eos_of_an_answer_cut(patch: Patch) -> None:
    def cut(plain: Any, *given: Any, **how: Any) -> Any:
        made = plain(*given, **how)
        return made._replace(lengths=torch.where(made.ended, (made.lengths - 1).clamp(min=1), made.lengths))

    plant(patch, generate.generate, cut)


# The guards that are tests of their own


def pad_token(given: Given) -> None:
    test_checklist.test_01_pad_is_not_eos(tokens.load_tokenizer(given.base), given.policy)


def learned_eos(given: Given) -> None:
    test_checklist.test_01_pad_is_not_eos(given.tokenizer, given.policy)


def nothing_cut(given: Given) -> None:
    test_checklist.test_05_nothing_is_cut_so_no_eos_is_lost(given.tokenizer, given.folder, given.base)


def score_in_a_batch_and_alone(given: Given) -> None:
    test_checklist.test_04_the_score_is_read_at_the_right_token_under_right_padding(given.tokenizer, given.reward_model)


def whitened_whole(given: Given) -> None:
    x, mask = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.ones(8, 3, dtype=torch.bool)
    white = test_rewards.whiten(x, mask)
    assert white.flatten().tolist() == pytest.approx(list(itertools.chain(*slow.whiten(x.tolist()))), abs=1e-5)


def reward_by_hand(given: Given) -> None:
    test_rewards.test_item_19_score_sits_on_the_last_real_token()


class Bug(NamedTuple):
    name: str
    plant: Callable[[Patch], None]
    guard: Callable[[Given], None]
    says: str
    """Words of what the guard says; "" where any difference will do."""


BUGS = [
    Bug("pad is EOS", pad_is_eos, pad_token, ""),
    Bug("EOS masked as if it were padding", eos_masked_as_padding, learned_eos, "the real EOS is learned"),
    Bug("demonstrations cut at the context", demonstrations_cut, nothing_cut, ""),
    Bug("EOS of an answer cut", eos_of_an_answer_cut, audit, "an answer that ended has no EOS"),
    Bug("dropout on", dropout_on, audit, "before the first optimiser step"),
    Bug("temperature forgotten in the update", temperature_forgotten_in_the_update, audit, "temperature"),
    Bug("temperature forgotten in the reference", temperature_forgotten_in_the_reference, audit, "temperature"),
    Bug("temperature forgotten in sampling", temperature_forgotten_in_sampling, audit, "temperature"),
    Bug("reward one token early", reward_moved(by=-1), audit, "advantages are not those of the definitions"),
    Bug("reward one token late", reward_moved(by=1), audit, "advantages are not those of the definitions"),
    Bug("reward one token late, by hand", reward_moved(by=1), reward_by_hand, ""),
    Bug("score read one token early", score_read_one_token_early, audit, "a score is read elsewhere"),
    Bug("prompts padded on the right", prompts_padded_on_the_right, audit, "sampling and training disagree"),
    Bug("scores padded on the left", scores_padded_on_the_left, score_in_a_batch_and_alone, ""),
    Bug("mask from the pad id", mask_from_the_pad_id, audit, ""),
    Bug("whitened in parts", whitened_in_parts, audit, "advantages are not those of the definitions"),
    Bug("whitened in parts, by hand", whitened_in_parts, whitened_whole, ""),
]


@pytest.fixture(scope="module")
def given(world: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Given:
    base = plain_world.make_base(tmp_path_factory.mktemp("base"))
    tokenizer = tokens.load_tokenizer(base)
    policy, scorer = (
        model.load_policy(base, test_checklist.CPU),
        model.reward_model_from_policy(base, test_checklist.CPU, 3),
    )
    for network in (policy, scorer.network):
        model.fit_to_tokenizer(network, tokenizer)
    network = AutoModelForSequenceClassification.from_pretrained(world["reward_model"]).eval()
    return Given(world, base, network, base, tokenizer, policy, scorer)


@pytest.fixture(scope="module")
def sound(given: Given, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every guard is green where nothing is planted."""
    for guard in dict.fromkeys(bug.guard for bug in BUGS):
        guard(given._replace(folder=tmp_path_factory.mktemp("sound")))


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_turns_its_guard_red(bug: Bug, given: Given, tmp_path: Path) -> None:
    with Patch.context() as patch:
        bug.plant(patch)
        with pytest.raises((AssertionError, ValueError, IndexError, RuntimeError)) as red:
            bug.guard(given._replace(folder=tmp_path))
    assert bug.says in str(red.value)
