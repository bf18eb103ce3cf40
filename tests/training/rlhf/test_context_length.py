"""A context length is a contract: what does not fit is left out and counted before training, in every stage; nothing
is cut."""

from collections import Counter

import pytest

from tests.training.rlhf import world
from training.rlhf import lengths, pretrain
from training.rlhf.tokens import encode_prompt, load_tokenizer

CONTEXT, ROOM = 96, 8
LONG = "so " * 40
ANSWER = "prompt longer than the context, less the room for an answer"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base model of 96 positions, a reward model, and rows of which some fit and some do not."""
    folder = tmp_path_factory.mktemp("made")
    base = world.make_base(folder / "base", context=CONTEXT)
    demonstrations, rankings = world.demonstrations(4), world.rankings(3)
    prompts = [{"id": row["id"], "prompt": row["prompt"]} for row in demonstrations]
    long_answers = [{"id": "a", "content": "no"}, {"id": "b", "content": LONG}]
    written = {
        "demonstrations": [
            *demonstrations,
            {**demonstrations[0], "completion": world.assistant(LONG)},
            {**demonstrations[0], "prompt": world.user(LONG)},
        ],
        "rankings": [
            *rankings,
            {**rankings[0], "completions": long_answers, "ranks": [1, 2]},
            {**rankings[0], "prompt": world.user(LONG)},
        ],
        "prompts": [
            *prompts,
            {"id": "long", "prompt": world.user(LONG)},
            {"id": "just fits", "prompt": prompt_of(base, CONTEXT - ROOM)},
            {"id": "does not", "prompt": prompt_of(base, CONTEXT - ROOM + 1)},
        ],
    }
    files = {name: world.write(folder / f"{name}.jsonl", rows) for name, rows in written.items()}
    inputs = {"train": files["rankings"], "policy": base, "demonstrations": files["demonstrations"]}
    assert world.run_here(world.run_json("reward", inputs, folder / "reward", {"max_steps": 1})) == 0
    return {**files, "base": base, "reward": folder / "reward"}


def prompt_of(base, tokens):
    """A prompt that is so many tokens long."""
    tokenizer = load_tokenizer(base)
    empty = len(encode_prompt(tokenizer, world.user("")))
    return world.user("x" * (tokens - empty))


DEMONSTRATIONS = (4, {"longer than the context": 1, "prompt longer than the context": 1})
RANKINGS = (3, {"an answer longer than the context": 1, "prompt longer than the context": 1})
PROMPTS = (5, {ANSWER: 2})
ONE_UPDATE = {"total_updates": 1, "max_new_tokens": ROOM, "sample_every": 0}
# stage: (inputs beside the policy, settings, what must be said of each input)
STAGES = {
    "sft": ({"train": "demonstrations"}, {"max_steps": 1}, {"train": DEMONSTRATIONS}),
    "dpo": ({"train": "rankings", "reference": "base"}, {"max_steps": 1}, {"train": RANKINGS}),
    "ppo": (
        {"train": "prompts", "validation": "prompts", "reference": "base"},
        {**ONE_UPDATE, "rollouts_per_update": 5, "minibatch_size": 5},
        {"train": PROMPTS, "validation": PROMPTS},
    ),
    "rloo": (
        {"train": "prompts", "reference": "base"}, {**ONE_UPDATE, "prompts_per_update": 5}, {"train": PROMPTS}
    ),
    "sample": ({"prompts": "prompts"}, {"max_new_tokens": ROOM}, {"prompts": PROMPTS}),
    "evaluate": (
        {"prompts": "prompts", "rankings": "rankings"}, {"max_new_tokens": ROOM},
        {"prompts": PROMPTS, "rankings": RANKINGS},
    ),
}  # fmt: skip


def said(output):
    return {event["split"]: (event["kept"], event["reasons"]) for event in world.events(output, "data")}


def test_reward(made):
    demonstrations = (4, {"longer than the context": 2})
    assert said(made["reward"]) == {"train": RANKINGS, "demonstrations": demonstrations}


@pytest.mark.parametrize("stage", STAGES)
def test_what_does_not_fit_is_counted_and_left_out(made, tmp_path, stage):
    names, settings, expected = STAGES[stage]
    inputs = {"policy": made["base"], **{name: made[given] for name, given in names.items()}}
    if stage in ("ppo", "rloo", "evaluate"):
        inputs["reward_model"] = made["reward"] / "model"
    assert world.run_here(world.run_json(stage, inputs, tmp_path, settings)) == 0, world.events(tmp_path, "failed")
    assert said(tmp_path) == expected


def test_pretraining_reads_all_of_a_long_document_in_blocks(made):
    """The one stage where a text may be longer than the context: it goes on in the next block, each token seen once."""
    tokenizer = load_tokenizer(made["base"])
    documents = [tokenizer(text)["input_ids"] for text in (LONG * 3, "short", LONG)]
    whole = [token for document in documents for token in (*document, tokenizer.eos_token_id)]
    pieces = pretrain.windows(documents, tokenizer, 31)
    assert all(len(piece) <= 32 for piece in pieces)
    assert pieces[0] + [token for piece in pieces[1:] for token in piece[1:]] == whole
    stream = pretrain.join_documents(documents, tokenizer.eos_token_id, seed=3)
    assert Counter(stream.tolist()) == Counter(whole)
    blocks = pretrain.cut_blocks(stream, 31)
    seen = [*blocks[0].tolist(), *(token for block in blocks[1:] for token in block[1:].tolist())]
    assert seen == stream.tolist()[: len(seen)]
    assert len(stream) - len(seen) < 31  # a rest shorter than a block


@pytest.mark.parametrize(
    ("kind", "expected"), [("demonstrations", DEMONSTRATIONS), ("rankings", RANKINGS), ("prompts", PROMPTS)]
)
def test_what_is_told_of_the_rows_beforehand_is_what_the_stages_say(made, kind, expected):
    order = {"model": str(made["base"]), "kind": kind, "room": ROOM, "files": {"train": str(made[kind])}}
    answer = lengths.run(order, lambda said: None)
    found = answer["splits"]["train"]
    assert (found["kept"], found["left_out"]) == expected and answer["context_length"] == CONTEXT
    assert found["rows"] == found["kept"] + sum(found["left_out"].values())
    smaller = lengths.run({**order, "context_length": 16, "room": 16}, lambda said: None)["splits"]["train"]
    assert smaller["kept"] == smaller["kept_tokens"] == 0 and smaller["tokens"] == found["tokens"]


def test_tokens_by_hand(made, tmp_path):
    """With a tokenizer of bytes, a template that says User: and Assistant:, and a token that ends each answer."""
    row = {"prompt": world.user("Why?"), "completion": world.assistant("So.")}
    prompt, answer = len("User:\nWhy?\nAssistant:\n"), len("So.") + 1
    ranking = {
        "prompt": world.user("Why?"),
        "completions": [{"content": "So."}, {"content": "Because."}, {"content": "Not looked at."}],
        "ranks": [1, 2, None],
    }
    for kind, one, total, response in (
        ("demonstrations", row, prompt + answer, {f"p{n}": answer for n in lengths.PERCENTILES}),
        ("rankings", ranking, 2 * prompt + 4 + 9, {"p50": 4, "p90": 9, "p95": 9, "p99": 9, "p100": 9}),
        ("prompts", {"prompt": world.user("Why?")}, prompt, {}),
        ("corpus", {"text": "So."}, answer, {f"p{n}": answer for n in lengths.PERCENTILES}),
    ):
        path = world.write(tmp_path / "rows.jsonl", [one])
        order = {"model": str(made["base"]), "kind": kind, "files": {"train": str(path)}}
        found = lengths.run(order, lambda said: None)["splits"]["train"]
        assert (found["tokens"], found["response"]) == (total, response)
        assert found["prompt"] == ({} if kind == "corpus" else {f"p{n}": prompt for n in lengths.PERCENTILES})


def test_percentiles_are_the_least_length_that_so_many_do_not_exceed():
    assert lengths.percentiles(Counter(range(1, 101))) == {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p100": 100}
    assert lengths.percentiles(Counter({7: 1})) == dict.fromkeys(("p50", "p90", "p95", "p99", "p100"), 7)
    assert lengths.percentiles(Counter()) == {}
