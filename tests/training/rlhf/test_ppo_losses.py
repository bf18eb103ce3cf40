"""PPO's losses against numbers worked by hand and against a slow version in plain Python."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.rlhf.ppo_losses import policy_loss, token_entropy, token_logprobs, value_loss


def draw(seed: int, count: int = 12) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, generator=generator, dtype=torch.float64) for _ in range(4))


def slow_policy_loss(logprobs, old, advantages, cliprange):
    total = 0.0
    for lp, old_lp, a in zip(logprobs, old, advantages, strict=True):
        ratio = math.exp(lp - old_lp)
        total += max(-a * ratio, -a * min(max(ratio, 1 - cliprange), 1 + cliprange))
    return total / len(logprobs)


def slow_value_loss(values, old, returns, cliprange):
    total = 0.0
    for v, old_v, r in zip(values, old, returns, strict=True):
        kept = min(max(v, old_v - cliprange), old_v + cliprange)
        total += 0.5 * max((v - r) ** 2, (kept - r) ** 2)
    return total / len(values)


def test_policy_loss_worked_by_hand():
    # ratios 1, 2, 2, 1/2; advantages 1, 1, -1, -1; clip .2
    # max(-1, -1) = -1;  max(-2, -1.2) = -1.2;  max(2, 1.2) = 2;  max(.5, .8) = .8;  mean .15
    logprobs = torch.tensor([0.0, math.log(2), math.log(2), -math.log(2)])
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    result = policy_loss(logprobs, torch.zeros(4), advantages, cliprange=0.2, token_count=4)
    assert float(result.loss) == pytest.approx(0.15)
    assert int(result.clipped) == 3
    assert float(result.ratio) == pytest.approx(5.5) and float(result.ratio_max) == pytest.approx(2.0)
    # k3: ratio - 1 - log ratio: 0, 1 - ln 2 twice, -.5 + ln 2
    assert float(result.approx_kl) == pytest.approx(1.5 - math.log(2))


def test_a_clipped_ratio_has_no_gradient_where_clipping_pays():
    logprobs = torch.tensor([math.log(2), math.log(2)], requires_grad=True)
    policy_loss(logprobs, torch.zeros(2), torch.tensor([1.0, -1.0]), cliprange=0.2, token_count=1).loss.backward()
    assert logprobs.grad.tolist() == pytest.approx([0.0, 2.0])


def test_item_22_value_loss_worked_by_hand():
    # old value 0, return 1, clip .2. v = .5: max(.25, (.2 - 1)^2 = .64), half: .32. v = -1: max(4, 1.44), half: 2
    values = torch.tensor([0.5, -1.0])
    result = value_loss(values, torch.zeros(2), torch.ones(2), cliprange=0.2, token_count=2)
    assert float(result.loss) == pytest.approx((0.32 + 2.0) / 2)
    assert int(result.clipped) == 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cliprange=st.floats(0.05, 0.9))
def test_losses_equal_the_slow_version(seed, cliprange):
    new, old, third, _ = draw(seed)
    count, lists = len(new), [new.tolist(), old.tolist(), third.tolist()]
    fast = policy_loss(new, old, third, cliprange=cliprange, token_count=count).loss
    assert float(fast) == pytest.approx(slow_policy_loss(*lists, cliprange), abs=1e-6)
    fast = value_loss(new, old, third, cliprange=cliprange, token_count=count).loss
    assert float(fast) == pytest.approx(slow_value_loss(*lists, cliprange), abs=1e-6)


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_item_22_cutting_a_minibatch_into_passes_changes_neither_loss_nor_gradient(cut):
    new, old, third, _ = draw(5)

    def total(parts):
        leaf = new.clone().requires_grad_()
        loss = sum(
            policy_loss(leaf[part], old[part], third[part], cliprange=0.2, token_count=len(new)).loss
            + value_loss(leaf[part], old[part], third[part], cliprange=0.2, token_count=len(new)).loss
            for part in parts
        )
        loss.backward()
        return float(loss.detach()), leaf.grad

    whole, parts = total([slice(None)]), total([slice(None, cut), slice(cut, None)])
    assert whole[0] == pytest.approx(parts[0], abs=1e-12)
    torch.testing.assert_close(whole[1], parts[1])


def test_item_14_logprobs_are_taken_at_the_temperature():
    # logits 0, ln 3 at temperature 1/2 are 0, 2 ln 3: probabilities 1/10, 9/10
    logits = torch.tensor([[0.0, math.log(3)]])
    assert float(token_logprobs(logits, torch.tensor([1]), 0.5)) == pytest.approx(math.log(0.9))
    assert float(token_logprobs(logits, torch.tensor([1]), 1.0)) == pytest.approx(math.log(0.75))
    assert float(token_entropy(logits, 0.5)) == pytest.approx(-0.1 * math.log(0.1) - 0.9 * math.log(0.9))


def test_item_16_logprobs_are_float32_whatever_the_logits_are():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    tokens = torch.tensor([3, 4, 5])
    logprobs = token_logprobs(logits, tokens, 0.7)
    assert logprobs.dtype == torch.float32
    exact = torch.log_softmax(logits.double() / 0.7, -1)[torch.arange(3), tokens]
    torch.testing.assert_close(logprobs.double(), exact, atol=1e-5, rtol=0)
