"""The head's log-probabilities and cross-entropy without a tensor of tokens x vocabulary: equal to the plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.training.rlhf.seven import SEVEN, VOCABULARY, small_policy, tokens
from training.rlhf import linear
from training.rlhf.linear import (
    Head,
    head_of,
    linear_cross_entropy,
    linear_logprobs,
    linear_logprobs_and_entropy,
)

N, D, V = 10, 4, 7


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def plain_logprobs(hidden: Tensor, head: Head, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """The obvious version: all logits at once."""
    return torch.log_softmax(head.logits(hidden) / temperature, dim=-1)[torch.arange(len(targets)), targets]


@pytest.fixture(params=["one chunk", "chunks of three, kept", "chunks of three, made again"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "one chunk":
        monkeypatch.setattr(linear, "CHUNK_BYTES", 3 * 4 * V)
    if request.param.endswith("again"):
        monkeypatch.setattr(linear, "KEEP_BYTES", 0)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("has_bias", [False, True])
def test_values_and_gradients_are_those_of_the_plain_head(softcap: float | None, has_bias: bool) -> None:
    torch.manual_seed(0)
    hidden, weight, bias = drawn(N, D), drawn(V, D), drawn(V) if has_bias else None
    targets = torch.randint(0, V, (N,))
    inputs = [part for part in (hidden, weight, bias) if part is not None]
    head = Head(weight, bias, scale=1.5, softcap=softcap)
    outside = torch.randn(N, dtype=torch.float64)
    for temperature in (1.0, 0.7):
        found = linear_logprobs(hidden, head, targets, temperature=temperature)
        wanted = plain_logprobs(hidden, head, targets, temperature)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        mine, theirs = (torch.autograd.grad((of * outside).sum(), inputs) for of in (found, wanted))
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    found, wanted = linear_cross_entropy(hidden, head, targets), -plain_logprobs(hidden, head, targets).sum()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    mine, theirs = (torch.autograd.grad(of / 3, inputs) for of in (found, wanted))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_the_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(1)
    inputs, targets = (drawn(3, D), drawn(V, D), drawn(V)), torch.randint(0, V, (3,))

    def logprobs(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_logprobs(hidden, Head(weight, bias, 1.2, 2.0), targets, temperature=0.8)

    def cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(hidden, Head(weight, bias, 1.2, 2.0), targets)

    assert torch.autograd.gradcheck(logprobs, inputs)
    assert torch.autograd.gradcheck(cross_entropy, inputs)


def test_entropy_is_that_of_the_whole_distribution_and_carries_no_gradient() -> None:
    torch.manual_seed(2)
    hidden, head, targets = drawn(N, D), Head(drawn(V, D)), torch.randint(0, V, (N,))
    _, entropy = linear_logprobs_and_entropy(hidden, head, targets, temperature=0.5)
    logprobs = torch.log_softmax(head.logits(hidden) / 0.5, dim=-1)
    torch.testing.assert_close(entropy, -(logprobs.exp() * logprobs).sum(dim=-1), rtol=0, atol=1e-12)
    assert not entropy.requires_grad


def test_a_token_that_is_all_but_impossible_has_a_finite_log_probability() -> None:
    head = Head(torch.tensor([[200.0], [-200.0]]))
    found = linear_logprobs(torch.ones(1, 1), head, torch.tensor([1]))
    assert found.item() == -400.0


def test_under_autocast_products_are_bfloat16_and_log_probabilities_float32() -> None:
    torch.manual_seed(3)
    hidden, weight = torch.randn(32, 16, requires_grad=True), torch.randn(V, 16, requires_grad=True)
    targets = torch.randint(0, V, (32,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_logprobs(hidden, Head(weight), targets)
        loss = linear_cross_entropy(hidden, Head(weight), targets)
    rounded = (hidden.bfloat16() @ weight.bfloat16().t()).float()
    wanted = torch.log_softmax(rounded, dim=-1)[torch.arange(32), targets]
    assert found.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(found, wanted)
    exact = torch.autograd.grad(plain_logprobs(hidden, Head(weight), targets).sum(), [hidden, weight])
    for of, sign in ((found.sum(), 1), (loss, -1)):
        for mine, theirs in zip(torch.autograd.grad(of, [hidden, weight]), exact, strict=True):
            assert mine.dtype == torch.float32
            torch.testing.assert_close(sign * mine, theirs, rtol=0.05, atol=0.05)


def test_a_frozen_head_gets_no_gradient_and_leaves_that_of_the_states_alone() -> None:
    torch.manual_seed(4)
    hidden, weight, targets = drawn(N, D), drawn(V, D).detach(), torch.randint(0, V, (N,))
    linear_cross_entropy(hidden, Head(weight), targets).backward()
    wanted = torch.autograd.grad(-plain_logprobs(hidden, Head(weight), targets).sum(), hidden)[0]
    torch.testing.assert_close(hidden.grad, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", SEVEN)
def test_the_head_of_a_family_gives_the_logits_of_its_own_forward(family: str) -> None:
    model = small_policy(family)
    head, ids = head_of(model), torch.tensor([tokens(9, seed=1)])
    assert head is not None
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
    wanted = model(input_ids=ids, use_cache=False).logits[0]
    assert wanted.shape[-1] == VOCABULARY
    torch.testing.assert_close(head.logits(states), wanted, rtol=0, atol=1e-9)


def test_a_head_that_does_something_unknown_is_not_taken() -> None:
    model = small_policy("llama")
    model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits + 0.1 * logits**2)
    assert head_of(model) is None
