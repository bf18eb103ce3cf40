"""Messages to token ids and back, by the tokenizer's own chat template.

Rules that everything else relies on:
- pad is a token of its own, never EOS: else a mask by pad deletes the EOS, and the model never learns to stop
  (huggingface/trl issue 1623).
- A prompt is tokenised alone, as it is when an answer is sampled, and a completion after it, so that training and
  sampling see the same ids.
- A completion always ends in EOS.
- Text from people that spells a control token is refused, not interpreted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from training.rlhf.data import LENGTH_MULTIPLE
from training.rlhf.errors import DataError, ModelError, RowError

Message = dict[str, Any]  # {"role": "system" | "user" | "assistant", "content": "..."}

PAD = "<|pad|>"
ROLES = ("system", "user", "assistant")

# For tokenizers that bring no template (GPT-2 and other base models). A newline before each content keeps its first
# word free of a leading space, so that an answer reads back as it was sampled.
PLAIN_TEMPLATE = (
    "{% if bos_token and bos_token != eos_token %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}:\n"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}\n\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer, with a chat template and a pad token that is not EOS. Raises ModelError in words."""
    try:
        reader = PreTrainedTokenizerFast if is_self_contained(Path(folder)) else AutoTokenizer
        tokenizer = reader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{folder} has no tokenizer that can be read: {reason}") from error
    return prepare_tokenizer(tokenizer, folder)


def is_self_contained(folder: Path) -> bool:
    """Whether tokenizer.json says all there is, by the folder's own word.

    AutoTokenizer goes by the model's family instead: in a Qwen2 folder it splits text as Qwen does, whatever
    tokenizer.json says (seen in transformers 5.23), and the ids are no longer those that the model was trained on.
    """
    try:
        named = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("tokenizer_class")
    except (OSError, ValueError, AttributeError):
        return False
    return named in ("TokenizersBackend", "PreTrainedTokenizerFast") and (folder / "tokenizer.json").is_file()


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> PreTrainedTokenizerBase:
    """Give a tokenizer what it lacks: a chat template, and a pad token of its own."""
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer in {folder} names no eos_token; set it in tokenizer_config.json")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": PAD})
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    tokenizer.padding_side = "right"
    return tokenizer


def check_same_tokens(
    tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase, name: str, other_name: str
) -> None:
    """Raise ModelError unless two models read a conversation as the same ids: their hashes must be equal."""
    for what, mine, theirs in zip(
        ("tokenizer", "chat template"), fingerprints(tokenizer), fingerprints(other), strict=True
    ):
        if mine != theirs:
            raise ModelError(
                f"the {other_name} has another {what} than the {name} ({theirs[:12]} and {mine[:12]});"
                f" train the {other_name} from the same base model, or choose one that was"
            )


def fingerprints(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Hashes of (vocabulary, how text is split, control tokens) and of the chat template."""
    control = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    backend = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else tokenizer.get_vocab()
    for setting in ("padding", "truncation"):  # how it was last called, not what it is
        backend.pop(setting, None)
    content = json.dumps([backend, control], sort_keys=True)
    return tuple(hashlib.sha256(text.encode()).hexdigest() for text in (content, str(tokenizer.chat_template)))  # type: ignore[return-value]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Ids of a conversation up to where the assistant is to speak. Raises RowError for messages that cannot be used."""
    check_messages(tokenizer, messages)
    if not messages:
        raise RowError("prompt without messages")
    return _ids(tokenizer, _render(tokenizer, messages, speak=True))


def encode_completion(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], completion: str | Sequence[Message]
) -> tuple[list[int], list[int]]:
    """(prompt ids, completion ids ending in EOS) of one answer, given as text or as one assistant message."""
    if not isinstance(completion, str):
        if len(completion) != 1 or completion[0].get("role") != "assistant":
            raise RowError("completion that is not one assistant message")
        completion = str(completion[0].get("content", ""))
    ids, counts = encode_conversation(tokenizer, prompt, [{"role": "assistant", "content": completion}])
    start = counts.index(True)
    return ids[:start], ids[start:]


def encode_conversation(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], completion: Sequence[Message]
) -> tuple[list[int], list[bool]]:
    """Ids of a prompt and the turns after it, and a mask: True on what the assistant says in `completion`.

    Each assistant turn counts with the token that closes it; the last one ends in EOS, whatever the template closes it
    with. Assistant turns of the prompt are context and do not count. Raises RowError.
    """
    check_messages(tokenizer, [*prompt, *completion])
    if not prompt:
        raise RowError("prompt without messages")
    if not completion or completion[-1]["role"] != "assistant":
        raise RowError("completion that does not end with the assistant")
    ids: list[int] = []
    counts: list[bool] = []
    seen = ""  # the text that ids hold so far
    messages = list(prompt)
    for message in completion:
        if message["role"] == "assistant":
            context = _render(tokenizer, messages, speak=True)
            turn = _render(tokenizer, [*messages, message], speak=False).rstrip()
            _append(ids, counts, _ids(tokenizer, _rest(seen, context)), False)
            _append(ids, counts, _ids(tokenizer, _rest(context, turn)), True)
            seen = turn
        messages.append(message)
    if ids[-1] != tokenizer.eos_token_id:
        _append(ids, counts, [tokenizer.eos_token_id], True)
    return ids, counts


def decode_response(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of sampled ids, control tokens left out. NUL, which PostgreSQL cannot store, becomes U+FFFD."""
    text = str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return text.replace("\0", "\ufffd")


def check_messages(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> None:
    """Raise RowError where a message has no known role, no text, or spells a control token."""
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise RowError("message whose role is not system, user or assistant")
        content = message.get("content")
        if not isinstance(content, str):
            raise RowError("message without text")
        if any(token in content for token in tokenizer.all_special_tokens):
            raise RowError("text that spells a control token")


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, speak: bool) -> str:
    turns = [{"role": message["role"], "content": message["content"]} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=speak))
    except Exception as error:  # a template is a program of its author's; it may raise anything
        raise RowError(f"conversation that the chat template refuses ({error})") from error


def _rest(start: str, whole: str) -> str:
    if not whole.startswith(start):
        raise RowError("conversation that the chat template rewrites as it grows")
    return whole[len(start) :]


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    # the template has written every control token itself, BOS too
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _append(ids: list[int], counts: list[bool], more: list[int], count: bool) -> None:
    ids.extend(more)
    counts.extend([count] * len(more))


def context_limit(model_config: Any, wanted: int) -> int:
    """The longest sequence allowed: the model's own limit, or a smaller one that was asked for. Raises DataError.

    The model's limit is rounded down to a multiple of 8, to which batches are padded: a model with learned positions
    (GPT-2) has none beyond it, not even for padding.
    """
    text_config = model_config.get_text_config()
    own = int(getattr(text_config, "max_position_embeddings", 0) or getattr(text_config, "n_positions", 0) or 0)
    if wanted and own and wanted > own:
        raise DataError(f"context_length is {wanted}, but the model takes at most {own} tokens; lower it")
    usable = own - own % LENGTH_MULTIPLE
    return min(wanted or usable, usable) if usable else wanted or 2048
