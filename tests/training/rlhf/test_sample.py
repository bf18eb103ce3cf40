"""Sampling answers for people to rank: seeds, repeats, what is written, and going on after a stop."""

import json
import signal

import pytest
import torch

from tests.training.rlhf.tiny import FAMILIES, events, run_json, save_world, tiny_policy, write_prompts
from training.rlhf.__main__ import run_stage
from training.rlhf.checkpoint import sha256_of
from training.rlhf.config import ConfigError, Numerics, config_from_dict
from training.rlhf.generate import Decoding, generate
from training.rlhf.model import fit_to_tokenizer, load_policy
from training.rlhf.sample import repeats
from training.rlhf.tokens import encode_prompt, load_tokenizer
from training.rlhf.workspace import Workspace

CONFIG = {"samples_per_prompt": 4, "max_new_tokens": 8, "batch_tokens": 200}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = save_world(tmp_path_factory.mktemp("world"))
    return {"prompts": made["train"], "policy": made["policy"]}


def run_sample(inputs, output, resume=None, **changes) -> int:
    given = run_json("sample", inputs, output, {**CONFIG, **changes})
    if resume:
        given["resume"] = {"path": str(resume), "sha256": sha256_of(resume)}
    return run_stage(given)


def lines(output) -> list[dict]:
    return [json.loads(line) for line in (output / "responses.jsonl").read_text().splitlines()]


def test_k_answers_to_each_prompt_in_order_as_contracted(world, tmp_path):
    assert run_sample(world, tmp_path) == 0
    answers = lines(tmp_path)
    assert [(answer["prompt_id"], answer["index"]) for answer in answers] == [
        (f"p{i}", index) for i in range(30) for index in range(4)
    ]
    fields = {"prompt_id", "prompt", "index", "policy", "text", "tokens", "ended", "logprob", "seed", "decoding"}
    assert all(set(answer) == fields for answer in answers)
    assert answers[0]["decoding"] == {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8}
    assert len({answer["seed"] for answer in answers}) == 120
    [finished] = events(tmp_path, "finished")
    assert finished["path"] == "responses.jsonl" and finished["sha256"] == sha256_of(tmp_path / "responses.jsonl")
    assert finished["result"]["responses"] == 120
    assert len(events(tmp_path, "sample")) == 4
    assert len(events(tmp_path, "metrics")) == events(tmp_path, "started")[0]["total_steps"] > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_can_be_drawn_again_from_its_seed(family, tmp_path):
    made = save_world(tmp_path / "world", family)
    assert run_sample({"prompts": made["train"], "policy": made["policy"]}, tmp_path / "out", temperature=0.8) == 0
    tokenizer, policy = load_tokenizer(made["policy"]), load_policy(made["policy"], Numerics(dtype="float32"))
    fit_to_tokenizer(policy, tokenizer)
    decoding = Decoding(max_new_tokens=8, temperature=0.8)
    for answer in lines(tmp_path / "out")[::17]:
        prompt = encode_prompt(tokenizer, answer["prompt"])
        ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        again = generate(policy, [prompt], [answer["seed"]], decoding, **ends)
        assert tokenizer.decode(again.tokens(0), skip_special_tokens=True) == answer["text"]
        assert answer["tokens"] == int(again.lengths[0]) and answer["ended"] == bool(again.ended[0])
        assert answer["logprob"] == pytest.approx(float(again.logprobs.sum()), abs=1e-3)


def test_answers_that_repeat_are_drawn_anew_and_what_is_left_is_counted(world, tmp_path):
    narrow = {"samples_per_prompt": 6, "max_new_tokens": 1, "temperature": 0.5}
    left = []
    for retries in (0, 20):
        output = tmp_path / str(retries)
        assert run_sample(world, output, retries=retries, **narrow) == 0
        answers = lines(output)
        distinct = {(answer["prompt_id"], answer["text"]) for answer in answers}
        left.append(events(output, "finished")[0]["result"]["response/duplicates"])
        assert left[-1] == len(answers) - len(distinct) and len(answers) == 180
    assert left[1] < left[0] / 2


