"""AdamW in two groups, learning rates as a function of the step, and clipping.

The learning rate is computed from the step alone, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from training.rlhf.config import TrainingConfig

FLOOR = 0.1  # cosine ends, and warm-up starts, at this share of the peak (InstructGPT, appendix C)


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the model's weights: matrices decayed, vectors (norms, biases) not."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [weight for weight in weights if weight.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_eps,
        fused=True,
    )


def learning_rate_at(step: int, *, peak: float, schedule: str, warmup: int, total: int) -> float:
    """The learning rate of step 1..total.

    Warm-up rises in a line from a tenth of the peak to the peak, which is first reached at step `warmup` + 1. Then
    cosine falls to a tenth of the peak at the last step, linear towards zero, which it would reach one step later.
    """
    if step <= warmup:
        return peak * (FLOOR + (1 - FLOOR) * (step - 1) / warmup)
    if schedule == "constant":
        return peak
    done = step - warmup - 1
    if schedule == "linear":
        return peak * (1 - done / (total - warmup))
    share = done / max(1, total - warmup - 1)
    return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(weights: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale gradients down to `max_norm` (0: leave them) and return their norm before that."""
    return float(nn.utils.clip_grad_norm_(list(weights), max_norm if max_norm > 0 else math.inf))
