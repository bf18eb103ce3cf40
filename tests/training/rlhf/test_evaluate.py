"""Evaluation of policies: several answers to a prompt, best-of-n, one policy against another, and intervals."""

import json
from statistics import fmean

import pytest

from tests.training.rlhf.tiny import events, run_json, save_world, tiny_policy
from training.rlhf.__main__ import run_stage
from training.rlhf.measures import best_of_n, best_of_n_kl, mean_interval
from training.rlhf.tokens import load_tokenizer

CONFIG = {"samples_per_prompt": 4, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    made = save_world(folder)
    tiny_policy(seed=5).save_pretrained(folder / "opponent")
    load_tokenizer(made["policy"]).save_pretrained(folder / "opponent")
    return {
        "policy": made["policy"],
        "opponent": folder / "opponent",
        "reference": folder / "opponent",
        "reward_model": made["reward_model"],
        "prompts": made["train"],
    }


@pytest.fixture(scope="module")
def report(world, tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    assert run_stage(run_json("evaluate", world, output, CONFIG)) == 0
    return json.loads((output / "report.json").read_text())


def column(rows, name) -> dict[str, list[float]]:
    found = {}
    for row in rows:
        found.setdefault(row["prompt_id"], []).append(row[name])
    return found


def test_every_prompt_is_answered_n_times_by_both(report):
    for kind in ("answers", "opponent_answers"):
        rows = report[kind]
        assert [(row["prompt_id"], row["index"]) for row in rows] == [(f"p{i}", n) for i in range(30) for n in range(4)]
    assert [row["tokens"] for row in report["answers"]] != [row["tokens"] for row in report["opponent_answers"]]


def test_a_measure_is_the_mean_over_prompts_with_an_interval_over_them(report):
    metrics = report["metrics"]
    for name, kind, of in (
        ("objective/score", "answers", "score"),
        ("objective/kl", "answers", "kl"),
        ("response/length", "answers", "tokens"),
        ("opponent/score", "opponent_answers", "score"),
    ):
        means = [fmean(values) for values in column(report[kind], of).values()]
        wanted = mean_interval(means)
        assert [metrics[key] for key in (name, f"{name}/low", f"{name}/high")] == pytest.approx(list(wanted))
        assert wanted.low < wanted.value < wanted.high
    assert metrics["objective/kl"] > 0


def test_best_of_n_for_every_n(report):
    scores = list(column(report["answers"], "score").values())
    best = report["best_of_n"]
    assert [row["n"] for row in best] == [1, 2, 3, 4]
    assert best[0]["score"] == pytest.approx(report["metrics"]["objective/score"]) and best[0]["kl"] == 0
    assert best[3]["score"] == pytest.approx(fmean(max(values) for values in scores))
    assert best[1]["score"] == pytest.approx(fmean(best_of_n(values, 2) for values in scores))
    assert best[2]["kl"] == best_of_n_kl(3)
    assert report["metrics"]["objective/score/best_of_4"] == best[3]["score"]
    assert [row["score"] for row in best] == sorted(row["score"] for row in best)


def test_the_win_rate_counts_pairs_of_answers_to_one_prompt(report):
    mine, theirs = (column(report[kind], "score") for kind in ("answers", "opponent_answers"))
    slow = [fmean(float(a > b) + 0.5 * (a == b) for a in mine[key] for b in theirs[key]) for key in mine]
    metrics = report["metrics"]
    assert metrics["win_rate"] == pytest.approx(fmean(slow))
    assert 0 <= metrics["win_rate/low"] < metrics["win_rate"] < metrics["win_rate/high"] <= 1


def test_a_policy_against_itself_wins_half_the_time(world, tmp_path):
    same = {**world, "opponent": world["policy"]}
    assert run_stage(run_json("evaluate", same, tmp_path, CONFIG)) == 0
    [finished] = events(tmp_path, "finished")
    result = finished["result"]
    assert result["win_rate/low"] < 0.5 < result["win_rate/high"]
    assert abs(result["win_rate"] - 0.5) < 0.1


def test_perplexity_has_an_interval_over_stretches_of_the_text(world, tmp_path):
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": " ".join("abcdefghij"[n % 7 :])}) + "\n" for n in range(40)))
    inputs = {"policy": world["policy"], "validation_text": text}
    assert run_stage(run_json("evaluate", inputs, tmp_path / "out", {"context_length": 16})) == 0
    result = events(tmp_path / "out", "finished")[0]["result"]
    low, value, high = (result[f"perplexity/validation{end}"] for end in ("/low", "", "/high"))
    assert 1 < low < value < high < 10 * value