def test_repeats_are_the_later_ones():
    texts = [("p", "a"), ("p", "b"), ("p", "a "), ("q", "a"), ("q", "a"), ("r", "b")]
    answers = {number: {"prompt_id": prompt, "text": text} for number, (prompt, text) in enumerate(texts)}
    assert repeats(answers, set()) == {2, 4}
    assert repeats(answers, {("r", "b"), ("p", "c")}) == {2, 4, 5}


# Several policies, several temperatures


@pytest.fixture(scope="module")
def two(world, tmp_path_factory):
    """The same world with a second policy."""
    folder = tmp_path_factory.mktemp("second")
    tiny_policy(seed=5).save_pretrained(folder)
    load_tokenizer(world["policy"]).save_pretrained(folder)
    return {**world, "policy_2": folder}


def test_policies_share_a_prompts_answers_and_take_turns_with_what_is_left(two, tmp_path):
    assert run_sample(two, tmp_path, samples_per_prompt=3) == 0
    answers = lines(tmp_path)
    assert [(answer["prompt_id"], answer["index"]) for answer in answers] == [
        (f"p{i}", index) for i in range(30) for index in range(3)
    ]
    shares = [[answer["policy"] for answer in answers if answer["prompt_id"] == f"p{i}"] for i in range(30)]
    assert all(1 <= share.count("policy_2") <= 2 for share in shares)
    assert 35 <= sum(share.count("policy") for share in shares) <= 55  # half of 90, by chance
    tokenizer = load_tokenizer(two["policy"])
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    for answer in answers[::13]:  # each is its own policy's
        policy = load_policy(two[answer["policy"]], Numerics(dtype="float32"))
        prompt = encode_prompt(tokenizer, answer["prompt"])
        again = generate(policy, [prompt], [answer["seed"]], Decoding(max_new_tokens=8), **ends)
        assert tokenizer.decode(again.tokens(0), skip_special_tokens=True) == answer["text"]


def test_a_mix_and_temperatures_are_kept_to(two, tmp_path):
    assert run_sample(two, tmp_path, samples_per_prompt=4, mix="3 1", temperatures="0.5 1.0; 2.0") == 0
    answers = lines(tmp_path)
    for start in range(0, len(answers), 4):
        told = [(answer["policy"], answer["decoding"]["temperature"]) for answer in answers[start : start + 4]]
        assert told == [("policy", 0.5), ("policy", 1.0), ("policy", 0.5), ("policy_2", 2.0)]


def test_an_answer_that_another_policy_gave_is_drawn_anew(two, tmp_path):
    """Both are the same policy at a low temperature: without a look at each other they would often agree."""
    same = {**two, "policy_2": two["policy"]}
    left = []
    for retries in (0, 20):
        output = tmp_path / str(retries)
        assert run_sample(same, output, samples_per_prompt=2, max_new_tokens=1, temperature=0.5, retries=retries) == 0
        left.append(events(output, "finished")[0]["result"]["response/duplicates"])
    assert left[1] < left[0] / 2


def test_a_stopped_mixed_run_goes_on_to_the_same_bytes(two, tmp_path, monkeypatch):
    assert run_sample(two, tmp_path / "whole", temperatures="0.7 1.3") == 0
    last = events(tmp_path / "whole", "started")[0]["total_steps"]
    plain = Workspace.metrics

    def metrics(self, step, values):
        plain(self, step, values)
        if step == last - 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "metrics", metrics)
        assert run_sample(two, tmp_path / "first", temperatures="0.7 1.3") == 75
    saved = events(tmp_path / "first", "checkpoint")[-1]
    resume = tmp_path / "first" / saved["path"]
    assert run_sample(two, tmp_path / "second", resume=resume, temperatures="0.7 1.3") == 0
    whole, second = (tmp_path / name / "responses.jsonl" for name in ("whole", "second"))
    assert whole.read_bytes() == second.read_bytes()


def test_a_mix_that_does_not_fit_is_refused_in_words(two, tmp_path):
    for values, words in (
        ({"mix": "3 2"}, "mix must add up to samples_per_prompt \\(4\\), got '3 2'"),
        ({"mix": "two"}, "mix must be numbers with spaces between, got 'two'"),
        ({"temperatures": "0.5 11"}, "temperatures must be numbers from 0 to 10"),
    ):
        with pytest.raises(ConfigError, match=words):
            config_from_dict("sample", values)
    assert run_sample(two, tmp_path / "mix", mix="2 1 1") == 65
    assert "mix has 3 numbers, and there are 2 policies" in events(tmp_path / "mix", "failed")[0]["message"]
    assert run_sample(two, tmp_path / "lists", temperatures="1; 1; 1") == 65
    assert "temperatures has 3 lists" in events(tmp_path / "lists", "failed")[0]["message"]


