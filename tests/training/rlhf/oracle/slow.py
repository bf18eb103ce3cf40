"""The losses and measures of the core again: lists and floats, one response at a time, written from the papers.

Nothing here is shared with the core, nothing is fast, and nothing is batched: a response is a list as long as it is, so
there is neither padding nor a mask to get wrong.
"""

from __future__ import annotations

import itertools
import math


def log_softmax(logits: list[float], temperature: float = 1.0) -> list[float]:
    scaled = [logit / temperature for logit in logits]
    largest = max(scaled)
    total = math.log(sum(math.exp(value - largest) for value in scaled)) + largest
    return [value - total for value in scaled]


def entropy(logits: list[float], temperature: float) -> float:
    return -sum(math.exp(logprob) * logprob for logprob in log_softmax(logits, temperature))


def completion_loss(conversations: list[tuple[list[list[float]], list[int], list[bool]]]) -> float:
    """Mean of -log p over all tokens that count; (logits, ids, counts) of each conversation.

    The logits behind token t - 1 say what token t will be (Radford et al. 2018, eq. 1).
    """
    losses = [
        -log_softmax(logits[t - 1])[ids[t]]
        for logits, ids, counts in conversations
        for t in range(1, len(ids))
        if counts[t]
    ]
    return sum(losses) / len(losses)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def ranking_loss(rankings: list[tuple[list[float], list[int]]], ties: str = "drop", tie_margin: float = 0.5) -> float:
    """Mean over rankings of the mean over their pairs of -log P; (scores, ranks) of each ranking, rank 1 is best.

    InstructGPT, equation 1: -1/C(K, 2) sum log sigmoid(r_w - r_l). Ties: half of each outcome, or Rao and Kupper 1967
    in its own variables: P(i beats j) = p_i / (p_i + theta p_j), P(tie) = 1 - P(i beats j) - P(j beats i), with
    p = exp(score), theta = exp(margin).
    """
    total = 0.0
    for scores, ranks in rankings:
        losses = []
        for i, j in itertools.combinations(range(len(scores)), 2):
            strengths = math.exp(scores[i]), math.exp(scores[j])
            theta = math.exp(tie_margin) if ties == "margin" else 1.0
            i_wins = strengths[0] / (strengths[0] + theta * strengths[1])
            j_wins = strengths[1] / (strengths[1] + theta * strengths[0])
            if ranks[i] != ranks[j]:
                losses.append(-math.log(i_wins if ranks[i] < ranks[j] else j_wins))
            elif ties == "half":
                losses.append(-(math.log(i_wins) + math.log(j_wins)) / 2)
            elif ties == "margin":
                losses.append(-math.log(1 - i_wins - j_wins))
        total += sum(losses) / len(losses)
    return total / len(rankings)


def kl(logprobs: list[float], ref_logprobs: list[float]) -> list[float]:
    """k1: log pi(a) - log pi_ref(a) at each sampled token (Schulman 2020)."""
    return [mine - theirs for mine, theirs in zip(logprobs, ref_logprobs, strict=True)]


def rewards(kl_of_token: list[float], score: float, kl_coef: float) -> list[float]:
    """-beta KL at each token, and the score at the last (Ziegler et al. 2019, eq. 2)."""
    return [-kl_coef * value for value in kl_of_token[:-1]] + [score - kl_coef * kl_of_token[-1]]


def advantages(reward: list[float], value: list[float], gamma: float, lam: float) -> list[float]:
    """A_t = sum_l (gamma lambda)^l delta_{t+l}, delta_t = r_t + gamma V_{t+1} - V_t (Schulman et al. 2016, eq. 16)."""
    following = [*value[1:], 0.0]
    deltas = [r + gamma * after - now for r, after, now in zip(reward, following, value, strict=True)]
    return [sum((gamma * lam) ** (at - t) * deltas[at] for at in range(t, len(deltas))) for t in range(len(deltas))]


def whiten(batch: list[list[float]]) -> list[list[float]]:
    flat = [value for response in batch for value in response]
    mean = sum(flat) / len(flat)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in flat) / len(flat) + 1e-8)
    return [[(value - mean) / deviation for value in response] for response in batch]


def policy_loss(new: list[float], old: list[float], advantage: list[float], cliprange: float) -> float:
    """-mean of min(r A, clip(r, 1 - c, 1 + c) A) (Schulman et al. 2017, eq. 7)."""
    gains = []
    for logprob, old_logprob, a in zip(new, old, advantage, strict=True):
        ratio = math.exp(logprob) / math.exp(old_logprob)
        gains.append(min(ratio * a, min(max(ratio, 1 - cliprange), 1 + cliprange) * a))
    return -sum(gains) / len(gains)


def value_loss(new: list[float], old: list[float], target: list[float], cliprange: float) -> float:
    """Half the mean of the larger of two squared errors: of the value, and of the value kept near the old one."""
    errors = []
    for value, old_value, wanted in zip(new, old, target, strict=True):
        kept = old_value + min(max(value - old_value, -cliprange), cliprange)
        errors.append(max((value - wanted) ** 2, (kept - wanted) ** 2) / 2)
    return sum(errors) / len(errors)


def plackett_luce_loss(scores: list[float], ranks: list[int], ties: str = "drop") -> float:
    """-log P of a ranking over K - 1, by going through every order that the ranks allow (Plackett 1975).

    P of an order: the best is chosen from all, the next from the rest, each with exp(score) over the sum. Tied answers:
    their orders' probabilities summed (drop), or the mean of their losses (half).
    """
    losses = []
    for order in itertools.permutations(range(len(scores))):
        if any(ranks[one] > ranks[next_one] for one, next_one in itertools.pairwise(order)):
            continue
        left, loss = list(order), 0.0
        while left:
            loss -= scores[left[0]] - math.log(sum(math.exp(scores[index]) for index in left))
            left.pop(0)
        losses.append(loss)
    total = sum(losses) / len(losses) if ties == "half" else -math.log(sum(math.exp(-loss) for loss in losses))
    return total / (len(scores) - 1)
