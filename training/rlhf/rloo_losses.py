"""The losses of RLOO, in which a whole answer is one action: pure functions.

Shapes: P prompts, k answers to each, B answers of a pass. `count` is the number of answers of the whole minibatch: each
pass divides by it, so that gradients summed over passes are those of the mean, however the minibatch was cut.
"""

from __future__ import annotations

import torch
from torch import Tensor


def leave_one_out(rewards: Tensor) -> Tensor:
    """Advantages (P, k): each answer's reward less the mean of the other k - 1 to its prompt. rewards (P, k), k >= 2.

    Source: Ahmadian et al. 2024 (arXiv:2402.14740); Kool et al. 2019. The baseline does not depend on the
    answer itself, so the gradient stays unbiased; the advantages of a prompt add up to 0.
    """
    k = rewards.shape[1]
    if k < 2:
        raise ValueError("leaving one out needs two answers to a prompt at least")
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (k - 1)
    return rewards - others


def reinforce_loss(logprobs: Tensor, advantages: Tensor, *, count: int) -> Tensor:
    """Mean of -A log pi(answer), this pass's share of it; logprobs and advantages (B,). A scalar.

    Source: Williams 1992; Ahmadian et al. 2024. Its gradient holds for the policy that wrote the answers.
    """
    return -(advantages * logprobs).sum() / count


def clipped_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, cliprange: float, count: int) -> Tensor:
    """Mean of max(-A r, -A clip(r, 1 - c, 1 + c)), r the probability ratio of whole answers; all (B,). A scalar.

    Source: Schulman et al. 2017 (arXiv:1707.06347), equation 7, with an answer for an action. Where r = 1 its gradient
    is that of `reinforce_loss`. The ratio of an answer is the product of its tokens', so it leaves the range sooner.
    """
    ratio = (logprobs - old_logprobs).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)).sum() / count
