"""Pretraining, SFT, reward models and evaluation as wholes: what they learn, publish, count and refuse."""

import itertools
import json
import math
import re
from statistics import fmean

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.training.rlhf import world
from training.rlhf.config import Numerics, PretrainConfig, RewardConfig
from training.rlhf.data import pad_right, read_rows
from training.rlhf.errors import DataError, RowError
from training.rlhf.generate import Decoding, generate
from training.rlhf.model import fit_to_tokenizer, load_policy, load_reward_model, selected_logits
from training.rlhf.pretrain import cut_blocks, join_documents, train_tokenizer, windows
from training.rlhf.reward import encode_ranking, pair_margin, ranked_answers
from training.rlhf.tokens import decode_response, encode_completion, encode_prompt, load_tokenizer

CPU = Numerics(device="cpu", threads=1, dtype="float32", matmul="highest")
TINY = {"vocab_size": 300, "hidden_size": 32, "layers": 2, "heads": 2, "context_length": 64, "batch_size": 8}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    corpus = [{"text": text} for text in world.texts(240)]
    corpus += [{"messages": row["prompt"] + row["completion"]} for row in world.demonstrations(30)]
    return {
        "corpus": world.write(folder / "corpus.jsonl", corpus),
        "held_out": world.write(folder / "held_out.jsonl", [{"text": text} for text in world.texts(20)]),
        "demonstrations": world.write(folder / "demonstrations.jsonl", world.demonstrations(40)),
        "rankings": world.write(folder / "rankings.jsonl", world.rankings(30)),
        "prompts": world.write(folder / "prompts.jsonl", [
            {"id": row["id"], "prompt": row["prompt"]} for row in world.demonstrations(6)
        ]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def chain(files, tmp_path_factory):
    """Pretrain, SFT and a reward model, one after the other, as the loop runs them."""
    folder = tmp_path_factory.mktemp("chain")
    inputs = {"train": files["corpus"], "validation": files["held_out"]}
    config = {**TINY, "epochs": 8, "learning_rate": 5e-3, "eval_every": 10}
    assert world.run_here(world.run_json("pretrain", inputs, folder / "base", config)) == 0
    inputs = {"train": files["demonstrations"], "validation": files["demonstrations"], "policy": folder / "base/model"}
    config = {"epochs": 40, "learning_rate": 5e-3, "batch_size": 20, "sample_every": 0, "eval_every": 20}
    assert world.run_here(world.run_json("sft", inputs, folder / "sft", config)) == 0
    inputs = {"train": files["rankings"], "validation": files["rankings"], "policy": folder / "sft/model"}
    inputs["demonstrations"] = files["demonstrations"]
    config = {"epochs": 6, "learning_rate": 2e-3, "batch_size": 10, "eval_every": 0}
    assert world.run_here(world.run_json("reward", inputs, folder / "reward", config)) == 0
    return folder


def test_pretraining_learns_the_corpus(chain):
    steps = dict(world.steps(chain / "base"))
    assert steps[1]["loss/train"] == pytest.approx(math.log(300), abs=0.3)  # nothing known: all tokens alike
    last = steps[max(steps)]
    assert last["perplexity/validation"] < 8
    assert last["perplexity/validation"] == pytest.approx(math.exp(last["loss/validation"]))


def test_a_base_model_is_a_plain_hugging_face_folder(chain):
    folder = chain / "base" / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == model.config.vocab_size == 300
    assert model.config.max_position_embeddings == 64
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert set(tokenizer.all_special_tokens) == {"<|pad|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>"}
    assert not list(folder.glob("*.bin"))
    card = json.loads((folder / "plackett.json").read_text())
    assert (card["stage"], card["seed"]) == ("pretrain", 7)
    assert set(card["inputs"]) == {"train", "validation"}
    assert card["config"]["vocab_size"] == 300


def test_sft_learns_to_answer_and_to_stop(chain):
    """A policy that was trained with pad = eos, or on answers cut before EOS, would run on."""
    folder = chain / "sft" / "model"
    tokenizer, policy = load_tokenizer(folder), load_policy(folder, CPU)
    rows = world.demonstrations(40)[:8]
    prompts = [encode_prompt(tokenizer, row["prompt"]) for row in rows]
    answers = generate(
        policy, prompts, [0] * 8, Decoding(max_new_tokens=30, temperature=0),
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    assert answers.ended.all()
    texts = [decode_response(tokenizer, answers.tokens(row)) for row in range(8)]
    form = re.compile(rf"The ({'|'.join(world.THINGS)}) is ({'|'.join(world.COLOURS)})\.( Yes\.)*")
    assert all(form.fullmatch(text) for text in texts), texts
    steps = dict(world.steps(chain / "sft"))
    assert steps[max(steps)]["loss/validation"] < 0.2 * steps[0]["loss/validation"]


def test_a_reward_model_learns_the_rankings(chain):
    [finished] = world.events(chain / "reward", "finished")
    result = finished["result"]
    assert result["accuracy/validation"] > 0.95
    assert result["kendall_tau/validation"] > 0.7
    assert result["margin/validation"] > 0
    assert {f"accuracy/validation/k{k}" for k in (2, 3, 4)} <= set(result)


@pytest.mark.parametrize("family", world.FAMILIES)
def test_families_go_through_sft_and_reward_and_open_with_the_auto_classes(files, tmp_path, family):
    base = world.make_base(tmp_path / "base", family)
    inputs = {"train": files["demonstrations"], "policy": base}
    config = {"max_steps": 2, "learning_rate": 1e-3}
    assert world.run_here(world.run_json("sft", inputs, tmp_path / "sft", config)) == 0
    folder = tmp_path / "sft" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tokenizer.chat_template
    theirs, ours = AutoModelForCausalLM.from_pretrained(folder), load_policy(folder, CPU)
    ids = torch.arange(3, 20).unsqueeze(0)
    assert torch.allclose(theirs(input_ids=ids).logits, ours(input_ids=ids).logits, atol=1e-5)
    select = torch.zeros_like(ids, dtype=torch.bool)
    select[0, 4:9] = True
    assert torch.allclose(selected_logits(ours, ids, select), theirs(input_ids=ids).logits[0, 4:9], atol=1e-5)

    inputs = {"train": files["rankings"], "policy": folder, "demonstrations": files["demonstrations"]}
    assert world.run_here(world.run_json("reward", inputs, tmp_path / "reward", config)) == 0
    folder = tmp_path / "reward" / "model"
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    assert network.config.num_labels == 1
    model = load_reward_model(folder, CPU)
    pieces = [encode_completion(tokenizer, world.user("Which?"), text) for text in ("no", "It is the red.")]
    sequences = [prompt_ids + completion_ids for prompt_ids, completion_ids in pieces]
    padded, lengths = pad_right(sequences, tokenizer.pad_token_id)
    # transformers finds the last token by itself, in a padded batch too
    raw = network(input_ids=padded, attention_mask=padded != tokenizer.pad_token_id).logits[:, 0]
    assert torch.allclose(raw - network.config.reward_shift, model.score(padded, lengths), atol=1e-4)


def accuracy_of(rankings):
    """Share of untied pairs whose better answer scores higher; equal scores count half."""
    pairs = [
        ((b > a) + (b >= a)) / 2
        for row in rankings
        for (first, a), (second, b) in itertools.permutations(zip(row["ranks"], row["scores"], strict=True), 2)
        if second < first
    ]
    return fmean(pairs)


def test_evaluate_measures_what_its_inputs_allow(chain, files, tmp_path):
    inputs = {
        "policy": chain / "sft/model", "reference": chain / "base/model", "reward_model": chain / "reward/model",
        "validation_text": files["held_out"], "rankings": files["rankings"], "prompts": files["prompts"],
    }  # fmt: skip
    run = world.run_json("evaluate", inputs, tmp_path / "out", {"max_new_tokens": 16})
    assert world.run_here(run) == 0
    whole = json.loads((tmp_path / "out" / "report.json").read_text())
    report = whole["metrics"]
    assert report["objective/kl"] > 1  # SFT has moved away from the base
    assert report["accuracy/validation"] > 0.95
    assert report["perplexity/validation"] > 1
    assert 0 < report["response/length"] <= 16
    assert "objective/score" in report
    # The rows that the measures are made of: from them come the same measures again.
    assert report["accuracy/validation"] == pytest.approx(accuracy_of(whole["rankings"]))
    for name, column in (("objective/kl", "kl"), ("objective/score", "score"), ("response/length", "tokens")):
        assert report[name] == pytest.approx(fmean(answer[column] for answer in whole["answers"]))
    assert {row["id"] for row in whole["rankings"]} == {row["id"] for row in read_rows(files["rankings"])}
    same = {**inputs, "reference": inputs["policy"]}
    assert world.run_here({**run, **world.run_json("evaluate", same, tmp_path / "same", {"max_new_tokens": 16})}) == 0
    [finished] = world.events(tmp_path / "same", "finished")
    assert finished["result"]["objective/kl"] == 0  # the same weights
    assert world.run_here(world.run_json("evaluate", {}, tmp_path / "none")) == 65


def test_evaluate_agrees_with_pretraining_about_perplexity(chain, files, tmp_path):
    inputs = {"policy": chain / "base/model", "validation_text": files["held_out"]}
    config = {"context_length": 64}
    assert world.run_here(world.run_json("evaluate", inputs, tmp_path / "out", config)) == 0
    [finished] = world.events(tmp_path / "out", "finished")
    [wanted] = world.events(chain / "base", "finished")
    theirs = wanted["result"]["perplexity/validation"]
    assert finished["result"]["perplexity/validation"] == pytest.approx(theirs, rel=0.05)  # pieces differ by one token


def test_a_batch_in_one_pass_or_in_many_gives_the_same_weights(files, tmp_path):
    """Tokens of the whole batch are counted, not those of a pass."""
    base = world.make_base(tmp_path / "base")
    inputs = {"train": files["demonstrations"], "policy": base}
    results = []
    for budget in (100_000, 200, 1):
        output = tmp_path / str(budget)
        config = {"max_steps": 3, "learning_rate": 1e-4, "batch_size": 16, "micro_batch_tokens": budget}
        assert world.run_here(world.run_json("sft", inputs, output, config)) == 0
        results.append([metrics["loss/train"] for _, metrics in world.steps(output)])
    assert results[1] == pytest.approx(results[0], rel=1e-4)
    assert results[2] == pytest.approx(results[0], rel=1e-4)


# Pretraining, in pieces


def test_every_token_is_predicted_once():
    stream = join_documents([[10, 11], [12], [13, 14, 15]], eos=1, seed=0)
    assert len(stream) == 9
    assert stream.tolist().count(1) == 3
    blocks = cut_blocks(stream, 4)
    assert blocks.shape == (2, 5)
    assert [*blocks[0], *blocks[1][1:]] == stream.tolist()
    pieces = windows([[10, 11], [12]], type("T", (), {"eos_token_id": 1})(), 2)
    assert pieces == [[10, 11, 1], [1, 12, 1]]


def test_a_corpus_that_is_too_small_gets_a_sentence(files, tmp_path):
    with pytest.raises(DataError, match=r"too small for 5000 tokens: it has \d+; lower vocab_size or add text"):
        train_tokenizer(world.texts(10), 5000)
    with pytest.raises(DataError, match="3 tokens, too few for one block of 8"):
        cut_blocks(join_documents([[5, 6]], 1, 0), 8)
    empty = world.write(tmp_path / "empty.jsonl", [])
    run = world.run_json("pretrain", {"train": empty}, tmp_path / "out", {"vocab_size": 262})
    assert world.run_here(run) == 65
    [failed] = world.events(tmp_path / "out", "failed")
    assert failed["reason"] == "data"


def test_the_default_model_has_about_a_million_parameters():
    config = PretrainConfig()
    layer = 4 * config.hidden_size**2 + 3 * config.hidden_size * config.feed_forward
    assert 0.9e6 < config.layers * layer + config.vocab_size * config.hidden_size < 1.3e6


# Rankings, in pieces


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(world.texts(60), 280)


def encode(row, tokenizer, limit=200, **settings):
    return encode_ranking(row, tokenizer, limit, RewardConfig(**settings), training=True)


def test_rows_that_teach_nothing_say_why(tokenizer):
    row = world.rankings(3)[2]  # K = 4, ranks 1, 2, 2, 3
    cases = {
        "kept for evaluation": {"purpose": "eval"},
        "does not count": {"counts": False},
        "no pair to learn from: all answers are tied": {"ranks": [1, 1, 1, 1]},
        "fewer than two ranked answers": {"ranks": [1, None, None, None]},
        "ranks that do not fit the completions": {"ranks": [1, 2]},
        "a rank that is not a number": {"ranks": ["a", 1, 2, 3]},
        "row without prompt": {"prompt": None},
        "an answer without content": {"completions": [{"id": "x"}] * 4},
    }
    for reason, change in cases.items():
        with pytest.raises(RowError, match=reason):
            encode({**row, **change}, tokenizer)
    with pytest.raises(RowError, match="prompt longer than the context"):
        encode(row, tokenizer, limit=4)
    longest = encode(row, tokenizer).longest
    assert encode(row, tokenizer, limit=longest).longest == longest
    with pytest.raises(RowError, match="an answer longer than the context"):
        encode(row, tokenizer, limit=longest - 1)


def test_ties_and_missing_ranks(tokenizer):
    row = world.rankings(3)[2]
    assert len(encode(row, tokenizer).pairs) == 5  # six less the tied one
    assert len(encode(row, tokenizer, ties="half").pairs) == 6
    partial = encode({**row, "ranks": [2, None, 1, None]}, tokenizer)
    assert len(partial.sequences) == 2
    assert partial.pairs == [(1, 0, False)]
    by_id = {answer["id"]: rank for answer, rank in zip(row["completions"], [2, None, 1, None], strict=True)}
    assert encode({**row, "ranks": by_id}, tokenizer) == partial


def test_margins_follow_ranks_or_ratings():
    answers = [
        {"content": "a", "ratings": {"overall": 7}},
        {"content": "b", "ratings": {"overall": 1}},
        {"content": "c"},
    ]
    ranks = [1.0, 2.0, 5.0]
    by_rank, by_rating = RewardConfig(margin="ranks"), RewardConfig(margin="ratings", margin_scale=2.0)
    assert [pair_margin(answers, ranks, pair, by_rank) for pair in [(0, 1, False), (0, 2, False)]] == [0.25, 1.0]
    assert pair_margin(answers, ranks, (0, 1, False), by_rating) == 2.0
    assert pair_margin(answers, ranks, (0, 2, False), by_rating) == pytest.approx(1.0)  # 7 against the middle
    assert pair_margin(answers, ranks, (1, 2, False), by_rating) == 0.0  # the worse one was rated higher
    assert pair_margin(answers, ranks, (0, 1, False), RewardConfig()) == 0.0
    assert ranked_answers({"completions": answers, "ranks": ranks})[1] == ranks


def test_margins_of_ratings_are_shares_of_the_scale_that_they_were_given_on(tokenizer):
    row = world.rankings(3)[2]
    answers = [
        {**answer, "ratings": {"overall": rating}} for answer, rating in zip(row["completions"], [5, 3], strict=False)
    ]
    pair = {**row, "completions": answers, "ranks": [1, 2]}
    assert encode(pair, tokenizer, margin="ratings").margins == [pytest.approx(2 / 6)]  # of 1 to 7, untold
    five = {**pair, "rating_scale": {"minimum": 1, "maximum": 5}}
    assert encode(five, tokenizer, margin="ratings").margins == [0.5]
    answers[1].pop("ratings")
    assert encode(five, tokenizer, margin="ratings").margins == [0.5]  # against the middle of that scale
    for scale in (5, {"minimum": 5}, {"minimum": 5, "maximum": 1}, {"minimum": True, "maximum": 3}):
        with pytest.raises(RowError, match="a rating scale that is none"):
            encode({**pair, "rating_scale": scale}, tokenizer)


def test_a_pad_row_is_as_likely_as_any(tmp_path):
    base = world.make_base(tmp_path)
    tokenizer, policy = load_tokenizer(base), load_policy(base, CPU)
    before = policy.get_input_embeddings().weight.clone()
    fit_to_tokenizer(policy, tokenizer)
    after = policy.get_input_embeddings().weight
    assert torch.equal(after[:257], before)
    assert torch.allclose(after[257], before.mean(dim=0), atol=1e-6)
    fit_to_tokenizer(policy, tokenizer)
    assert policy.get_input_embeddings().weight.shape == after.shape  # a second time changes nothing
