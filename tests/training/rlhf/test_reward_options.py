"""What a reward model's run can be asked for: labelers that count more or less, Plackett-Luce, measures at its end."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.rlhf import world
from training.rlhf.config import ConfigError, RewardConfig, config_from_dict
from training.rlhf.errors import RowError
from training.rlhf.losses import plackett_luce_loss
from training.rlhf.reward import RankedAnswers, encode_ranking, group_loss, total_weight, weight_of
from training.rlhf.tokens import load_tokenizer

CONFIG = {"batch_size": 8, "learning_rate": 2e-3, "epochs": 4, "eval_every": 0}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return world.make_base(tmp_path_factory.mktemp("base"))


def ranking(ranks, weight=1.0):
    """Encoded, as far as a loss looks at it."""
    pairs = [(i, j, False) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]]
    return RankedAnswers([[0]] * len(ranks), ranks, pairs, [0.0] * len(pairs), weight=weight)


# Weights


def test_a_weight_is_the_rows_times_its_labelers():
    config = RewardConfig(labeler_weights="p1 0.5, p2: 3, p3=0")
    assert weight_of({"labeler": "p1"}, config) == 0.5
    assert weight_of({"labeler": "p2", "weight": 2}, config) == 6.0
    assert weight_of({"labeler": "p9"}, config) == 1.0
    for row in ({"labeler": "p3"}, {"labeler": "p1", "weight": 0}):
        with pytest.raises(RowError, match="a ranking or a labeler of weight 0"):
            weight_of(row, config)
    for weight in (-1, "2", True, float("nan")):
        with pytest.raises(RowError, match="a weight that is not a number of 0 or more"):
            weight_of({"weight": weight}, config)


@pytest.mark.parametrize("text", ["p1", "p1 heavy", "p1 -1", "0.5", "p1 nan"])
def test_weights_that_cannot_be_read_are_refused(text):
    with pytest.raises(ConfigError, match="labeler_weights must be pseudonyms with weights of 0 or more, got"):
        config_from_dict("reward", {"labeler_weights": text})


@pytest.mark.parametrize("loss", ["pairs", "plackett_luce"])
def test_a_batchs_loss_is_the_weighted_mean_over_rankings(loss):
    config = RewardConfig(loss=loss)
    scores = torch.tensor([1.0, 0.0, 0.5, 0.2, -0.3], dtype=torch.float64)
    alone = [float(group_loss(scores[:3], [ranking([1, 2, 3])], config)),
             float(group_loss(scores[3:], [ranking([2, 1])], config))]  # fmt: skip
    batch = [ranking([1, 2, 3], weight=3.0), ranking([2, 1], weight=1.0)]
    found = float(group_loss(scores, batch, config)) / total_weight(batch)
    assert found == pytest.approx((3 * alone[0] + alone[1]) / 4)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(0.1, 5), min_size=1, max_size=4),
    st.floats(0.01, 100),
    st.sampled_from(["pairs", "plackett_luce"]),
)
def test_weights_of_another_scale_are_the_same_step(weights, factor, loss):
    """What a batch's gradient is worth does not hang on how heavy its labelers are in all."""
    gradients = []
    for scale in (1.0, factor):
        scores = torch.linspace(-1, 1, 3 * len(weights), dtype=torch.float64).cos().requires_grad_()
        batch = [ranking([2, 1, 3], weight=weight * scale) for weight in weights]
        (group_loss(scores, batch, RewardConfig(loss=loss)) / total_weight(batch)).backward()
        gradients.append(scores.grad.tolist())
    assert gradients[0] == pytest.approx(gradients[1], abs=1e-6)  # weights of pairs are float32


def test_a_labeler_of_weight_0_teaches_nothing(base, tmp_path):
    """Two of three rankings are by a liar: believed, the model learns the lie."""
    rows = []
    for number, row in enumerate(world.rankings(36)):
        liar = number // 3 % 3 > 0
        ranks = [max(row["ranks"]) + 1 - rank for rank in row["ranks"]] if liar else row["ranks"]
        rows.append({**row, "ranks": ranks, "labeler": "liar" if liar else "honest"})
    inputs = {
        "train": world.write(tmp_path / "train.jsonl", rows),
        "validation": world.write(tmp_path / "validation.jsonl", world.rankings(12)),
        "policy": base,
    }
    accuracy = []
    for name, text in (("believed", ""), ("left_out", "liar 0")):
        config = {**CONFIG, "labeler_weights": text, "epochs": 6 if text else 2}  # as many steps
        assert world.run_here(world.run_json("reward", inputs, tmp_path / name, config)) == 0
        accuracy.append(dict(world.steps(tmp_path / name)).popitem()[1]["accuracy/validation"])
    assert accuracy[0] < 0.4 < 0.8 < accuracy[1]
    [data, _] = world.events(tmp_path / "left_out", "data")
    assert (data["kept"], data["reasons"]) == (12, {"a ranking or a labeler of weight 0": 24})


# Plackett and Luce, and the report


@pytest.mark.parametrize("ties", ["drop", "half"])
def test_a_model_is_trained_by_plackett_luce_and_measured_at_its_end(base, tmp_path, ties):
    rows = [
        {**row, "prompt_fields": {"category": ("open", "chat")[number % 2]}}
        for number, row in enumerate(world.rankings(30))
    ]
    inputs = {
        "train": world.write(tmp_path / "train.jsonl", rows),
        "validation": world.write(tmp_path / "validation.jsonl", rows[:12]),
        "policy": base,
    }
    config = {**CONFIG, "loss": "plackett_luce", "ties": ties}
    assert world.run_here(world.run_json("reward", inputs, tmp_path / "out", config)) == 0
    card = json.loads((tmp_path / "out" / "model" / "plackett.json").read_text())
    result = card["metrics"]
    assert result["accuracy/validation"] > 0.9
    assert result["accuracy/validation/low"] <= result["accuracy/validation"] <= result["accuracy/validation/high"]
    parts = [(row["part"], row["value"]) for row in card["agreement"]]
    assert parts == [("all", ""), ("k", "2"), ("k", "3"), ("k", "4"), ("category", "chat"), ("category", "open")]
    assert result["kendall_tau/validation/category/chat"] == card["agreement"][4]["kendall_tau"]
    assert 0 <= result["calibration_error/validation"] <= 1
    assert sum(row["pairs"] for row in card["calibration"]) == card["agreement"][0]["pairs"]


def test_the_loss_of_a_group_is_that_of_its_rankings(base):
    rows, tokenizer = world.rankings(6), load_tokenizer(base)
    config = RewardConfig(loss="plackett_luce", ties="half")
    group = [encode_ranking(row, tokenizer, 96, config, training=True) for row in rows]
    sizes = [len(one.sequences) for one in group]
    scores = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone = [
        plackett_luce_loss(part, row["ranks"], ties="half") for part, row in zip(scores.split(sizes), rows, strict=True)
    ]
    assert group_loss(scores, group, config).item() == pytest.approx(sum(alone).item())
