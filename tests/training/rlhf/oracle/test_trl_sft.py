"""SFT against TRL 1.12.0's SFTTrainer: the same tokens learned, the same loss, and the same weights after a step."""

import pytest
from transformers import AutoModelForCausalLM

from tests.training.rlhf import world
from tests.training.rlhf.oracle import peer
from training.rlhf.config import Numerics
from training.rlhf.model import fit_to_tokenizer, load_policy
from training.rlhf.tokens import PLAIN_TEMPLATE, encode_conversation, load_tokenizer

pytestmark = [pytest.mark.xdist_group("trl"), pytest.mark.filterwarnings("ignore::FutureWarning")]
CPU = Numerics(device="cpu", threads=1, dtype="float32", matmul="highest")
# nothing is written behind the token that closes an answer
CLOSED = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:\n{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base model whose tokenizer has a pad token and a template, as a stage of ours would leave it."""
    folder = world.make_base(tmp_path_factory.mktemp("base"), context=160)
    return with_template(folder, folder, CLOSED)


def with_template(source, folder, template):
    tokenizer = load_tokenizer(source)
    tokenizer.chat_template = template
    model = load_policy(source, CPU)
    fit_to_tokenizer(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trainer(folder, rows, output, **config):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=SFTConfig(output_dir=str(output), max_length=None, shuffle_dataset=False, **{**peer.PLAIN, **config}),
        processing_class=load_tokenizer(folder),
        train_dataset=Dataset.from_list([{name: row[name] for name in ("prompt", "completion")} for row in rows]),
    )


def learned(trained_on):
    """(ids, which of them count) of each row that TRL prepared."""
    return [(list(row["input_ids"]), [label != -100 for label in row["labels"]]) for row in trained_on.train_dataset]


def test_a_step_of_ours_and_of_theirs_ends_in_the_same_weights(base, tmp_path):
    """Rows of many lengths in one batch; TRL by its own defaults: its padding, its chunked loss, its collator."""
    rows = world.demonstrations(10)
    theirs = trainer(base, rows, tmp_path / "theirs", per_device_train_batch_size=10, max_steps=1, learning_rate=1e-3,
                     max_grad_norm=0.0, logging_steps=1)  # fmt: skip
    tokenizer = load_tokenizer(base)
    assert learned(theirs) == [encode_conversation(tokenizer, row["prompt"], row["completion"]) for row in rows]
    theirs.train()

    inputs = {"train": world.write(tmp_path / "train.jsonl", rows), "policy": base}
    config = {"batch_size": 10, "max_steps": 1, "learning_rate": 1e-3, "schedule": "constant", "max_grad_norm": 0.0}
    run = world.run_json("sft", inputs, tmp_path / "ours", config)
    run["numerics"] |= {"matmul": "highest"}
    assert world.run_here(run) == 0
    [(_, metrics)] = world.steps(tmp_path / "ours")
    [logged] = [entry for entry in theirs.state.log_history if "loss" in entry]
    assert metrics["loss/train"] == pytest.approx(logged["loss"], rel=1e-4)  # it rounds what it logs
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "ours" / "model").state_dict()
    peer.same_weights(ours, theirs.model.state_dict(), atol=1e-5)


def test_what_a_template_writes_behind_an_answer_is_learned_by_trl_and_not_by_us(base, tmp_path):
    """Nobody samples it: an answer ends with its EOS."""
    folder = with_template(base, tmp_path / "plain", PLAIN_TEMPLATE)
    rows, tokenizer = world.demonstrations(3), load_tokenizer(folder)
    for row, (ids, counts) in zip(rows, learned(trainer(folder, rows, tmp_path / "out")), strict=True):
        our_ids, our_counts = encode_conversation(tokenizer, row["prompt"], row["completion"])
        assert ids[: len(our_ids)] == our_ids and counts[: len(our_ids)] == our_counts
        assert tokenizer.decode(ids[len(our_ids) :]) == "\n" and all(counts[len(our_ids) :])


def test_a_question_inside_a_completion_is_learned_by_trl_and_not_by_us(base, tmp_path):
    completion = [*world.assistant("One."), *world.user("and then?"), *world.assistant("Two.")]
    rows, tokenizer = [{"prompt": world.user("count"), "completion": completion}], load_tokenizer(base)
    [(ids, counts)] = learned(trainer(base, rows, tmp_path))
    our_ids, our_counts = encode_conversation(tokenizer, rows[0]["prompt"], completion)
    assert ids == our_ids
    apart = [token for token, one, other in zip(ids, counts, our_counts, strict=True) if one != other]
    assert tokenizer.decode(apart) == "User:\nand then?\n\nAssistant:\n"
