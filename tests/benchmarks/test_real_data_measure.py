"""The figures of the real-data trial: pairs, the length rule, the judges' agreement, intervals over prompts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.real_data import measure
from benchmarks.real_data.report import reward_figures


def ranking(prompt: str, texts: list[str], ranks: list[int | None], *, labeler: str = "p1", id: str = "r1") -> dict:
    """A canonical row; an answer's id is its text."""
    return {
        "id": id,
        "prompt": [{"role": "user", "content": prompt}],
        "completions": [{"id": text, "content": text} for text in texts],
        "ranks": ranks,
        "labeler": labeler,
    }


def test_pairs_leave_out_ties_and_what_was_not_ranked():
    pairs = measure.pairs_of([ranking("p", ["long answer", "mid one", "x", "y"], [2, 1, 2, None])])
    assert [(pair.better, pair.worse) for pair in pairs] == [("mid one", "long answer"), ("mid one", "x")]
    assert (pairs[0].better_length, pairs[0].worse_length) == (7, 11)


def test_scores_stand_in_the_places_of_the_ranked_answers():
    rows = [ranking("p", ["a", "b", "c"], [1, None, 2]), ranking("p", ["a", "b"], [1, 2], id="left out")]
    [pair] = measure.pairs_of(rows, {"r1": [0.5, 2.0]})
    assert (pair.better, pair.worse, pair.gap) == ("a", "c", -1.5)
    assert measure.model_is_right(pair) == 0


def test_equal_scores_count_half():
    [pair] = measure.pairs_of([ranking("p", ["a", "b"], [1, 2])], {"r1": [1.0, 1.0]})
    assert measure.model_is_right(pair) == 0.5


def test_the_length_rule_is_fitted_on_the_training_pairs_and_holds_for_others():
    shorter_wins = measure.pairs_of([ranking(f"p{i}", ["aa", "a"], [2, 1]) for i in range(3)])
    longer, rule = measure.length_rule(shorter_wins)
    assert not longer
    [longer_won] = measure.pairs_of([ranking("q", ["bbb", "b"], [1, 2])])
    [as_long] = measure.pairs_of([ranking("q", ["bbb", "ccc"], [1, 2])])
    assert (rule(longer_won), rule(as_long)) == (0, 0.5)


def test_judges_are_compared_where_two_of_them_decided_the_same_pair():
    rows = [
        ranking("p", ["a", "b"], [1, 2], labeler="p1"),
        ranking("p", ["b", "a"], [2, 1], labeler="p2"),  # the same verdict, written the other way round
        ranking("p", ["a", "b"], [2, 1], labeler="p3"),
        ranking("p", ["a", "b"], [1, 1], labeler="p4"),  # a tie decides nothing
        ranking("q", ["a", "b"], [1, 2], labeler="p1"),  # judged once
    ]
    assert measure.judges_by_prompt(measure.pairs_of(rows)) == {"p": (1, 3)}


def test_the_interval_is_over_prompts_and_not_over_pairs():
    """A hundred pairs of two prompts are two observations: one all right, one all wrong says nothing at all."""
    found = measure.with_interval({"p": (50.0, 50), "q": (0.0, 50)}, seed=1)
    assert (found["mean"], found["low"], found["high"]) == (0.5, 0.0, 1.0)
    assert (found["pairs"], found["prompts"]) == (100, 2)


def test_a_prompt_weighs_by_its_pairs():
    assert measure.share([(3.0, 3), (0.0, 1)]) == 0.75


def test_a_difference_on_the_same_prompts_is_narrower_than_either():
    chance = random.Random(3)
    length = {f"p{i}": (float(chance.randint(0, 10)), 10) for i in range(60)}
    model = {prompt: (min(right + 1, 10.0), count) for prompt, (right, count) in length.items()}
    both = measure.difference(model, length, seed=1)
    alone = measure.with_interval(model, seed=1)
    assert 0 < both["low"] <= both["mean"] <= both["high"] <= 0.1
    assert both["high"] - both["low"] < (alone["high"] - alone["low"]) / 4


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20), st.integers(0, 99))
def test_the_interval_holds_the_extremes_in_and_is_the_same_each_time(values, seed):
    keyed = {str(number): value for number, value in enumerate(values)}
    nothing = dict.fromkeys(keyed, 0.0)
    found = measure.mean_difference(keyed, nothing, seed)
    assert found == measure.mean_difference(keyed, nothing, seed)
    assert min(values) - 1e-9 <= found["low"] <= found["high"] <= max(values) + 1e-9


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    chance, covered = random.Random(5), 0
    for trial in range(100):
        tallies = {str(i): (float(sum(chance.random() < 0.6 for _ in range(8))), 8) for i in range(40)}
        found = measure.with_interval(tallies, seed=trial, draws=400)
        covered += found["low"] <= 0.6 <= found["high"]
    assert 86 <= covered <= 100


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="nothing to measure"):
        measure.with_interval({}, seed=1)


def test_all_figures_of_the_reward_model_are_on_the_same_pairs():
    train = [ranking(f"t{i}", ["long one", "s"], [1, 2], id=f"t{i}") for i in range(4)]
    held_out = [ranking(f"h{i}", ["long one", "s"], [2, 1], id=f"h{i}", labeler=f"p{i % 2}") for i in range(6)]
    held_out += [ranking("h0", ["s", "long one"], [1, 2], id="again", labeler="p9")]
    scored = [{"id": row["id"], "scores": [0.0, 1.0]} for row in held_out[:5]]  # one did not fit the context
    scored.append({"id": "again", "scores": [1.0, 0.0]})
    found = reward_figures(train, held_out, {"rankings": scored, "metrics": {"accuracy/validation": 1.0}}, seed=7)
    assert found["accuracy"]["mean"] == 1
    assert (found["length_only"]["prefers"], found["length_only"]["mean"]) == ("longer", 0)
    assert found["less_length_only"] == {"mean": 1, "low": 1, "high": 1}
    assert (found["judges_agree"]["mean"], found["judges_agree"]["pairs"]) == (1, 1)
    assert found["accuracy"]["pairs"] == found["length_only"]["pairs"] == 6
    assert (found["rankings_measured"], found["rankings_held_out"]) == (6, 7)
