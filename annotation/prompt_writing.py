"""Prompts that labelers write: what each style asks for, and the conversation it makes. Pure: no table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from django.utils.translation import gettext as _

from annotation.conversations import ConversationProblem, Message, clean_messages, clean_text, content_hash

FEW_SHOT = "few_shot"
MIN_PAIRS, MAX_PAIRS = 2, 8


def parts_clean(style: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the style asks for, cleaned: `text`, or for a few-shot prompt `instruction`, `pairs` and `query`.

    Raises: ConversationProblem.
    """
    if style != FEW_SHOT:
        return {"text": clean_text(parts.get("text"), what=_("the prompt"))}
    return {
        "instruction": clean_text(parts.get("instruction"), what=_("the instruction")),
        "pairs": pairs_clean(parts.get("pairs")),
        "query": clean_text(parts.get("query"), what=_("the query to be answered")),
    }


def pairs_clean(pairs: object) -> list[dict[str, str]]:
    """Return the examples without those that are wholly empty."""
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Sequence):
        raise ConversationProblem(_("the examples must be a list, each with a query and an answer"))
    found = []
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, Mapping):
            raise ConversationProblem(_("the examples must be a list, each with a query and an answer"))
        query, answer = pair.get("query"), pair.get("answer")
        if is_blank(query) and is_blank(answer):
            continue
        found.append(
            {
                "query": clean_text(query, what=_("the query of example %(number)s") % {"number": number}),
                "answer": clean_text(answer, what=_("the answer of example %(number)s") % {"number": number}),
            }
        )
    if not MIN_PAIRS <= len(found) <= MAX_PAIRS:
        words = _("there are %(count)s examples; write from %(least)s to %(most)s, each with a query and an answer")
        raise ConversationProblem(words % {"count": len(found), "least": MIN_PAIRS, "most": MAX_PAIRS})
    return found


def is_blank(text: object) -> bool:
    return text is None or (isinstance(text, str) and not text.strip())


def messages_of(style: str, parts: Mapping[str, Any]) -> list[Message]:
    """Return the conversation of cleaned parts.

    The examples of a few-shot prompt are turns that came before: the instruction stands above the first query.
    """
    if style != FEW_SHOT:
        return clean_messages([{"role": "user", "content": parts["text"]}])
    turns: list[dict[str, str]] = []
    for pair in parts["pairs"]:
        turns += [{"role": "user", "content": pair["query"]}, {"role": "assistant", "content": pair["answer"]}]
    turns.append({"role": "user", "content": parts["query"]})
    turns[0]["content"] = f"{parts['instruction']}\n\n{turns[0]['content']}"
    return clean_messages(turns)


def digest_of(messages: Sequence[Message], category: str, language: str) -> str:
    """Return what tells two submits of a prompt apart: its text and what it was filed under."""
    return sha256(f"{content_hash(messages)} {category} {language}".encode()).hexdigest()
