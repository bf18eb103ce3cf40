"""The core's losses equal the slow versions of `slow.py` to 1e-6 in float64, on ragged batches of random numbers."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.rlhf.oracle import slow
from training.rlhf.data import length_mask
from training.rlhf.losses import Pairs, plackett_luce_loss, ranked_pairs, ranking_loss, token_cross_entropy
from training.rlhf.ppo_losses import policy_loss, token_entropy, token_logprobs, value_loss
from training.rlhf.rewards import estimate_advantages, kl_per_token, token_rewards, whiten

VOCAB = 11
SEEDS = st.integers(0, 100_000)
close = lambda value: pytest.approx(value, abs=1e-6, rel=0)  # noqa: E731


class Draw:
    """Random numbers of one seed, float64."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def whole(self, low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=self.generator)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_completion_loss(seed):
    """The mean over the tokens that count of all conversations together, not the mean of their means."""
    draw = Draw(seed)
    conversations = []
    for length in draw.whole(2, 9, 4).tolist():
        counts = [False, *(draw.whole(0, 2, length - 1) == 1).tolist()]
        conversations.append((draw.normal(length, VOCAB), draw.whole(0, VOCAB, length), [*counts[:-1], True]))
    logits = torch.cat([of[:-1][torch.tensor(counts[1:])] for of, _, counts in conversations])
    targets = torch.cat([ids[torch.tensor(counts)] for _, ids, counts in conversations])
    fast = token_cross_entropy(logits, targets) / len(targets)
    expected = slow.completion_loss([(of.tolist(), ids.tolist(), counts) for of, ids, counts in conversations])
    assert float(fast) == close(expected)


def flat_pairs(ranks: list[list[int]], ties: str) -> Pairs:
    """The pairs of several rankings, as indices into their scores laid end to end."""
    first, second, tied, weight, start = [], [], [], [], 0
    for of in ranks:
        pairs = [pair for pair in ranked_pairs(of) if ties != "drop" or not pair[2]]
        first += [start + better for better, _, _ in pairs]
        second += [start + worse for _, worse, _ in pairs]
        tied += [tie for _, _, tie in pairs]
        weight += [1 / len(pairs)] * len(pairs)
        start += len(of)
    as_tensor = lambda values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    margin = as_tensor([0.0] * len(first))
    return Pairs(torch.tensor(first), torch.tensor(second), torch.tensor(tied), margin, as_tensor(weight))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, ties=st.sampled_from(["drop", "half", "margin"]))
def test_ranking_loss(seed, ties):
    draw = Draw(seed)
    ranks = [[1, *draw.whole(1, 4, k - 2).tolist(), 4] for k in draw.whole(2, 6, 3).tolist()]
    scores = [draw.normal(len(of)) for of in ranks]
    fast = ranking_loss(torch.cat(scores), flat_pairs(ranks, ties), ties=ties, tie_margin=0.5) / len(ranks)
    expected = slow.ranking_loss([(of.tolist(), rank) for of, rank in zip(scores, ranks, strict=True)], ties)
    assert float(fast) == close(expected)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, ties=st.sampled_from(["drop", "half"]))
def test_plackett_luce_loss(seed, ties):
    draw = Draw(seed)
    ranks = [1, *draw.whole(1, 4, 3).tolist(), 4]
    scores = draw.normal(len(ranks))
    fast = plackett_luce_loss(scores, ranks, ties=ties)
    assert float(fast) == close(slow.plackett_luce_loss(scores.tolist(), ranks, ties))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, temperature=st.floats(0.3, 2.0), gamma=st.floats(0.5, 1.0), lam=st.floats(0.0, 1.0))
def test_an_update_of_ppo_from_logits_to_losses(seed, temperature, gamma, lam):
    """Four responses of unlike length; every number on the way is the slow one's, and both losses at the end."""
    draw, kl_coef, width = Draw(seed), 0.2, 6
    lengths = draw.whole(1, width + 1, 4)
    mask = length_mask(lengths, width)
    logits = {name: draw.normal(4, width, VOCAB) for name in ("old", "reference", "new")}
    values, new_values, scores = draw.normal(4, width), draw.normal(4, width), draw.normal(4)
    tokens = draw.whole(0, VOCAB, 4, width)

    # fast: padded (B, R) tensors with a mask, losses over the flat vectors of real tokens
    logprobs = {
        name: token_logprobs(of.flatten(0, 1), tokens.flatten(), temperature).view(4, width)
        for name, of in logits.items()
    }
    kl = kl_per_token(logprobs["old"], logprobs["reference"], mask)
    rewards = token_rewards(kl, scores, mask, kl_coef)
    advantages, returns = estimate_advantages(rewards, values, mask, gamma=gamma, lam=lam)
    white = whiten(advantages, mask)
    count = int(mask.sum())
    of_policy = policy_loss(logprobs["new"][mask], logprobs["old"][mask], white[mask], cliprange=0.2, token_count=count)
    of_value = value_loss(new_values[mask], values[mask], returns[mask], cliprange=0.2, token_count=count)
    entropy = token_entropy(logits["old"][mask], temperature)

    # slow: lists, each as long as its response
    def rows(tensor: torch.Tensor) -> list:
        return [row[:length] for row, length in zip(tensor.tolist(), lengths.tolist(), strict=True)]

    ids = rows(tokens)
    slow_logprobs = {
        name: [
            [slow.log_softmax(at, temperature)[token] for at, token in zip(of, taken, strict=True)]
            for of, taken in zip(rows(tensor), ids, strict=True)
        ]
        for name, tensor in logits.items()
    }
    slow_kl = list(map(slow.kl, slow_logprobs["old"], slow_logprobs["reference"]))
    slow_rewards = [slow.rewards(of, score, kl_coef) for of, score in zip(slow_kl, scores.tolist(), strict=True)]
    slow_advantages = [
        slow.advantages(of, value, gamma, lam) for of, value in zip(slow_rewards, rows(values), strict=True)
    ]
    slow_returns = [
        [a + v for a, v in zip(of, value, strict=True)] for of, value in zip(slow_advantages, rows(values), strict=True)
    ]
    slow_white = slow.whiten(slow_advantages)

    for fast, expected in [
        (logprobs["new"], slow_logprobs["new"]),
        (kl, slow_kl),
        (rewards, slow_rewards),
        (advantages, slow_advantages),
        (returns, slow_returns),
        (white, slow_white),
    ]:
        assert list(itertools.chain(*rows(fast))) == close(list(itertools.chain(*expected)))
        assert not fast[~mask].any() or fast is logprobs["new"]
    flat = lambda lists: list(itertools.chain(*lists))  # noqa: E731
    old, new = flat(slow_logprobs["old"]), flat(slow_logprobs["new"])
    assert float(of_policy.loss) == close(slow.policy_loss(new, old, flat(slow_white), 0.2))
    expected = slow.value_loss(flat(rows(new_values)), flat(rows(values)), flat(slow_returns), 0.2)
    assert float(of_value.loss) == close(expected)
    assert entropy.tolist() == close([slow.entropy(at, temperature) for at in flat(rows(logits["old"]))])