def test_a_prompts_answers_do_not_depend_on_the_other_prompts(world, tmp_path):
    rows = world["prompts"].read_text().splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(rows[3:6]))
    assert run_sample(world, tmp_path / "all") == 0
    assert run_sample({**world, "prompts": tmp_path / "few.jsonl"}, tmp_path / "few", batch_tokens=9999) == 0
    wanted = [answer for answer in lines(tmp_path / "all") if answer["prompt_id"] in ("p3", "p4", "p5")]
    assert [answer["text"] for answer in lines(tmp_path / "few")] == [answer["text"] for answer in wanted]


def test_the_same_prompts_under_other_ids_get_the_same_answers(world, tmp_path):
    rows = [json.loads(line) for line in world["prompts"].read_text().splitlines()[:4]]
    texts = []
    for name in ("p", "q"):
        prompts = tmp_path / f"{name}.jsonl"
        prompts.write_text("".join(json.dumps(row | {"id": f"{name}{n}"}) + "\n" for n, row in enumerate(rows)))
        assert run_sample({**world, "prompts": prompts}, tmp_path / name) == 0
        texts.append([answer["text"] for answer in lines(tmp_path / name)])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("phase", ["", "generating"])
def test_a_stopped_run_goes_on_to_the_same_bytes(world, tmp_path, monkeypatch, phase):
    assert run_sample(world, tmp_path / "whole") == 0
    plain_metrics, plain_progress = Workspace.metrics, Workspace.progress

    def metrics(self, step, values):
        plain_metrics(self, step, values)
        if step == 2 and not phase:
            signal.raise_signal(signal.SIGTERM)

    def progress(self, name, at=None):
        plain_progress(self, name, at)
        if self.step == 2 and name == phase:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "metrics", metrics)
        patch.setattr(Workspace, "progress", progress)
        assert run_sample(world, tmp_path / "first") == 75
    saved = events(tmp_path / "first", "checkpoint")[-1]
    assert saved["step"] == 2
    assert run_sample(world, tmp_path / "second", resume=tmp_path / "first" / saved["path"]) == 0
    whole, second = (tmp_path / name / "responses.jsonl" for name in ("whole", "second"))
    assert whole.read_bytes() == second.read_bytes()


def test_prompts_that_do_not_fit_are_counted_and_equal_ones_kept(world, tmp_path):
    write_prompts(tmp_path / "prompts.jsonl", ["a", "a", "b " * 60])
    assert run_sample({**world, "prompts": tmp_path / "prompts.jsonl"}, tmp_path / "out") == 0
    [data] = events(tmp_path / "out", "data")
    assert data["kept"] == 2 and data["reasons"] == {"prompt longer than the context, less the room for an answer": 1}
    assert {answer["prompt_id"] for answer in lines(tmp_path / "out")} == {"p0", "p1"}


def test_at_temperature_0_one_answer_is_all_there_is(world, tmp_path):
    with pytest.raises(ConfigError, match="samples_per_prompt must be 1"):
        config_from_dict("sample", {"temperature": 0, "samples_per_prompt": 2})
    assert run_sample(world, tmp_path, temperature=0, samples_per_prompt=1) == 0
    model, tokenizer = tiny_policy(), load_tokenizer(world["policy"])
    answer = lines(tmp_path)[0]
    ids = encode_prompt(tokenizer, answer["prompt"])
    with torch.no_grad():
        first = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
    assert answer["text"].split()[:1] == [tokenizer.convert_ids_to_tokens(first)]


def test_a_folder_that_brings_its_own_tokenizer_keeps_it_in_every_family(tmp_path):
    for family in FAMILIES:
        made = save_world(tmp_path / family, family)
        tokenizer = load_tokenizer(made["policy"])
        assert len(tokenizer) == 24 and encode_prompt(tokenizer, [{"role": "user", "content": "a b"}]) == [2, 5, 6, 3]
