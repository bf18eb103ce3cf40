"""Rewards, advantages and whitening against numbers worked by hand and against a slow version in plain Python."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.rlhf.data import length_mask
from training.rlhf.rewards import (
    KLController,
    estimate_advantages,
    explained_variance,
    finish_scores,
    kl_per_token,
    token_rewards,
    whiten,
)


def random_batch(seed: int, rows: int = 4, width: int = 6) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width + 1, (rows,), generator=generator)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    tensors = {"logprobs": draw(rows, width), "ref": draw(rows, width), "values": draw(rows, width)}
    return {**tensors, "scores": draw(rows)}, length_mask(lengths, width), lengths.tolist()


# The slow version: one response at a time, lists of floats


def slow_rewards(logprobs: list[float], ref: list[float], score: float, kl_coef: float) -> list[float]:
    rewards = [-kl_coef * (lp - r) for lp, r in zip(logprobs, ref, strict=True)]
    rewards[-1] += score
    return rewards


def slow_advantages(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """From the definition, a double sum: A_t = sum_l (gamma lam)^l delta_(t+l)."""
    following = [*values[1:], 0.0]
    deltas = [r + gamma * n - v for r, n, v in zip(rewards, following, values, strict=True)]
    return [
        sum((gamma * lam) ** (at - start) * deltas[at] for at in range(start, len(deltas)))
        for start in range(len(deltas))
    ]


def test_item_19_score_sits_on_the_last_real_token():
    # two responses of 3 and 1 tokens; KL per token .1 .2 -.3 | .5; beta 2
    kl = torch.tensor([[0.1, 0.2, -0.3], [0.5, 9.0, 9.0]])
    mask = length_mask(torch.tensor([3, 1]), 3)
    rewards = token_rewards(kl, torch.tensor([1.0, -1.0]), mask, kl_coef=2.0)
    # row 0: -.2, -.4, .6 + 1;   row 1: -1 - 1, and nothing behind it
    torch.testing.assert_close(rewards, torch.tensor([[-0.2, -0.4, 1.6], [-2.0, 0.0, 0.0]]))


def test_item_19_rewards_of_a_response_sum_to_score_minus_beta_kl():
    tensors, mask, _ = random_batch(1)
    kl = kl_per_token(tensors["logprobs"], tensors["ref"], mask)
    rewards = token_rewards(kl, tensors["scores"], mask, kl_coef=0.3)
    torch.testing.assert_close(rewards.sum(1), tensors["scores"] - 0.3 * kl.sum(1))


def test_a_response_without_a_token_is_refused():
    with pytest.raises(ValueError, match="no token"):
        token_rewards(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1, 2, dtype=torch.bool), 0.1)


def test_item_20_kl_is_k1_signed_and_zero_on_padding():
    logprobs, ref = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[-1.5, -1.0, 50.0]])
    kl = kl_per_token(logprobs, ref, length_mask(torch.tensor([2]), 3))
    torch.testing.assert_close(kl, torch.tensor([[0.5, -1.0, 0.0]]))


def test_item_18_a_missing_eos_costs_the_penalty():
    scores = finish_scores(torch.tensor([0.4, 0.4]), torch.tensor([True, False]), 1.0)
    torch.testing.assert_close(scores, torch.tensor([0.4, -0.6]))


def test_advantages_worked_by_hand():
    # rewards 0, 0, 1; values .5, .4, .2; gamma 1, lambda .5
    # deltas: 0 + .4 - .5 = -.1;  0 + .2 - .4 = -.2;  1 + 0 - .2 = .8
    # A2 = .8;  A1 = -.2 + .5 * .8 = .2;  A0 = -.1 + .5 * .2 = 0
    mask = torch.ones(1, 3, dtype=torch.bool)
    values = torch.tensor([[0.5, 0.4, 0.2]])
    advantages, returns = estimate_advantages(torch.tensor([[0.0, 0.0, 1.0]]), values, mask, gamma=1.0, lam=0.5)
    torch.testing.assert_close(advantages, torch.tensor([[0.0, 0.2, 0.8]]))
    torch.testing.assert_close(returns, torch.tensor([[0.5, 0.6, 1.0]]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), gamma=st.floats(0.5, 1.0), lam=st.floats(0.0, 1.0), kl_coef=st.floats(0.0, 1.0))
def test_rewards_and_advantages_equal_the_slow_version(seed, gamma, lam, kl_coef):
    tensors, mask, lengths = random_batch(seed)
    kl = kl_per_token(tensors["logprobs"], tensors["ref"], mask)
    rewards = token_rewards(kl, tensors["scores"], mask, kl_coef)
    advantages, returns = estimate_advantages(rewards, tensors["values"], mask, gamma=gamma, lam=lam)
    for row, length in enumerate(lengths):
        rows = {name: tensor[row, :length].tolist() for name, tensor in tensors.items() if tensor.dim() == 2}
        slow = slow_rewards(rows["logprobs"], rows["ref"], float(tensors["scores"][row]), kl_coef)
        assert rewards[row, :length].tolist() == pytest.approx(slow, abs=1e-6)
        slow = slow_advantages(slow, rows["values"], gamma, lam)
        assert advantages[row, :length].tolist() == pytest.approx(slow, abs=1e-6)
        assert returns[row, :length].tolist() == pytest.approx(
            [a + v for a, v in zip(slow, rows["values"], strict=True)], abs=1e-6
        )
        assert not advantages[row, length:].any() and not returns[row, length:].any()


def test_what_stands_in_padding_changes_nothing():
    tensors, mask, _ = random_batch(3)
    noisy = {name: torch.where(mask, x, 1e6) if x.dim() == 2 else x for name, x in tensors.items()}

    def outcome(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        rewards = token_rewards(kl_per_token(batch["logprobs"], batch["ref"], mask), batch["scores"], mask, 0.1)
        return whiten(estimate_advantages(rewards, batch["values"], mask, gamma=1.0, lam=0.95)[0], mask)

    assert torch.equal(outcome(tensors), outcome(noisy))


def test_item_21_whitening_makes_mean_0_and_deviation_1_over_real_tokens_of_the_whole_batch():
    # 1, 2, 3 | 6 (the 100s are padding): mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5
    x = torch.tensor([[1.0, 2.0, 3.0], [6.0, 100.0, 100.0]])
    mask = length_mask(torch.tensor([3, 1]), 3)
    expected = torch.tensor([[-2.0, -1.0, 0.0], [3.0, 0.0, 0.0]]) / math.sqrt(3.5)
    torch.testing.assert_close(whiten(x, mask), expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_whitening_equals_the_slow_version(seed):
    tensors, mask, _ = random_batch(seed)
    values = tensors["values"][mask].tolist()
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + 1e-8)
    white = whiten(tensors["values"], mask)
    assert white[mask].tolist() == pytest.approx([(v - mean) / deviation for v in values], abs=1e-6)


def test_item_21_whitening_each_micro_batch_would_give_other_numbers():
    x, mask = torch.tensor([[0.0, 1.0], [10.0, 12.0]]), torch.ones(2, 2, dtype=torch.bool)
    by_parts = torch.cat([whiten(x[:1], mask[:1]), whiten(x[1:], mask[1:])])
    assert not torch.allclose(whiten(x, mask), by_parts, atol=0.1)


def test_explained_variance():
    returns, mask = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3, dtype=torch.bool)
    assert explained_variance(returns, returns, mask) == 1.0
    assert explained_variance(torch.full((1, 3), 2.0), returns, mask) == 0.0
    assert explained_variance(returns, torch.ones(1, 3), mask) == 0.0


def test_adaptive_kl_steers_towards_its_target():
    controller = KLController(0.1, target=6.0, horizon=1000)
    controller.update(kl=12.0, episodes=100)  # error 1, clipped to .2: times 1 + .2 * 100 / 1000
    assert controller.kl_coef == pytest.approx(0.102)
    controller.update(kl=5.4, episodes=100)  # error -.1
    assert controller.kl_coef == pytest.approx(0.102 * 0.99)
    fixed = KLController(0.1)
    fixed.update(kl=50.0, episodes=100)
    assert fixed.kl_coef == 0.1
    restored = KLController(0.5, target=6.0, horizon=1000)
    restored.load_state_dict(controller.state_dict())
    assert restored.kl_coef == controller.kl_coef


def test_masks_come_from_lengths():
    assert np.array_equal(length_mask(torch.tensor([0, 2]), 3).numpy(), [[False] * 3, [True, True, False]])
