"""Cross-entropy of tokens, and the losses of rankings: pure functions.

PPO's losses are in `ppo_losses`, the measures of rankings in `measures`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
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
    """The ranking's weight / (its pairs), so that rankings weigh the same however many answers they hold."""


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
    """Sum over rankings of weight x the mean over their pairs of -log P(pair); scores (S,).

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


def plackett_luce_loss(scores: torch.Tensor, ranks: Sequence[float], *, ties: str = "drop") -> torch.Tensor:
    """-log P(ranking) / (K - 1): the mean over the choices of which a ranking consists; scores (K,), a scalar.

    The best answer is chosen from all, the next from the rest, and so on, each time with P = exp(score) / sum of
    exp(score) over those left (Luce 1959; Plackett 1975). With K = 2 this is Bradley and Terry's loss.

    A partial ranking is the ranking of its ranked answers, which alone are given here: by Luce's axiom the answers that
    were not looked at do not change the odds of the others (Hunter 2004, section 5). `ties`, answers of equal rank:

    drop    their order is not known: the probabilities of all orders of theirs are summed (the marginal likelihood;
            Kalbfleisch and Prentice 1973). All tied teaches nothing
    half    each of their orders is as good: the mean over orders of -log P, which pulls their scores together
    """
    order = sorted(range(len(ranks)), key=lambda index: ranks[index])
    if len(set(ranks)) == len(ranks):
        ordered = scores[order]
        left = torch.ones(len(order), len(order), dtype=torch.bool, device=scores.device).triu()
        return (masked_logsumexp(ordered.expand(len(order), -1), left) - ordered).sum() / (len(order) - 1)
    total = scores.new_zeros(())
    for level in sorted(set(ranks)):
        tied = scores[[index for index in order if ranks[index] == level]]
        worse = scores[[index for index in order if ranks[index] > level]]
        if ties == "half":
            total = total + mean_over_orders(tied, worse)
        elif len(worse):  # what stands last is left over, in whatever order
            total = total + sum_over_orders(tied, worse)
    return total / (len(ranks) - 1)


def mean_over_orders(tied: torch.Tensor, worse: torch.Tensor) -> torch.Tensor:
    """The mean, over the orders of `tied` (M,), of -log P(they are chosen in it, before `worse` (L,)); a scalar.

    As each subset of a size is equally often what is left of the tied ones, 2^M masses stand for M! orders.
    """
    members, sizes, _ = subsets(len(tied))
    masses = subset_masses(tied, worse, members.to(tied.device))
    weights = torch.tensor([1 / math.comb(len(tied), size) for size in sizes[1:]], dtype=masses.dtype)
    return (masses[1:] * weights.to(masses.device)).sum() - tied.sum()


def sum_over_orders(tied: torch.Tensor, worse: torch.Tensor) -> torch.Tensor:
    """-log of the sum, over the orders of `tied` (M,), of P(they are chosen in it, before `worse` (L,)); a scalar.

    By recursion over subsets: what remains, R, can be gone through in ways(R) = sum over its i of ways(R without i) /
    mass(R), times the exp(score) of all of R.
    """
    members, _, steps = subsets(len(tied))
    masses = subset_masses(tied, worse, members.to(tied.device))
    ways = tied.new_zeros(1)  # log; of the empty set
    for rows, before in steps:
        ways = ways[before.to(tied.device)].logsumexp(dim=1) - masses[rows.to(tied.device)]
    return -(ways[0] + tied.sum())


def subset_masses(tied: torch.Tensor, worse: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """log of the sum of exp(score) over each subset of `tied` (M,) together with all of `worse`; (2^M,)."""
    everyone = torch.cat([tied, worse]).expand(len(members), -1)
    inside = torch.cat([members, members.new_ones(len(members), len(worse))], dim=1)
    return masked_logsumexp(everyone, inside)


def masked_logsumexp(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """logsumexp over the last dimension where mask is True; the lowest number there is where it never is."""
    return values.masked_fill(~mask, torch.finfo(values.dtype).min).logsumexp(dim=-1)


@cache
def subsets(size: int) -> tuple[torch.Tensor, list[int], list[tuple[torch.Tensor, torch.Tensor]]]:
    """(members (2^size, size) bool, how many each has, steps); a subset's number has a bit for each of its members.

    steps[k - 1]: the numbers (n,) of the subsets of k members, and (n, k) the places, among those of k - 1 members, of
    the ones that lack one of them.
    """
    numbers = range(2**size)
    members = torch.tensor([[bool(number >> bit & 1) for bit in range(size)] for number in numbers])
    sizes = [number.bit_count() for number in numbers]
    steps = []
    place = {0: 0}
    for count in range(1, size + 1):
        rows = [number for number in numbers if sizes[number] == count]
        before = [[place[row ^ (1 << bit)] for bit in range(size) if row >> bit & 1] for row in rows]
        steps.append((torch.tensor(rows), torch.tensor(before)))
        place = {row: index for index, row in enumerate(rows)}
    return members, sizes, steps
