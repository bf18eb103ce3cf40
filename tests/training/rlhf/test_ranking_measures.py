"""Measures of rankings and policies: worked by hand, held to slow versions; intervals hold what they promise."""

import itertools
import math
import random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.rlhf.measures import (
    Judged,
    agreement,
    agreement_by_part,
    best_of_n,
    best_of_n_kl,
    calibration_error,
    flat,
    kendall_tau,
    mean_interval,
    pair_accuracy,
    ratio_interval,
    reliability,
    reliability_of,
    share_interval,
    student_t,
    win_probabilities,
    win_rate,
)

numbers = st.floats(-5, 5, allow_nan=False)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# Order


def test_accuracy_and_tau_by_hand():
    # ranks 1, 2, 2 and scores 3, 1, 2: both untied pairs are right, the tied one does not count
    assert pair_accuracy([3, 1, 2], [1, 2, 2]) == (2.0, 2)
    assert pair_accuracy([1, 1], [1, 2]) == (0.5, 1)
    assert kendall_tau([3, 2, 1], [1, 2, 3]) == 1.0
    assert kendall_tau([1, 2, 3], [1, 2, 3]) == -1.0
    # pairs (0,1) and (0,2) concordant, (1,2) tied in rank only: 2 / sqrt(3 * 2)
    assert kendall_tau([3, 1, 2], [1, 2, 2]) == pytest.approx(2 / math.sqrt(6))
    assert kendall_tau([1, 2], [1, 1]) is None


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=2, max_size=7))
def test_tau_is_between_its_bounds_and_turns_with_the_scores(answers):
    scores, ranks = [score for score, _ in answers], [rank for _, rank in answers]
    tau = kendall_tau(scores, ranks)
    if tau is not None:
        assert -1 - 1e-12 <= tau <= 1 + 1e-12
        assert kendall_tau([-score for score in scores], ranks) == pytest.approx(-tau)
        assert kendall_tau([3 * score + 1 for score in scores], ranks) == pytest.approx(tau)


# Calibration


def test_calibration_by_hand():
    # differences 0.5 (right), 0.6 (wrong) and 4 (right): probabilities .622, .646 and .982, bins of width .05 from .5
    scores = [([0.5, 0.0], [1, 2]), ([0.6, 0.0], [2, 1]), ([4.0, 0.0], [1, 2])]
    found = [item for given, ranks in scores for item in win_probabilities(given, ranks)]
    assert [happened for _, happened in found] == [1.0, 0.0, 1.0]
    bins = reliability(found)
    assert [(item.low, item.high, item.pairs) for item in bins] == [
        (pytest.approx(low), pytest.approx(low + 0.05), pairs) for low, pairs in ((0.6, 2), (0.95, 1))
    ]
    first = (sigmoid(0.5) + sigmoid(0.6)) / 2
    assert (bins[0].predicted, bins[0].happened) == (pytest.approx(first), 0.5)
    # gaps of .134 (two pairs) and .018 (one)
    assert calibration_error(bins) == pytest.approx((2 * abs(first - 0.5) + (1 - sigmoid(4))) / 3)


def test_ties_are_not_predicted_and_equal_scores_are_half_right():
    assert win_probabilities([1.0, 0.0], [1, 1]) == []
    assert win_probabilities([1.0, 1.0], [1, 2]) == [(0.5, 0.5)]
    assert reliability([(1.0, 1.0), (0.5, 0.5)])[-1].pairs == 1  # a probability of 1 has a bin


def test_outcomes_drawn_as_predicted_are_calibrated_and_doubled_scores_are_not():
    draw = random.Random(0)
    judged, doubled = [], []
    for prompt in range(4000):
        difference = draw.gauss(0, 1.5)
        ranks = [1, 2] if draw.random() < sigmoid(difference) else [2, 1]
        judged.append(Judged([difference, 0.0], ranks, str(prompt)))
        doubled.append(Judged([3 * difference, 0.0], ranks, str(prompt)))
    fair, sure = agreement(judged), agreement(doubled)
    assert fair["calibration_error"] < 0.03 < 0.1 < sure["calibration_error"]
    assert fair["accuracy"] == sure["accuracy"]  # the order is the same


