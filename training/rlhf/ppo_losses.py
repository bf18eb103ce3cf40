"""The losses of PPO, as pure functions of flat vectors of response tokens.

Shapes: N response tokens (all responses of a micro-batch laid end to end, no padding), V vocabulary. `token_count`
is the number of response tokens of the whole *minibatch*: each micro-batch divides by it, so that gradients summed
over micro-batches equal the gradient of the minibatch's token mean, however it was cut. Statistics come back as
sums for the same reason (`ratio_max` apart), and carry no gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class PolicyLoss(NamedTuple):
    loss: Tensor
    """(), this micro-batch's share of the minibatch's mean; carries the gradient."""
    approx_kl: Tensor
    """(), sum over tokens of (ratio - 1) - log ratio, nats: the k3 estimate of KL(old policy || policy)."""
    clipped: Tensor
    """(), number of tokens whose ratio lies outside 1 +- cliprange."""
    ratio: Tensor
    """(), sum over tokens of ratio = policy probability / old policy probability."""
    ratio_error: Tensor
    """(), sum over tokens of |ratio - 1|: 0 before the first optimiser step."""
    ratio_max: Tensor
    """(), largest ratio."""


class ValueLoss(NamedTuple):
    loss: Tensor
    """(), this micro-batch's share of the minibatch's mean; carries the gradient."""
    clipped: Tensor
    """(), number of tokens where the clipped error was the larger one."""


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Log-probability in nats of each token under softmax(logits / temperature), in float32 (or wider) throughout.

    logits (N, V) of any float dtype, tokens (N,) -> (N,). *Every* pass over the policy and the reference (old,
    reference, update) goes through here with the sampling temperature: forgetting it in one makes the first ratio != 1.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if temperature != 1.0:
        logits = logits / temperature
    return -F.cross_entropy(logits, tokens, reduction="none")


def token_entropy(logits: Tensor, temperature: float) -> Tensor:
    """Entropy in nats of softmax(logits / temperature): (N, V) -> (N,), in float32 or wider."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    logprobs = torch.log_softmax(logits / temperature, dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, cliprange: float, token_count: int
) -> PolicyLoss:
    """Clipped surrogate loss: mean of max(-A r, -A clip(r, 1 - c, 1 + c)), with r = exp(logprobs - old_logprobs).

    All (N,). Source: Schulman et al. 2017 (arXiv:1707.06347), eq. 7, negated.
    """
    log_ratio = logprobs - old_logprobs
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - cliprange, 1.0 + cliprange)
    with torch.no_grad():
        approx_kl = (ratio - 1.0 - log_ratio).sum()
        outside = ((ratio - 1.0).abs() > cliprange).sum()
    return PolicyLoss(
        loss=torch.maximum(unclipped, clipped).sum() / token_count,
        approx_kl=approx_kl,
        clipped=outside,
        ratio=ratio.detach().sum(),
        ratio_error=(ratio.detach() - 1.0).abs().sum(),
        ratio_max=ratio.detach().max(),
    )


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, *, cliprange: float, token_count: int) -> ValueLoss:
    """Half the mean of max((v - R)^2, (clip(v, v_old - c, v_old + c) - R)^2). All (N,).

    Source: openai/lm-human-preferences, train_policy.py, `loss`; the value's own version of PPO's clipping.
    """
    kept = torch.maximum(torch.minimum(values, old_values + cliprange), old_values - cliprange)
    unclipped_error = (values - returns) ** 2
    clipped_error = (kept - returns) ** 2
    return ValueLoss(
        loss=0.5 * torch.maximum(unclipped_error, clipped_error).sum() / token_count,
        clipped=(clipped_error > unclipped_error).detach().sum(),
    )
