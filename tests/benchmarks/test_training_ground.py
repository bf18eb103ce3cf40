"""The training benchmark's models and rows are what it says, and our side of it runs on them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from benchmarks.training import assets, floor, ours
from benchmarks.training.assets import Rows, make_assets, pairs_of, read_rows

ROWS = Rows(demonstrations=4, rankings=2, prompts=6)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small measuring ground: little text, a narrow model."""
    narrow = assets.Shape(32, 2, 2, 64)
    patch = pytest.MonkeyPatch()
    patch.setitem(assets.SHAPES, "narrow", narrow)
    try:
        return make_assets(tmp_path_factory.mktemp("cache"), ("narrow",), ROWS, text_limit=300_000)
    finally:
        patch.undo()


def test_the_tokenizer_tells_padding_from_the_end(ground: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(ground / "tokenizer")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert said == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_rows_have_the_lengths_that_they_should(ground: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(ground / "tokenizer")
    rows = read_rows(ground / "demonstrations.jsonl")
    assert len(rows) == ROWS.demonstrations
    for row in rows:
        count = len(tokenizer(row["completion"][0]["content"])["input_ids"])
        assert 15 <= count <= 260  # 20 to 250, give or take what another cut of the text changes


def test_a_ranking_becomes_all_its_pairs_the_better_one_chosen(ground: Path) -> None:
    [row, _] = read_rows(ground / "rankings_k9.jsonl")
    assert sorted(row["ranks"]) == list(range(1, 10))
    rank = {answer["content"]: place for place, answer in zip(row["ranks"], row["completions"], strict=True)}
    pairs = pairs_of(row)
    assert len(pairs) == 36
    assert all(rank[pair["chosen"][0]["content"]] < rank[pair["rejected"][0]["content"]] for pair in pairs)
    assert len(read_rows(ground / "rankings_k4_pairs.jsonl")) == 6 * ROWS.rankings


def test_answers_of_the_uneven_policy_end_and_those_of_the_other_do_not(ground: Path) -> None:
    ids = torch.randint(3, 8000, (4, 24), generator=torch.Generator().manual_seed(1))
    found = {}
    for name in ("policy", "uneven"):
        model = AutoModelForCausalLM.from_pretrained(ground / "narrow" / name, dtype=torch.float32)
        with torch.no_grad():
            chances = torch.softmax(model(input_ids=ids).logits / 0.7, dim=-1)[..., model.config.eos_token_id]
        found[name] = float(chances.mean())
    assert found["policy"] < 0.001
    assert 0.5 / assets.UNEVEN_MEAN < found["uneven"] < 2 / assets.UNEVEN_MEAN


def spec(ground: Path, scratch: Path, **more: Any) -> dict[str, Any]:
    models = ground / "narrow"
    return {
        "device": "cpu",
        "threads": 1,
        "seconds": 0.0,
        "mode": {},
        "scratch": str(scratch),
        "policy": str(models / "policy"),
        "reward_model": str(models / "reward"),
        "uneven": str(models / "uneven"),
        "batch": 2,
        "episodes": 4,
        "updates": 2,
        "epochs": 1,
        "new_tokens": 4,
        "uneven_tokens": 4,
        "batches": [1, 4],
        "temperature": 0.7,
        **more,
    }


@pytest.mark.parametrize(
    ("stage", "rows"),
    [("sft", "demonstrations"), ("reward", "rankings_k4"), ("ppo", "prompts"), ("generate", "prompts")],
)
def test_our_side_of_each_stage_is_measured(ground: Path, tmp_path: Path, stage: str, rows: str) -> None:
    given = spec(ground, tmp_path, stage=stage, rows=str(ground / f"{rows}.jsonl"))
    record = ours.measure(given)
    rates = record["rates"].values() if stage == "generate" else [record["rate"]]
    assert all(rate > 0 for rate in rates)
    assert not list(tmp_path.iterdir()), "a run of the benchmark is removed behind it"
    if stage != "generate":
        assert floor.measure(given)["rate"] > 0


def test_the_tokens_counted_are_those_of_the_chat_template(ground: Path) -> None:
    rows = read_rows(ground / "demonstrations.jsonl")
    whole = ours.token_counts(str(ground / "tokenizer"), rows)
    prompts = ours.token_counts(str(ground / "tokenizer"), [{**row, "completion": []} for row in rows])
    assert all(long > short for long, short in zip(whole, prompts, strict=True))