@given(st.lists(st.tuples(st.floats(0.5, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=60))
def test_bins_hold_every_pair_and_the_error_is_the_mean_gap(predictions):
    bins = reliability(predictions)
    assert sum(item.pairs for item in bins) == len(predictions)
    assert fmean(p for p, _ in predictions) == pytest.approx(
        sum(item.pairs * item.predicted for item in bins) / len(predictions)
    )
    assert 0 <= calibration_error(bins) <= 1
    overall = abs(fmean(p for p, _ in predictions) - fmean(happened for _, happened in predictions))
    assert calibration_error(bins) >= overall - 1e-9  # gaps of bins cannot cancel


# Parts


def test_agreement_by_k_and_category():
    judged = [
        Judged([2.0, 1.0], [1, 2], "a", "open"),
        Judged([1.0, 2.0], [1, 2], "b", "open"),
        Judged([3.0, 2.0, 1.0], [1, 2, 3], "c", "chat"),
        Judged([3.0, 2.0, 1.0], [1, 1, 1], "d"),
    ]
    parts = {(row["part"], row["value"]): row for row in agreement_by_part(judged)}
    assert list(parts) == [("all", ""), ("k", "2"), ("k", "3"), ("category", "chat"), ("category", "open")]
    assert [parts[key]["accuracy"] for key in parts] == [0.8, 0.5, 1.0, 1.0, 0.5]  # 4 of 5 pairs; d is all tied
    assert (parts["all", ""]["rankings"], parts["all", ""]["pairs"]) == (4.0, 5.0)
    assert parts["all", ""]["kendall_tau"] == pytest.approx((1 - 1 + 1) / 3)
    assert agreement(judged[3:]) == {"rankings": 1.0, "pairs": 0.0}
    metrics = flat("validation", agreement_by_part(judged))
    assert metrics["accuracy/validation"] == 0.8
    assert metrics["accuracy/validation/low"] < 0.8 < metrics["accuracy/validation/high"]
    assert metrics["accuracy/validation/k3"] == 1.0
    assert metrics["kendall_tau/validation/category/open"] == 0.0
    assert sum(row["pairs"] for row in reliability_of(judged)) == 5


# Intervals


def test_intervals_by_hand():
    # 1, 2, 3: mean 2, standard error sqrt(1 / 3), t with 2 degrees 4.3027
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2, 2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)))
    assert mean_interval([5.0]) == (5.0, 5.0, 5.0)
    # Wilson for 8 of 10: (0.8 + z^2 / 20 +- z sqrt(0.016 + z^2 / 400)) / (1 + z^2 / 10), .490 to .943; here the ten
    # count for 9, as a variance from n - 1 has it
    wilson = share_interval([1] * 8 + [0] * 2, [1] * 10)
    z, n = 1.959964, 9
    half = z * math.sqrt(0.16 / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert wilson == pytest.approx(
        (0.8, (0.8 + z**2 / 18) / (1 + z**2 / n) - half, (0.8 + z**2 / 18) / (1 + z**2 / n) + half)
    )
    # all right: still not certain, and no wider than the prompts allow
    assert share_interval([3, 3], [3, 3]) == pytest.approx((1.0, 1 / (1 + z**2 / 2), 1.0))


@pytest.mark.parametrize(("degrees", "wanted"), [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (30, 2.042)])
def test_students_quantiles_are_those_of_the_tables(degrees, wanted):
    assert student_t(degrees) == pytest.approx(wanted, rel=0.01)


def test_an_interval_over_prompts_covers_the_truth_19_times_in_20():
    """Pairs of a prompt are right or wrong together: an interval over pairs would be far too narrow."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        hard = generator.random(60) < 0.3  # prompts where the model is mostly wrong
        right = generator.binomial(6, np.where(hard, 0.2, 0.9))
        interval = share_interval(right.tolist(), [6] * 60)
        covered += interval.low <= 0.3 * 0.2 + 0.7 * 0.9 <= interval.high
    assert 0.92 < covered / 400 < 0.98
    naive = 1.96 * math.sqrt(0.69 * 0.31 / 360)
    assert interval.high - interval.low > 1.5 * 2 * naive


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=30))
def test_a_share_lies_in_its_interval_and_the_interval_in_0_to_1(clusters):
    counts = [max(pair) for pair in clusters]
    right = [min(pair) for pair in clusters]
    interval = share_interval(right, counts)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.value == pytest.approx(sum(right) / sum(counts))


@given(st.lists(numbers, min_size=2, max_size=20))
def test_clusters_of_one_are_a_plain_mean(values):
    assert ratio_interval(values, [1] * len(values)) == pytest.approx(mean_interval(values), abs=1e-9)


# Policies


def test_best_of_n_by_hand():
    # of 1, 2, 4 the best of two is 2 once and 4 twice
    assert best_of_n([4, 1, 2], 2) == pytest.approx((2 + 4 + 4) / 3)
    assert best_of_n([4, 1, 2], 1) == pytest.approx(7 / 3)
    assert best_of_n([4, 1, 2], 3) == 4
    with pytest.raises(ValueError, match="best of 4 needs 4 answers"):
        best_of_n([4, 1, 2], 4)
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(4) == pytest.approx(math.log(4) - 0.75)


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=7), st.data())
def test_best_of_n_is_the_mean_over_all_choices(scores, data):
    n = data.draw(st.integers(1, len(scores)))
    slow = fmean(max(chosen) for chosen in itertools.combinations(scores, n))
    assert best_of_n(scores, n) == pytest.approx(slow, abs=1e-9)
    if n > 1:
        assert best_of_n(scores, n) >= best_of_n(scores, n - 1) - 1e-9


def test_win_rate_by_hand():
    # 3 beats 1 and 2, and ties 3; 1 ties 1 only
    assert win_rate([3, 1], [1, 2, 3]) == pytest.approx((1 + 1 + 0.5 + 0.5) / 6)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_what_one_wins_the_other_loses(mine, theirs):
    assert win_rate(mine, theirs) == pytest.approx(1 - win_rate(theirs, mine))
