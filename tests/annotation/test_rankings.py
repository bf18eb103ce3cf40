"""Rankings as numbers: ties, partial orders, pairs and agreement."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.rankings import (
    RankingProblem,
    agreement,
    contradictions,
    normalise_ranks,
    pairs,
    ranks_validate,
)

complete = st.lists(st.integers(1, 9), min_size=2, max_size=9)
partial = st.lists(st.none() | st.integers(1, 9), min_size=2, max_size=9)


def test_competition_ranks_and_dense_ranks_mean_the_same() -> None:
    assert normalise_ranks([1, 1, 3]) == [1, 1, 2]
    assert normalise_ranks([1, 1, 2]) == [1, 1, 2]
    assert normalise_ranks([4, None, 2]) == [2, None, 1]


@given(partial)
def test_normalised_ranks_keep_the_order_and_have_no_gaps(ranks: list[int | None]) -> None:
    dense = normalise_ranks(ranks)
    assert normalise_ranks(dense) == dense
    known = sorted({rank for rank in dense if rank is not None})
    assert known == list(range(1, len(known) + 1))
    for first, second in combinations(range(len(ranks)), 2):
        before, after = (ranks[first], ranks[second]), (dense[first], dense[second])
        if None not in before:
            assert (before[0] > before[1], before[0] == before[1]) == (after[0] > after[1], after[0] == after[1])


@given(st.permutations(range(1, 8)))
def test_a_ranking_without_ties_gives_all_pairs(ranks: list[int]) -> None:
    found = pairs(ranks)
    assert len(found) == comb(7, 2)
    assert all(ranks[pair.chosen] < ranks[pair.rejected] and pair.weight == 1.0 for pair in found)
    assert all(pair.margin == ranks[pair.rejected] - ranks[pair.chosen] for pair in found)


@given(partial)
def test_ties_and_unranked_answers_are_left_out_of_pairs(ranks: list[int | None]) -> None:
    known = [rank for rank in ranks if rank is not None]
    tied = sum(comb(known.count(rank), 2) for rank in set(known))
    assert len(pairs(ranks)) == comb(len(known), 2) - tied
    assert len(pairs(ranks, ties="half")) == comb(len(known), 2)
    assert sum(pair.weight == 0.5 and pair.margin == 0 for pair in pairs(ranks, ties="margin")) == tied


def test_an_unknown_tie_policy_is_refused() -> None:
    with pytest.raises(RankingProblem, match="must be one of drop, half, margin"):
        pairs([1, 2], ties="maybe")


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=9))
def test_agreement_is_symmetric_and_bounded(both: list[tuple[int, int]]) -> None:
    ours, theirs = [here for here, _ in both], [there for _, there in both]
    agreed, compared = agreement(ours, theirs)
    assert agreement(theirs, ours) == (agreed, compared)
    assert 0 <= agreed <= compared <= comb(len(both), 2)


@given(complete)
def test_a_ranking_agrees_with_itself_and_not_with_its_reverse(ranks: list[int]) -> None:
    agreed, compared = agreement(ranks, ranks)
    assert agreed == compared == len(pairs(ranks))
    assert agreement(ranks, [10 - rank for rank in ranks]) == (0, compared)


def test_agreement_leaves_out_what_either_has_tied_or_unranked() -> None:
    # pairs: (a,b) tied by one; (a,c) agreed; (b,c) ordered by both, opposite; d unranked by one
    assert agreement([1, 1, 2, 3], [1, 3, 2, None]) == (1, 2)


def test_rankings_of_different_groups_are_not_compared() -> None:
    with pytest.raises(RankingProblem):
        agreement([1, 2], [1, 2, 3])


def test_contradictions_are_pairs_ranked_against_their_ratings() -> None:
    assert contradictions([1, 2, 3], [4, 7, None]) == [(0, 1)]
    assert contradictions([1, 1], [1, 7]) == []


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ([1], "two answers or more"),
        ([1, None], "1 of 2 answers have no rank"),
        ([1, 0], "whole number from 1 up"),
        ([1, True], "whole number from 1 up"),
        ([1, "2"], "whole number from 1 up"),
        ([1, 1.5], "whole number from 1 up"),
        ([1, 10**9], "whole number from 1 up"),
    ],
)
def test_what_is_no_ranking_is_refused_in_words(ranks: list[object], words: str) -> None:
    with pytest.raises(RankingProblem, match=words):
        ranks_validate(ranks)


def test_partial_rankings_and_ties_are_the_projects_choice() -> None:
    assert ranks_validate([2, None, 5], allow_partial=True) == [1, None, 2]
    with pytest.raises(RankingProblem, match="at least two"):
        ranks_validate([1, None, None], allow_partial=True)
    with pytest.raises(RankingProblem, match="no ties"):
        ranks_validate([1, 1], allow_ties=False)


@given(st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), max_size=5))
def test_nothing_but_ranks_or_a_ranking_problem_comes_of_anything(ranks: list[object]) -> None:
    try:
        assert all(rank is None or rank >= 1 for rank in ranks_validate(ranks, allow_partial=True))
    except RankingProblem as problem:
        assert problem.message.endswith(".")
