"""Conversations of several turns under the templates that models come with: what the assistant says is learned with the
token that closes it and nothing else, with and without generation markers; what cannot be told apart is refused."""

import re

import pytest

from tests.training.rlhf import world
from training.rlhf.errors import RowError
from training.rlhf.tokens import encode_conversation, encode_prompt, prepare_tokenizer

CHATML = (  # Qwen 2.5 and SmolLM write a system turn where there is none
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_WITH_MARKERS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_3 = (  # begins with BOS, trims what people say, two newlines behind the header
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (  # no system turn, turns must alternate, the assistant is called model
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (  # nothing but the end of the instruction before an answer
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
THINKS_FIRST = (  # opens the answer with more than the answer of an earlier turn is written with
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
FORGETS_THOUGHTS = (  # shows the thoughts of the last turn only
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] if loop.last else m['content'].split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CONTROL = {
    "chatml": (CHATML, ["<|im_start|>", "<|im_end|>"], "<|im_end|>", ""),
    "chatml, with markers": (CHATML_WITH_MARKERS, ["<|im_start|>", "<|im_end|>"], "<|im_end|>", ""),
    "llama 3": (LLAMA_3, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>", ""),
    "gemma": (GEMMA, ["<start_of_turn>", "<end_of_turn>"], "<end_of_turn>", ""),
    "mistral": (MISTRAL, [], "<eos>", " "),
}
"""Template, its control tokens, what closes a turn, and what stands between header and answer."""


def tokenizer_with(template, control):
    tokenizer = world.byte_tokenizer(template)
    tokenizer.add_special_tokens({"bos_token": "<bos>", "additional_special_tokens": control})
    return prepare_tokenizer(tokenizer, "memory")


PROMPT = [*world.user("hi"), *world.assistant("yes?"), *world.user("count")]
COMPLETION = [*world.assistant("One."), *world.user("and then?"), *world.assistant("Two.\nThree.")]


def learned_spans(tokenizer, ids, counts):
    """The texts of the runs of tokens that count."""
    marked = "".join(
        f"\x01{token}\x01" if count else "\x02"
        for token, count in zip(tokenizer.convert_ids_to_tokens(ids), counts, strict=True)
    )
    runs = [re.findall("\x01(.*?)\x01", run, re.S) for run in re.split("\x02+", marked) if run]
    return [tokenizer.convert_tokens_to_string(run) for run in runs]


@pytest.mark.parametrize("name", CONTROL)
def test_the_assistants_turns_of_a_completion_are_learned_and_nothing_else(name):
    template, control, close, gap = CONTROL[name]
    tokenizer = tokenizer_with(template, control)
    ids, counts = encode_conversation(tokenizer, PROMPT, COMPLETION)
    end = "" if close == tokenizer.eos_token else tokenizer.eos_token  # EOS ends the last turn, whatever closes it
    assert learned_spans(tokenizer, ids, counts) == [f"{gap}One.{close}", f"{gap}Two.\nThree.{close}{end}"]
    # what is learned from follows what is sampled from, and the whole is what the template writes in one go
    start = counts.index(True)
    assert ids[:start] == encode_prompt(tokenizer, PROMPT)
    whole = tokenizer.apply_chat_template([*PROMPT, *COMPLETION], tokenize=False).rstrip()
    assert tokenizer.decode(ids) == whole.removesuffix(tokenizer.eos_token) + tokenizer.eos_token
    if tokenizer.bos_token in template or "bos_token" in template:
        assert ids.count(tokenizer.bos_token_id) == 1


def test_markers_agree_with_what_is_learned():
    template, control, _, _ = CONTROL["chatml, with markers"]
    tokenizer = tokenizer_with(template, control)
    ids, counts = encode_conversation(tokenizer, world.user("count"), COMPLETION)
    theirs = tokenizer.apply_chat_template(
        [*world.user("count"), *COMPLETION], return_dict=True, return_assistant_tokens_mask=True
    )
    shared = len(ids) - 1  # ours ends in EOS, theirs in a newline
    assert theirs["input_ids"][:shared] == ids[:shared]
    assert [bool(flag) for flag in theirs["assistant_masks"]][:shared] == counts[:shared]


@pytest.mark.parametrize(
    ("template", "prompt", "completion", "words"),
    [
        (GEMMA, [{"role": "system", "content": "be brief"}, *world.user("hi")], "yes", "System role not supported"),
        (GEMMA, [*world.user("hi"), *world.user("there")], "yes", "roles must alternate"),
        (MISTRAL, [{"role": "system", "content": "be brief"}, *world.user("hi")], "yes", "Only user and assistant"),
        (THINKS_FIRST, world.user("hi"), "yes", "rewrites as it grows"),
        (
            FORGETS_THOUGHTS, [*world.user("hi"), *world.assistant("hm</think>yes?"), *world.user("count")], "one", None
        ),
    ],
    ids=["no system turn", "two questions", "no system turn either", "thinks first", "earlier thoughts, context only"],
)  # fmt: skip
def test_what_a_template_refuses_is_refused_in_its_own_words(template, prompt, completion, words):
    tokenizer = tokenizer_with(template, [])
    if words is None:  # thoughts of the context are gone by the time of the answer: sampled and learned alike
        ids, counts = encode_conversation(tokenizer, prompt, world.assistant(completion))
        assert ids[: counts.index(True)] == encode_prompt(tokenizer, prompt)
        return
    with pytest.raises(RowError, match=words):
        encode_conversation(tokenizer, prompt, world.assistant(completion))


def test_a_template_that_forgets_what_was_to_be_learned_is_refused():
    """The first answer was learned with its thoughts, but is context without them once the second one comes."""
    tokenizer = tokenizer_with(FORGETS_THOUGHTS, [])
    completion = [*world.assistant("hm</think>one"), *world.user("and?"), *world.assistant("hm</think>two")]
    with pytest.raises(RowError, match="rewrites as it grows"):
        encode_conversation(tokenizer, world.user("count"), completion)
