"""Why log-probabilities that must agree do not: each usual cause is tried on a few rollouts, and one that fits named.

What is compared with is the obvious forward: one sequence at a time, no padding, the model's own logits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.rlhf.config import Numerics
from training.rlhf.numerics import autocast
from training.rlhf.ppo_losses import token_logprobs
from training.rlhf.rollouts import Rollouts

ROWS = 6  # rollouts that are looked at
EXPLAINED = 0.2  # a cause explains a gap when it leaves less than this share of it

Lines = dict[int, Tensor]  # of some rollouts: (length,) log-probabilities of the answer's tokens


def likely_cause(
    policy: PreTrainedModel,
    rollouts: Rollouts,
    suspects: Mapping[str, Tensor],
    temperature: float,
    numerics: Numerics,
) -> str:
    """A sentence about why `suspects` disagree: {what computed them: (B, R) log-probabilities, nats}."""
    order = torch.argsort(rollouts.prompt_lengths, stable=True).tolist()
    rows = sorted({*order[: ROWS // 2], *order[-ROWS // 2 :]})  # with the shortest prompts and the longest
    truth = plain_logprobs(policy, rollouts, rows, temperature, numerics)
    if gap(truth, plain_logprobs(policy, rollouts, rows, temperature, numerics)) > 0:
        return by_chance(policy)
    untempered = plain_logprobs(policy, rollouts, rows, 1.0, numerics)
    found = {
        name: {row: values[row, : int(rollouts.responses.lengths[row])] for row in rows}
        for name, values in suspects.items()
    }
    worst = max(found, key=lambda name: gap(found[name], truth))
    if temperature != 1.0 and gap(found[worst], untempered) < EXPLAINED * gap(found[worst], truth):
        return (
            f"Cause: temperature. {worst} leaves it out: these are log-probabilities at temperature 1, the run's is"
            f" {temperature:g}."
        )
    longest = int(rollouts.prompt_lengths.max())
    apart = {row: float((found[worst][row] - truth[row]).abs().mean()) for row in rows}
    unpadded = [value for row, value in apart.items() if int(rollouts.prompt_lengths[row]) == longest]
    padded = [value for row, value in apart.items() if int(rollouts.prompt_lengths[row]) < longest]
    if padded and max(unpadded) < EXPLAINED * sum(padded) / len(padded):
        return (
            f"Cause: padding or position ids. {worst} is right for the longest prompts, which need no padding, and"
            " wrong for shorter ones."
        )
    return (
        f"{worst} differs from a batch of one by {gap(found[worst], truth):.3g} nats a token, and neither chance nor"
        " temperature nor padding explains it: the weights changed in between, tokens and log-probabilities are shifted"
        " against each other, or the model's forward depends on the batch."
    )


@torch.no_grad()
def plain_logprobs(
    policy: PreTrainedModel, rollouts: Rollouts, rows: list[int], temperature: float, numerics: Numerics
) -> Lines:
    """The log-probabilities of some rollouts by the obvious forward, on the CPU."""
    found = {}
    for row in rows:
        start, end = int(rollouts.prompt_lengths[row]), int(rollouts.lengths[row])
        ids = rollouts.ids[row, :end].to(policy.device)
        with autocast(numerics):
            logits = policy(input_ids=ids[None], use_cache=False).logits[0]
        found[row] = token_logprobs(logits[start - 1 : -1], ids[start:], temperature).cpu()
    return found


def gap(one: Lines, other: Lines) -> float:
    """Mean absolute difference of a token, nats."""
    return float(torch.cat([(one[row] - other[row]).abs() for row in other]).mean())


def by_chance(policy: nn.Module) -> str:
    """Which parts of a model draw at random."""
    on = [
        name
        for name, module in policy.named_modules()
        if module.training and ((isinstance(module, nn.Dropout) and module.p > 0) or _rate(module) > 0)
    ]
    if not on:
        return "Cause: chance. The same forward twice gives two results, though no dropout is on."
    return f"Cause: dropout. It is on in {len(on)} modules of the policy, {on[0]} for one."


def _rate(module: nn.Module) -> float:
    """The largest dropout that a module keeps as a number of its own."""
    return max((v for k, v in vars(module).items() if "dropout" in k and isinstance(v, float)), default=0.0)
