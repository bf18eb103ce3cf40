"""Conversations as message lists: OpenAI's chat and preference JSONL, and ShareGPT.

OpenAI: {"messages": [...]}; preferences {"input": {"messages"}, "preferred_output", "non_preferred_output"}, and the
variant {"messages", "rejected_response"}. ShareGPT: {"conversations": [{"from", "value"}], "system"}, preferences with
`chosen` and `rejected` as one such turn each (as LLaMA-Factory reads them).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _

from annotation.errors import ImportProblem
from annotation.formats.base import (
    DEMONSTRATIONS,
    PROMPTS,
    RANKINGS,
    Format,
    Out,
    Row,
    assistant,
    demonstration,
    has,
    key_of,
    mapping,
    objects,
    split_last_answer,
    system,
    without_last_answer,
    words,
)
from annotation.rankings import pairs

# --- OpenAI ----------------------------------------------------------------------------------------


def chat_messages(row: Row) -> list[Out]:
    """Roles and contents. Tools are not what people label here, so a conversation that calls them is refused."""
    messages = []
    for message in objects(row, "messages"):
        if message.get("tool_calls") or message.get("function_call") or message.get("role") in ("tool", "function"):
            raise ImportProblem(_("the conversation calls tools, which a prompt here can't"))
        role = "system" if message.get("role") == "developer" else message.get("role")
        messages.append({"role": role, "content": content_text(message.get("content"))})
    return messages


def content_text(content: object) -> object:
    """OpenAI's content is a text, or a list of parts of which the texts count."""
    if not isinstance(content, list):
        return content
    parts = [part for part in content if isinstance(part, Mapping)]
    if len(parts) < len(content) or any(part.get("type") != "text" for part in parts):
        raise ImportProblem(_("a message holds something else than text, such as a picture"))
    return "".join(words(part, "text") for part in parts)


def chat_prompts(row: Row) -> Iterator[Out]:
    yield {**filing(row), "prompt": without_last_answer(chat_messages(row))}


def chat_demonstrations(row: Row) -> Iterator[Out]:
    yield demonstration(*split_last_answer(chat_messages(row)), **filing(row))


def openai_pairs(row: Row) -> Iterator[Out]:
    if has(row, "rejected_response"):
        prompt, chosen = split_last_answer(chat_messages(row))
        rejected = row["rejected_response"]
    else:
        asked = mapping(row, "input")
        if asked.get("tools"):
            raise ImportProblem(_("the conversation calls tools, which a prompt here can't"))
        prompt = chat_messages(asked)
        chosen, rejected = output_text(row, "preferred_output"), output_text(row, "non_preferred_output")
    yield {**filing(row), "prompt": prompt, "chosen": chosen, "rejected": rejected}


def output_text(row: Row, name: str) -> str:
    messages = chat_messages({"messages": objects(row, name)})
    if len(messages) != 1:
        raise ImportProblem(_("%(name)s must hold one message by the assistant") % {"name": name})
    return split_last_answer(messages)[1]


def write_chat(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """Demonstrations as OpenAI's chat JSONL."""
    return ({"messages": [*row["prompt"], *row["completion"]]} for row in rows)


def write_openai_pairs(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """Rankings as OpenAI's preference JSONL, a row for each pair that a ranking orders."""
    for prompt, chosen, rejected in ordered_pairs(rows, ties):
        yield {
            "input": {"messages": prompt, "tools": [], "parallel_tool_calls": True},
            "preferred_output": [assistant(chosen)],
            "non_preferred_output": [assistant(rejected)],
        }


# --- ShareGPT --------------------------------------------------------------------------------------

SPEAKERS = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
NAMES = {"system": "system", "user": "human", "assistant": "gpt"}


def shared_messages(row: Row) -> list[Out]:
    messages = [turn(item) for item in objects(row, "conversations")]
    opening = row.get("system")
    if opening and not (messages and messages[0]["role"] == "system"):
        messages.insert(0, system(opening))
    return messages


def turn(item: Row) -> Out:
    speaker = item.get("from")
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise ImportProblem(
            _("a turn is from %(speaker)s; it must be from one of %(known)s")
            % {"speaker": f"{speaker!r:.40}", "known": ", ".join(SPEAKERS)}
        )
    return {"role": SPEAKERS[speaker], "content": item.get("value")}


def shared_prompts(row: Row) -> Iterator[Out]:
    yield {**filing(row), "prompt": without_last_answer(shared_messages(row))}


def shared_demonstrations(row: Row) -> Iterator[Out]:
    yield demonstration(*split_last_answer(shared_messages(row)), **filing(row))


def shared_pairs(row: Row) -> Iterator[Out]:
    prompt = shared_messages(row)
    chosen, rejected = (turn(mapping(row, name)) for name in ("chosen", "rejected"))
    if {chosen["role"], rejected["role"]} != {"assistant"}:
        raise ImportProblem(_("chosen and rejected must be turns from gpt"))
    yield {**filing(row), "prompt": prompt, "chosen": chosen["content"], "rejected": rejected["content"]}


def write_shared(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """Demonstrations as ShareGPT."""
    return ({"conversations": turns([*row["prompt"], *row["completion"]])} for row in rows)


def write_shared_pairs(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """Rankings as ShareGPT preferences."""
    for prompt, chosen, rejected in ordered_pairs(rows, ties):
        answers = {"chosen": turns([assistant(chosen)])[0], "rejected": turns([assistant(rejected)])[0]}
        yield {"conversations": turns(prompt), **answers}


def turns(messages: Iterable[Row]) -> list[Out]:
    return [{"from": NAMES[message["role"]], "value": message["content"]} for message in messages]


# --- Both ------------------------------------------------------------------------------------------


OUR_NAMES = (
    *("category", "language", "group", "pool", "labeler", "purpose"),
    *("started_at", "submitted_at", "active_seconds", "guideline", "guideline_version"),
    "imported_guideline",
)


def filing(row: Row) -> Out:
    """What a row says besides the conversation, in our names."""
    found: dict[str, Any] = {name: row[name] for name in OUR_NAMES if has(row, name)}
    if source_id := key_of(row.get("source_id") or row.get("id")):
        found["source_id"] = source_id
    return found


def ordered_pairs(rows: Iterable[Row], ties: str) -> Iterator[tuple[list[Out], str, str]]:
    """(prompt, chosen, rejected) of each pair of each ranking, for formats that know no margin.

    With the tie policy "half" a tied pair comes both ways round; else it is left out, for here it would read as a win.
    """
    for row in rows:
        texts = [completion["content"] for completion in row["completions"]]
        for pair in pairs(row["ranks"], ties="half" if ties == "half" else "drop"):
            yield row["prompt"], texts[pair.chosen], texts[pair.rejected]
            if not pair.margin:
                yield row["prompt"], texts[pair.rejected], texts[pair.chosen]


def is_openai_chat(row: Row) -> bool:
    messages = row.get("messages")
    return isinstance(messages, list) and not has(row, "completions") and not has(row, "chosen")


OPENAI = Format(
    name="openai",
    label="OpenAI",
    recognise=lambda row: (
        has(row, "input", "preferred_output") or has(row, "messages", "rejected_response") or is_openai_chat(row)
    ),
    readers={PROMPTS: chat_prompts, DEMONSTRATIONS: chat_demonstrations, RANKINGS: openai_pairs},
)
SHAREGPT = Format(
    name="sharegpt",
    label="ShareGPT",
    recognise=lambda row: isinstance(row.get("conversations"), list),
    readers={PROMPTS: shared_prompts, DEMONSTRATIONS: shared_demonstrations, RANKINGS: shared_pairs},
)
