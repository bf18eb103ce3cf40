"""Cross-entropy of tokens, and the losses and measures of rankings: pure functions.

PPO's losses are in `ppo_losses`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F


def token_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum, in nats, of -log p(target) over N tokens; logits (N, V), targets (N,).

    The sum, not the mean: a batch that is split into several passes must be divided by the tokens of the whole batch,
    or short passes weigh too much (huggingface/transformers pull request 34191). Computed in float32.
    """
    return F.cross_entropy(logits.float(), targets, reduction="sum")


class Pairs(NamedTuple):
    """Pairs of answers out of several rankings, as indices into one flat tensor of scores. All of shape (P,)."""

    first: torch.Tensor
    """The better answer; in a tie, either."""

    second: torch.Tensor
    """The worse answer; in a tie, the other."""

    tied: torch.Tensor
    """True where the two have one rank."""

    margin: torch.Tensor
    """What the better one must win by, in units of score; 0 in a tie."""

    weight: torch.Tensor
    """1 / (pairs of the ranking it is from), so that each ranking weighs the same."""


def ranked_pairs(ranks: Sequence[float | None]) -> list[tuple[int, int, bool]]:
    """(better, worse, tied) of every two ranked answers, at most C(K, 2); rank 1 is best, None is not ranked."""
    pairs = []
    for i, first in enumerate(ranks):
        for j in range(i + 1, len(ranks)):
            second = ranks[j]
            if first is not None and second is not None:
                pairs.append((j, i, False) if second < first else (i, j, first == second))
    return pairs


def ranking_loss(scores: torch.Tensor, pairs: Pairs, *, ties: str = "drop", tie_margin: float = 0.5) -> torch.Tensor:
    """Sum over rankings of the mean over their pairs of -log P(pair); scores (S,).

    With d = score of the better - score of the worse - margin, P(better wins) = sigmoid(d): Bradley-Terry, InstructGPT
    (arXiv:2203.02155) equation 1, the 1 / C(K, 2) in `weight`. `ties` says what a tied pair adds:

    drop    nothing; it must not be among the pairs
    half    half of each outcome: -(log sigmoid(d) + log sigmoid(-d)) / 2
    margin  Rao and Kupper 1967: P(better wins) = sigmoid(d - m), and the rest of the probability is a tie, which is
            (exp(2 m) - 1) sigmoid(d - m) sigmoid(-d - m), with m = `tie_margin`
    """
    difference = scores[pairs.first] - scores[pairs.second] - pairs.margin  # (P,)
    threshold = tie_margin if ties == "margin" else 0.0
    won = -F.logsigmoid(difference - threshold)
    lost = -F.logsigmoid(-difference - threshold)
    if ties == "margin":
        drawn = won + lost - math.log(math.expm1(2 * tie_margin))
    else:
        drawn = (won + lost) / 2
    return (pairs.weight * torch.where(pairs.tied, drawn, won)).sum()


def pair_accuracy(scores: Sequence[float], ranks: Sequence[float | None]) -> tuple[float, int]:
    """(pairs that the scores put in the right order, pairs that are not tied); equal scores are half right."""
    right = 0.0
    untied = [(better, worse) for better, worse, tied in ranked_pairs(ranks) if not tied]
    for better, worse in untied:
        right += 1.0 if scores[better] > scores[worse] else 0.5 if scores[better] == scores[worse] else 0.0
    return right, len(untied)


def kendall_tau(scores: Sequence[float], ranks: Sequence[float | None]) -> float | None:
    """Kendall's tau-b between scores (higher is better) and ranks (lower is better), -1..1; None where all are tied.

    (concordant - discordant) / sqrt(pairs not tied in score x pairs not tied in rank): Kendall 1945.
    """
    balance = by_score = by_rank = 0
    for better, worse, tied in ranked_pairs(ranks):
        difference = scores[better] - scores[worse]
        by_rank += not tied
        by_score += difference != 0
        balance += 0 if tied else (difference > 0) - (difference < 0)
    return balance / math.sqrt(by_score * by_rank) if by_score and by_rank else None
