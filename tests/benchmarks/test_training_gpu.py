"""What the GPU part counts: weights of a shape, operations of a token, shares of a card's peak."""

import pytest

from benchmarks.training.assets import SHAPES, random_model
from benchmarks.training.gpu import on_gpu, operations_per_token, parameters, shares

TINY = SHAPES["tiny"]


def test_the_weights_counted_are_the_models_matrices() -> None:
    matrices = sum(weight.numel() for weight in random_model(TINY).parameters() if weight.dim() == 2)
    assert parameters(TINY) == matrices  # the embedding is tied, so it counts once, as the head
    assert parameters(TINY, head=False) == matrices - TINY.vocabulary * TINY.hidden


def test_grouped_heads_have_narrower_keys_and_values() -> None:
    """Qwen2.5-0.5B has 0.36B parameters without embeddings, by its model card."""
    assert parameters(SHAPES["0.5b"], head=False) == pytest.approx(0.36e9, rel=0.01)
    assert parameters(SHAPES["1.5b"], head=False) == pytest.approx(1.31e9, rel=0.01)


def test_operations_are_six_a_weight_and_half_a_square_of_attention() -> None:
    # 4 layers x hidden 192, 100 tokens: queries meet 50 keys on average; 2 products, 2 operations each, 3 passes
    attention = 4 * (2 * 2 * 3) * 192 * 50
    assert operations_per_token(TINY, 100, head=True) == 6 * parameters(TINY) + attention


def test_mfu_is_the_share_of_the_cards_peak() -> None:
    [case] = on_gpu("0.5b", quick=True, only=["sft"])
    a_token = operations_per_token(SHAPES["0.5b"], 100, head=True)
    record = {"tokens": 1000, "rows": 10, "seconds": 1000 * a_token / 50e12}  # 50 TFLOP/s
    [found] = shares(case, {("ours", "default"): [record]}, SHAPES["0.5b"], (100, 1000))
    assert (found["share"], found["met"]) == (0.5, True)
    assert shares(case, {("ours", "default"): [record]}, SHAPES["0.5b"], None) == []


def test_each_stage_has_its_cases_on_a_gpu() -> None:
    found = on_gpu("1.5b", quick=False, only=["sft", "rm", "ppo", "generate"])
    assert len(found) == 5
    assert all(case.spec["size"] == "1.5b" and set(case.theirs) == set(case.comparisons[0].theirs) for case in found)
