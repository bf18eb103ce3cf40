"""The recipes fit the core's settings and the world's pools; what simulated labelers leave is canonical rows."""

import random

import pytest

from demo.answers import PERFECT, compose
from demo.gold import score
from demo.labelers import Panel
from demo.measures import distinct2, gold_summary
from demo.prompts import POOLS, prompt_pools
from demo.recipe import FULL, SHORT, WRITING
from demo.records import answer_groups, demonstration_row, demonstration_text, gold_groups, ranking_rows
from training.rlhf.config import config_from_dict

RECIPES = pytest.mark.parametrize("recipe", [FULL, SHORT])


@RECIPES
@pytest.mark.parametrize("stage", ["pretrain", "sft", "reward", "ppo", "sample"])
def test_the_core_accepts_every_setting(recipe, stage):
    config_from_dict(stage, getattr(recipe, stage))
    config_from_dict("sample", recipe.evaluate)


@RECIPES
def test_pools_hold_as_many_prompts_as_a_recipe_uses(recipe):
    assert all(recipe.prompts[pool] <= POOLS[pool] for pool in POOLS)
    assert recipe.sample["samples_per_prompt"] == recipe.answers


@RECIPES
def test_answers_to_held_out_prompts_are_never_drawn_twice(recipe):
    assert recipe.evaluate["retries"] == 0, "drawing until answers differ would measure another policy"


def test_demonstrations_are_right_but_leave_room():
    prompts = prompt_pools(7)["sft"]
    golds = [score(prompt, demonstration_text(prompt, WRITING, 7)) for prompt in prompts]
    assert all(gold.right == 1.0 for gold in golds)
    assert 0.8 < sum(gold.total for gold in golds) / len(golds) < 0.95
    assert demonstration_text(prompts[0], WRITING, 7) == demonstration_text(prompts[0], WRITING, 7)


def test_rows_are_canonical():
    prompt = prompt_pools(7)["rm"][0]
    generator = random.Random(1)
    texts = [compose(prompt, PERFECT, generator), "Who cares?", ""]
    rows = ranking_rows([(prompt, texts)], Panel(noise=0.01, seed=1), overlap=2)
    assert len({row["labeler"] for row in rows}) == len(rows) == 2
    for row in rows:
        assert [completion["content"] for completion in row["completions"]] == texts
        assert row["ranks"][0] == 1 and row["ranks"][1] > 1
        assert row["origin"] == "simulated"
        assert row["group"] == prompt.group
    row = demonstration_row(prompt, WRITING, 7)
    assert row["prompt"] == prompt.conversation()
    assert row["completion"][0]["role"] == "assistant"


def test_groups_keep_a_prompts_answers_together():
    first, second = prompt_pools(7)["rm"][:2]
    groups = answer_groups([(first, "a"), (second, "b"), (first, "c")])
    assert groups == [(first, ["a", "c"]), (second, ["b"])]
    assert [(prompt_id, len(scores)) for prompt_id, scores in gold_groups(groups)] == [(first.id, 2), (second.id, 1)]


def test_gold_summary_by_hand():
    first, second = prompt_pools(7)["eval"][:2]
    good = compose(first, PERFECT, random.Random(1))
    summary = gold_summary([(first, good), (first, good), (second, ""), (second, "")])
    assert summary["mean"] == pytest.approx(0.5)
    assert summary["high"] - summary["mean"] == pytest.approx(1.96 * 0.5**0.5 / 2**0.5)
    assert summary["parts"]["right"] == pytest.approx(0.5)


def test_distinct2_by_hand():
    prompt = next(prompt for prompt in prompt_pools(7)["eval"] if prompt.language == "en")
    assert distinct2([(prompt, "a b a b")]) == pytest.approx(2 / 3)
    assert distinct2([(prompt, "a b"), (prompt, "a b")]) == pytest.approx(1 / 2)
    assert distinct2([]) == 0.0
