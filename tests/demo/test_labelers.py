"""Simulated labelers: deterministic, noisy like people, true to the gold rule on average."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.answers import Manner, compose
from demo.gold import score
from demo.labelers import FLAGS, Panel, agreement, calibrate, ranks_of, rule_accuracy
from demo.prompts import prompt_pools

MIXED = Manner(right=0.85, complete=0.8, polite=0.6, rude=0.05, short=0.7)


def answer_groups(count=150, seed=3):
    """Gold scores of four answers to each of some prompts, of the quality that an SFT model's have."""
    generator = random.Random(seed)
    prompts = prompt_pools(7)["rm"][:count]
    return [(prompt.id, [score(prompt, compose(prompt, MIXED, generator)) for _ in range(4)]) for prompt in prompts]


GROUPS = answer_groups()
PANEL = calibrate(GROUPS, seed=1)


def test_two_labelers_agree_as_often_as_people_do():
    assert agreement(PANEL, GROUPS) == pytest.approx(0.73, abs=0.015)
    fresh = answer_groups(seed=4)
    assert agreement(PANEL, fresh) == pytest.approx(0.73, abs=0.04), "holds on answers that it was not tuned on"


def test_less_noise_agrees_more():
    values = [agreement(Panel(noise=noise), GROUPS) for noise in (0.02, 0.1, 0.3, 1.0)]
    assert values == sorted(values, reverse=True)


def test_labels_depend_on_seed_prompt_and_labeler_only():
    prompt_id, scores = GROUPS[0]
    assert PANEL.rank(prompt_id, "labeler-1", scores) == PANEL.rank(prompt_id, "labeler-1", scores)
    labels = {str(PANEL.rank(prompt, labeler, scores)) for prompt in "abcdefgh" for labeler in PANEL.labelers}
    assert len(labels) > 20


def test_the_gold_order_predicts_a_labeler_better_than_another_labeler_does():
    right = pairs = 0.0
    for prompt_id, scores in GROUPS:
        for labeler in PANEL.labelers:
            found, count = rule_accuracy([one.total for one in scores], PANEL.rank(prompt_id, labeler, scores).ranks)
            right, pairs = right + found, pairs + count
    assert 0.75 < right / pairs < 0.9


def test_ratings_and_ranks_come_from_one_impression():
    for prompt_id, scores in GROUPS:
        label = PANEL.rank(prompt_id, "labeler-2", scores)
        assert all(1 <= rating <= 7 for rating in label.ratings)
        by_rank = [rating for _, rating in sorted(zip(label.ranks, label.ratings, strict=True))]
        for better, worse in itertools.pairwise(by_rank):
            assert better >= worse - 1, "a labeler never ranks first what it rates clearly lower"


def test_equal_answers_are_tied_more_often_than_unequal_ones():
    generator = random.Random(5)
    prompt = prompt_pools(7)["rm"][0]
    same = [score(prompt, compose(prompt, MIXED, generator))] * 2
    tied = sum(len(set(PANEL.rank(str(n), "labeler-1", same).ranks)) == 1 for n in range(400)) / 400
    best, worst = max(GROUPS[0][1], key=lambda s: s.total), score(prompt, "")
    unequal = sum(len(set(PANEL.rank(str(n), "labeler-1", [best, worst]).ranks)) == 1 for n in range(400)) / 400
    assert tied > 0.08 > unequal


def test_flags_tell_of_faults():
    prompt = prompt_pools(7)["rm"][0]
    rude = score(prompt, compose(prompt, Manner(right=1, complete=1, polite=0, rude=1, short=1), random.Random(1)))
    flagged = [PANEL.rank(str(n), "labeler-1", [rude]).flags[0] for n in range(200)]
    assert all(tuple(flags) == FLAGS for flags in flagged)
    assert sum(flags["inappropriate_for_customer"] for flags in flagged) > 160
    assert sum(flags["hallucination"] for flags in flagged) < 20


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=9), st.floats(0, 1))
def test_ranks_are_dense_and_follow_the_impressions(impressions, tie_width):
    ranks = ranks_of(impressions, tie_width=tie_width)
    assert sorted(set(ranks)) == list(range(1, max(ranks) + 1))
    for one, first in zip(impressions, ranks, strict=True):
        for other, second in zip(impressions, ranks, strict=True):
            if first < second:
                assert one > other
            if first == second:
                assert abs(one - other) <= tie_width + 1e-9


def test_rule_accuracy_by_hand():
    assert rule_accuracy([3.0, 2.0, 1.0], [1, 2, 3]) == (3.0, 3)
    assert rule_accuracy([1.0, 2.0, 3.0], [1, 2, 3]) == (0.0, 3)
    assert rule_accuracy([1.0, 1.0, 0.0], [1, 2, 2]) == (1.5, 2)
