"""The reward model against TRL 1.12.0's RewardTrainer, which knows pairs only: the same loss, weights after a step, and
what a ranking is beyond its pairs."""

import itertools

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.training.rlhf import world
from tests.training.rlhf.oracle import peer
from tests.training.rlhf.oracle.test_trl_sft import CLOSED, CPU, with_template
from training.rlhf.model import fit_to_tokenizer, reward_model_from_policy
from training.rlhf.tokens import encode_completion, load_tokenizer

pytestmark = [pytest.mark.xdist_group("trl"), pytest.mark.filterwarnings("ignore::FutureWarning")]
SEED = 7  # of world.run_json


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = world.make_base(tmp_path_factory.mktemp("base"), context=160)
    return with_template(folder, folder, CLOSED)


@pytest.fixture(scope="module")
def start(base, tmp_path_factory):
    """The reward model that our stage starts from, as a folder."""
    folder = tmp_path_factory.mktemp("start")
    model = reward_model_from_policy(base, CPU, SEED)
    fit_to_tokenizer(model.network, load_tokenizer(base))
    model.save_pretrained(folder)
    return folder


def rankings(*sizes):
    """Rankings of K answers each, without ties."""
    contents = ["The door is red.", "I think that it is blue, or so", "no", "ask Ann", "it is a door"]
    return [
        {
            "id": f"r{row}",
            "prompt": world.user(f"Which door{row}?"),
            "completions": [{"id": f"r{row}-{i}", "content": f"{contents[(i + row) % 5]} {i}"} for i in range(k)],
            "ranks": list(range(1, k + 1)),
        }
        for row, k in enumerate(sizes)
    ]


def as_pairs(tokenizer, ranking):
    encoded = (encode_completion(tokenizer, ranking["prompt"], answer["content"]) for answer in ranking["completions"])
    sequences = [prompt_ids + completion_ids for prompt_ids, completion_ids in encoded]
    return [
        {"chosen_ids": better, "rejected_ids": worse} for better, worse in itertools.combinations(sequences, 2)
    ]  # the answers come best first


def trainer(start, base, pairs, output, **config):
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    return RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(start),
        args=RewardConfig(output_dir=str(output), max_length=None, **{**peer.PLAIN, **config}),
        processing_class=load_tokenizer(base),
        train_dataset=Dataset.from_list(pairs),
    )


def our_step(base, rows, folder):
    """(loss of the first batch, state dict after a step on it)."""
    inputs = {"train": world.write(folder / "train.jsonl", rows), "policy": base}
    config = {
        "batch_size": len(rows), "max_steps": 1, "learning_rate": 1e-3, "schedule": "constant", "max_grad_norm": 0.0
    }  # fmt: skip
    run = world.run_json("reward", inputs, folder / "ours", config)
    run["numerics"] |= {"matmul": "highest"}
    assert world.run_here(run) == 0
    [(_, metrics)] = world.steps(folder / "ours")
    trained = AutoModelForSequenceClassification.from_pretrained(folder / "ours" / "model")
    return metrics["loss/train"], trained.state_dict()


def their_loss(trained, pairs):
    with torch.no_grad():
        return float(trained.compute_loss(trained.model, trained.data_collator(pairs)))


@pytest.mark.parametrize("sizes", [(2,) * 6, (4,)], ids=["six pairs", "a ranking of four"])
def test_a_step_of_ours_and_of_theirs_ends_in_the_same_weights(base, start, tmp_path, sizes):
    """Six rankings of two answers are six pairs, and so is one ranking of four: the same loss, one step, one result."""
    rows = rankings(*sizes)
    pairs = [pair for row in rows for pair in as_pairs(load_tokenizer(base), row)]
    assert len(pairs) == 6
    theirs = trainer(start, base, pairs, tmp_path / "theirs", per_device_train_batch_size=6, max_steps=1,
                     learning_rate=1e-3, max_grad_norm=0.0, logging_steps=1)  # fmt: skip
    expected = their_loss(theirs, pairs)
    theirs.train()
    loss, ours = our_step(base, rows, tmp_path)
    assert loss == pytest.approx(expected, rel=1e-5)
    peer.same_weights(ours, theirs.model.state_dict(), atol=1e-5)


def test_each_ranking_weighs_the_same_where_trl_weighs_each_pair(base, start, tmp_path):
    """On purpose: with pairs weighed alike, a ranking of five would count ten times as much as one of two."""
    rows, tokenizer = rankings(2, 5, 3), load_tokenizer(base)
    pairs = [as_pairs(tokenizer, row) for row in rows]
    flat = list(itertools.chain(*pairs))
    theirs = trainer(start, base, flat, tmp_path / "theirs")
    by_ranking = [their_loss(theirs, of) for of in pairs]
    loss, _ = our_step(base, rows, tmp_path)
    assert loss == pytest.approx(sum(by_ranking) / 3, rel=1e-5)
    pooled = their_loss(theirs, flat)
    assert pooled == pytest.approx(sum(len(of) * value for of, value in zip(pairs, by_ranking, strict=True)) / 14)
    assert abs(pooled - loss) > 1e-3
