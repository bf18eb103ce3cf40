"""Each loss against an example worked by hand, and against a slow version in plain Python in float64."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.rlhf.losses import Pairs, plackett_luce_loss, ranked_pairs, ranking_loss, token_cross_entropy


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def pairs_of(ranks, ties="drop", margin=0.0):
    pairs = [pair for pair in ranked_pairs(ranks) if ties != "drop" or not pair[2]]
    first, second, tied = (list(column) for column in zip(*pairs, strict=True))
    return Pairs(
        torch.tensor(first),
        torch.tensor(second),
        torch.tensor(tied),
        torch.tensor([0.0 if tie else margin for tie in tied], dtype=torch.float64),
        torch.full((len(pairs),), 1 / len(pairs), dtype=torch.float64),
    )


def slow_ranking_loss(scores, ranks, ties="drop", tie_margin=0.5, margin=0.0):
    """-log P of each pair, straight from the formulas, mean over the pairs."""
    terms = []
    for i, j in itertools.combinations(range(len(ranks)), 2):
        if ranks[i] is None or ranks[j] is None:
            continue
        better, worse = (i, j) if ranks[i] <= ranks[j] else (j, i)
        d = scores[better] - scores[worse]
        m = tie_margin if ties == "margin" else 0.0
        if ranks[i] != ranks[j]:
            terms.append(-math.log(sigmoid(d - margin - m)))
        elif ties == "half":
            terms.append(-0.5 * math.log(sigmoid(d)) - 0.5 * math.log(sigmoid(-d)))
        elif ties == "margin":
            terms.append(-math.log(1 - sigmoid(d - m) - sigmoid(-d - m)))
    return sum(terms) / len(terms)


def test_cross_entropy_by_hand():
    # token 0 of two equally likely: ln 2; token 1 where the odds are 3 to 1 for it: ln(4/3)
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    assert token_cross_entropy(logits, torch.tensor([0, 1])).item() == pytest.approx(math.log(2) + math.log(4 / 3))


def test_cross_entropy_equals_the_slow_version():
    logits, targets = torch.randn(7, 11, generator=torch.Generator().manual_seed(0)), torch.arange(7)
    slow = 0.0
    for row, target in zip(logits.double().tolist(), targets.tolist(), strict=True):
        slow += math.log(sum(math.exp(x) for x in row)) - row[target]
    assert token_cross_entropy(logits.double(), targets).item() == pytest.approx(slow, rel=1e-6)


def test_ranking_loss_by_hand():
    # scores 1, 0, 0 with ranks 1, 2, 3: differences 1, 1 and 0, so (2 ln(1 + 1/e) + ln 2) / 3
    loss = ranking_loss(torch.tensor([1.0, 0.0, 0.0]), pairs_of([1, 2, 3]))
    assert loss.item() == pytest.approx((2 * math.log(1 + math.exp(-1)) + math.log(2)) / 3)


def test_a_tie_by_hand():
    scores = torch.tensor([2.0, 2.0], dtype=torch.float64)
    # half: two answers with equal scores, each wins with 1/2
    assert ranking_loss(scores, pairs_of([1, 1], "half"), ties="half").item() == pytest.approx(math.log(2))
    # Rao-Kupper with m: P(tie) = 1 - 2 sigmoid(-m) = tanh(m / 2)
    loss = ranking_loss(scores, pairs_of([1, 1], "margin"), ties="margin", tie_margin=0.8)
    assert loss.item() == pytest.approx(-math.log(math.tanh(0.4)))


def test_a_margin_asks_for_more():
    scores = torch.tensor([1.0, 0.0], dtype=torch.float64)
    loss = ranking_loss(scores, pairs_of([1, 2], margin=0.25)).item()
    assert loss == pytest.approx(-math.log(sigmoid(0.75)))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(-4, 4), st.sampled_from([1, 2, 3, None])), min_size=2, max_size=6),
    st.sampled_from(["drop", "half", "margin"]),
    st.floats(0.1, 2),
    st.floats(0, 1),
)
def test_ranking_loss_equals_the_slow_version(answers, ties, tie_margin, margin):
    scores, ranks = [score for score, _ in answers], [rank for _, rank in answers]
    if not [pair for pair in ranked_pairs(ranks) if ties != "drop" or not pair[2]]:
        return
    tensor = torch.tensor(scores, dtype=torch.float64)
    fast = ranking_loss(tensor, pairs_of(ranks, ties, margin), ties=ties, tie_margin=tie_margin)
    assert fast.item() == pytest.approx(slow_ranking_loss(scores, ranks, ties, tie_margin, margin), abs=1e-6)


def test_ties_pull_scores_together_and_order_pulls_them_apart():
    for ties in ("half", "margin"):
        scores = torch.tensor([1.0, -1.0], requires_grad=True)
        ranking_loss(scores, pairs_of([1, 1], ties), ties=ties).backward()
        assert scores.grad[0] > 0 > scores.grad[1]
    scores = torch.zeros(2, requires_grad=True)
    ranking_loss(scores, pairs_of([1, 2])).backward()
    assert scores.grad[0] < 0 < scores.grad[1]


def test_pairs_leave_out_what_is_not_ranked():
    assert ranked_pairs([2, None, 1, 2]) == [(2, 0, False), (0, 3, True), (2, 3, False)]
    assert len(ranked_pairs(list(range(1, 10)))) == 36  # C(9, 2)


# Plackett and Luce


def slow_plackett_luce(scores, ranks, ties):
    """Every order that the ranks allow, each a chain of choices."""
    logs = []
    for order in itertools.permutations(range(len(scores))):
        if all(ranks[one] <= ranks[next_] for one, next_ in itertools.pairwise(order)):
            chain = [
                scores[order[place]] - math.log(sum(math.exp(scores[left]) for left in order[place:]))
                for place in range(len(order))
            ]
            logs.append(sum(chain))
    whole = -sum(logs) / len(logs) if ties == "half" else -math.log(sum(math.exp(value) for value in logs))
    return whole / (len(scores) - 1)


def test_plackett_luce_by_hand():
    # odds 4 : 2 : 1 in this order: 4/7 of all, then 2/3 of the rest; two choices
    scores = torch.tensor([math.log(4), math.log(2), 0.0], dtype=torch.float64)
    assert plackett_luce_loss(scores, [1, 2, 3]).item() == pytest.approx(-math.log(4 / 7 * 2 / 3) / 2)
    # the first two tied, not ordered: the last stands last, 4/7 * 2/3 + 2/7 * 4/5
    assert plackett_luce_loss(scores, [1, 1, 2]).item() == pytest.approx(-math.log(8 / 21 + 8 / 35) / 2)
    # or as good as each other: the mean of both orders' logs
    half = plackett_luce_loss(scores, [1, 1, 2], ties="half").item()
    assert half == pytest.approx(-(math.log(8 / 21) + math.log(8 / 35)) / 4)
    # the last two tied: what is left over has no order
    assert plackett_luce_loss(scores, [1, 2, 2]).item() == pytest.approx(-math.log(4 / 7) / 2)
    assert plackett_luce_loss(scores, [2, 2, 2]).item() == 0.0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(-4, 4), st.sampled_from([1, 2, 3, 4])), min_size=2, max_size=6),
    st.sampled_from(["drop", "half"]),
)
def test_plackett_luce_equals_the_slow_version(answers, ties):
    scores, ranks = [score for score, _ in answers], [rank for _, rank in answers]
    tensor = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    loss = plackett_luce_loss(tensor, ranks, ties=ties)
    assert loss.item() == pytest.approx(slow_plackett_luce(scores, ranks, ties), abs=1e-6)
    if loss.requires_grad:
        loss.backward()
        assert tensor.grad.sum().item() == pytest.approx(0, abs=1e-9)  # a shift of all scores changes nothing


@pytest.mark.parametrize("ties", ["drop", "half"])
@pytest.mark.parametrize("ranks", [[1, 2], [2, 1], [1, 1]])
def test_two_answers_are_bradley_terry(ties, ranks):
    scores = torch.tensor([0.7, -0.4], dtype=torch.float64)
    listwise = plackett_luce_loss(scores, ranks, ties=ties).item()
    if ranks == [1, 1] and ties == "drop":
        assert listwise == 0.0
    else:
        assert listwise == pytest.approx(ranking_loss(scores, pairs_of(ranks, ties), ties=ties).item())


def test_orders_of_a_tie_add_up_to_it():
    """Not knowing the order of two is: one way or the other."""
    scores = torch.randn(5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ways = [plackett_luce_loss(scores, ranks) * 4 for ranks in ([1, 2, 3, 4, 5], [1, 3, 2, 4, 5])]
    tied = plackett_luce_loss(scores, [1, 2, 2, 3, 4]) * 4
    assert math.exp(-tied) == pytest.approx(sum(math.exp(-way) for way in ways))


def test_leaving_an_answer_out_is_not_knowing_where_it_stands():
    """A partial ranking's probability is that of all full rankings that fit it (Luce's axiom)."""
    scores = torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64)
    partial = plackett_luce_loss(scores[[0, 1, 2]], [2, 3, 1]) * 2
    fits = [[2, 3, 1, place] for place in (0.5, 1.5, 2.5, 3.5)]
    whole = sum(math.exp(-3 * plackett_luce_loss(scores, ranks)) for ranks in fits)
    assert math.exp(-partial) == pytest.approx(whole)
