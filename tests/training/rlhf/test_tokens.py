"""From messages to ids: what counts, what is refused, and templates of several kinds."""

import pytest
from transformers import GPT2Config

from tests.training.rlhf import world
from training.rlhf.errors import ModelError, RowError
from training.rlhf.pretrain import train_tokenizer
from training.rlhf.tokens import (
    PLAIN_TEMPLATE,
    context_limit,
    decode_response,
    encode_completion,
    encode_conversation,
    encode_prompt,
    load_tokenizer,
    prepare_tokenizer,
)

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chatml_tokenizer():
    """As Qwen's base models have it: turns close with a token that is not EOS."""
    tokenizer = world.byte_tokenizer(CHATML)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return prepare_tokenizer(tokenizer, "memory")


TOKENIZERS = {
    "plain": lambda: prepare_tokenizer(world.byte_tokenizer(), "memory"),
    "chatml": chatml_tokenizer,
    "ours": lambda: train_tokenizer(world.texts(60), 280),
}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


CONVERSATION = [*world.user("hi"), *world.assistant("yes?"), *world.user("which door?")]


def test_a_prompt_is_the_start_of_every_conversation_from_it(tokenizer):
    prompt_ids, completion_ids = encode_completion(tokenizer, CONVERSATION, "The red one.")
    assert prompt_ids == encode_prompt(tokenizer, CONVERSATION)
    assert completion_ids[-1] == tokenizer.eos_token_id
    assert decode_response(tokenizer, completion_ids) == "The red one."


def test_only_the_completion_counts(tokenizer):
    ids, counts = encode_conversation(tokenizer, CONVERSATION, world.assistant("The red one."))
    learned = tokenizer.decode([token for token, count in zip(ids, counts, strict=True) if count])
    assert learned.startswith("The red one.")
    assert learned.endswith(tokenizer.eos_token)
    assert "yes?" not in learned
    assert "door" not in learned


def test_every_turn_of_the_assistant_in_a_completion_counts(tokenizer):
    completion = [*world.assistant("One."), *world.user("and then?"), *world.assistant("Two.")]
    ids, counts = encode_conversation(tokenizer, world.user("count"), completion)
    learned = tokenizer.decode([token for token, count in zip(ids, counts, strict=True) if count])
    assert "One." in learned
    assert "Two." in learned
    assert "then" not in learned
    assert ids[-1] == tokenizer.eos_token_id
    # piece by piece it is the same text that the template writes in one go
    whole = tokenizer.apply_chat_template([*world.user("count"), *completion], tokenize=False).rstrip()
    assert tokenizer.decode(ids).removesuffix(tokenizer.eos_token) == whole.removesuffix(tokenizer.eos_token)


def test_a_turn_may_close_with_a_token_that_is_not_eos():
    tokenizer = chatml_tokenizer()
    _, completion_ids = encode_completion(tokenizer, world.user("hi"), "ho")
    assert tokenizer.convert_ids_to_tokens(completion_ids)[-2:] == ["<|im_end|>", "<eos>"]
    assert decode_response(tokenizer, completion_ids) == "ho"


def test_generation_markers_agree_with_our_mask():
    tokenizer = TOKENIZERS["ours"]()
    completion = [*world.assistant("One."), *world.user("more"), *world.assistant("Two.")]
    ids, counts = encode_conversation(tokenizer, world.user("count"), completion)
    theirs = tokenizer.apply_chat_template(
        [*world.user("count"), *completion], return_dict=True, return_assistant_tokens_mask=True
    )
    assert theirs["input_ids"] == ids
    assert [bool(flag) for flag in theirs["assistant_masks"]] == counts


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "prompt without messages"),
        ([{"role": "wizard", "content": "x"}], "role is not system, user or assistant"),
        ([{"role": "user", "content": None}], "message without text"),
        (world.user("see <eos> here"), "text that spells a control token"),
    ],
)
def test_messages_that_cannot_be_used_say_why(messages, words):
    with pytest.raises(RowError, match=words):
        encode_prompt(TOKENIZERS["plain"](), messages)


def test_a_template_that_rewrites_the_past_is_refused():
    template = "{% for m in messages %}{{ m['role'] }}{{ messages|length }}:{{ m['content'] }}\n{% endfor %}"
    tokenizer = prepare_tokenizer(world.byte_tokenizer(template), "memory")
    with pytest.raises(RowError, match="rewrites as it grows"):
        encode_completion(tokenizer, world.user("hi"), "ho")


def test_what_a_tokenizer_lacks_is_added_and_saved(tmp_path):
    world.byte_tokenizer().save_pretrained(tmp_path / "a")
    tokenizer = load_tokenizer(tmp_path / "a")
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    tokenizer.save_pretrained(tmp_path / "b")
    again = load_tokenizer(tmp_path / "b")
    assert len(again) == len(tokenizer) == 258
    assert again.chat_template == PLAIN_TEMPLATE
    assert encode_prompt(again, CONVERSATION) == encode_prompt(tokenizer, CONVERSATION)


def test_a_tokenizer_without_eos_or_none_at_all_is_refused_in_words(tmp_path):
    tokenizer = world.byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="names no eos_token; set it in tokenizer_config"):
        prepare_tokenizer(tokenizer, tmp_path)
    with pytest.raises(ModelError, match="has no tokenizer that can be read"):
        load_tokenizer(tmp_path)


def test_our_control_tokens_are_five_and_any_language_can_be_written():
    tokenizer = TOKENIZERS["ours"]()
    ids = [
        tokenizer.convert_tokens_to_ids(token)
        for token in ("<|pad|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>")
    ]
    assert ids == [0, 1, 2, 3, 4]
    text = "门是红色的。 Ünïcödé 🙂\n\ttabs"
    assert decode_response(tokenizer, tokenizer(text)["input_ids"]) == text


def test_the_context_leaves_room_for_padding() -> None:
    """GPT-2 has no position beyond its last one, and batches are padded to a multiple of 8."""
    config = GPT2Config(n_positions=30)
    assert context_limit(config, 0) == 24
    assert context_limit(config, 20) == 20
    assert context_limit(config, 30) == 24
