"""What comes next, for given counts: worked examples, and what must hold for any."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.fields import Category
from annotation.policy import INSTRUCTGPT_QUOTAS, Head, Policy, categories_in_order, deficits, kinds_in_order
from annotation.uncertainty import pair_uncertainty

CATEGORIES = ["generation", "chat", "open_qa", "other"]
quotas_of = st.dictionaries(st.sampled_from(CATEGORIES), st.floats(0.1, 100), min_size=1)
counts_of = st.dictionaries(st.sampled_from(CATEGORIES), st.integers(0, 1000))


def head(category: str, priority: int = 0, uncertainty: float = 0.0, id: str = "1") -> Head:
    return Head(category, priority, uncertainty, id)


def test_the_default_quotas_are_instructgpts_and_name_every_category() -> None:
    assert set(INSTRUCTGPT_QUOTAS) == set(Category.values)
    assert sum(INSTRUCTGPT_QUOTAS.values()) == pytest.approx(99.9)  # table 1 rounds to one decimal
    assert Policy().quotas["generation"] == 45.6


# --- Kinds -----------------------------------------------------------------------------------------


def test_kinds_are_drawn_by_weight() -> None:
    policy = Policy(weights={"ranking": 3, "demonstration": 1})
    waiting = {"ranking": 0, "demonstration": 0}
    first = Counter(kinds_in_order(waiting, policy, draw / 1000)[0] for draw in range(1000))
    assert first == {"ranking": 750, "demonstration": 250}


def test_a_kind_of_weight_0_is_not_handed_out_and_one_without_tasks_neither() -> None:
    policy = Policy(weights={"ranking": 0})
    assert kinds_in_order({"ranking": 9, "demonstration": 0}, policy, 0.5) == ["demonstration"]
    assert kinds_in_order({"ranking": 0}, policy, 0.5) == []
    assert kinds_in_order({}, Policy(), 0.5) == []


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(-2, 2)),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 5)),
    st.floats(0, 1, exclude_max=True),
)
def test_every_kind_that_has_a_weight_is_tried_once_the_most_urgent_first(
    priorities: dict[str, int], weights: dict[str, int], draw: float
) -> None:
    order = kinds_in_order(priorities, Policy(weights=weights), draw)
    assert sorted(order) == sorted(kind for kind in priorities if weights.get(kind, 1) > 0)
    assert [priorities[kind] for kind in order] == sorted((priorities[kind] for kind in order), reverse=True)


# --- Categories ------------------------------------------------------------------------------------


def test_the_deficit_by_hand() -> None:
    # Of 10 labels 4 are chat and none is generation; with the 11th, generation should have 5.5 and chat 5.5.
    lacking = deficits({"chat": 4, "other": 6}, {"generation": 50, "chat": 50})
    assert lacking == {"generation": 5.5, "chat": 1.5, "other": -6}
    heads = [head("other"), head("chat"), head("generation")]
    policy = Policy(quotas={"generation": 50, "chat": 50})
    assert categories_in_order(heads, {"chat": 4, "other": 6}, policy) == ["generation", "chat", "other"]


def test_priority_comes_before_the_quota() -> None:
    heads = [head("chat", priority=1), head("generation")]
    assert categories_in_order(heads, {"chat": 1000}, Policy()) == ["chat", "generation"]


def test_without_quotas_the_oldest_or_the_most_uncertain_comes_first() -> None:
    heads = [head("chat", uncertainty=0.9, id="2"), head("other", uncertainty=0.1, id="1"), head("extract", id="3")]
    assert categories_in_order(heads, {}, Policy(quotas={})) == ["other", "chat", "extract"]
    uncertain = Policy(quotas={}, uncertain_first=True)
    assert categories_in_order(heads, {}, uncertain) == ["chat", "other", "extract"]
    assert uncertain.order() == ("-priority", "-uncertainty", "id")
    assert Policy().order() == ("-priority", "id")


@given(counts_of, quotas_of)
def test_deficits_sum_to_the_next_label(taken: dict[str, int], quotas: dict[str, float]) -> None:
    assert sum(deficits(taken, quotas).values()) == pytest.approx(1, abs=1e-6)


@given(quotas_of, st.integers(1, 300))
def test_no_category_is_ever_more_than_one_label_beyond_its_quota(quotas: dict[str, float], labels: int) -> None:
    taken: Counter[str] = Counter()
    whole = sum(quotas.values())
    heads = [head(category) for category in quotas]
    for number in range(1, labels + 1):
        taken[categories_in_order(heads, taken, Policy(quotas=quotas))[0]] += 1
        assert all(taken[name] < quotas[name] / whole * number + 1 + 1e-6 for name in quotas)


@given(st.lists(st.sampled_from(CATEGORIES), unique=True), counts_of, quotas_of | st.just({}))
def test_every_category_that_has_a_task_is_tried_once(
    waiting: list[str], taken: dict[str, int], quotas: dict[str, float]
) -> None:
    order = categories_in_order([head(category) for category in waiting], taken, Policy(quotas=quotas))
    assert sorted(order) == sorted(waiting)


# --- Review and uncertainty ------------------------------------------------------------------------


def test_so_many_skips_lead_to_a_review_and_0_never() -> None:
    assert [Policy(review_after_skips=2).goes_to_review(skips) for skips in (1, 2, 3)] == [False, True, True]
    assert not Policy(review_after_skips=0).goes_to_review(100)


def test_uncertainty_by_hand() -> None:
    assert pair_uncertainty([1.0, 1.0]) == 1.0  # a coin
    # sigmoid(ln 3) = 3/4, and the entropy of (3/4, 1/4) is 2 - 3/4 log2 3 bits.
    assert pair_uncertainty([0.0, 1.0986122886681098]) == pytest.approx(0.8112781244591328)
    assert pair_uncertainty([0.0, 0.0, 1000.0]) == pytest.approx(1 / 3)
    assert pair_uncertainty([5.0]) == pair_uncertainty([]) == 0.0


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=9), st.floats(-100, 100))
def test_uncertainty_is_a_share_that_a_shift_does_not_change(scores: list[float], shift: float) -> None:
    value = pair_uncertainty(scores)
    assert 0 <= value <= 1
    assert pair_uncertainty([score + shift for score in scores]) == pytest.approx(value, abs=1e-6)
    assert pair_uncertainty(scores[::-1]) == pytest.approx(value, abs=1e-9)
