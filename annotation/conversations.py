"""Conversations: what counts as one, its hash, and its text. Pure: no table, no Django."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TypedDict

from annotation.errors import PlackettError

MAX_CHARACTERS = 100_000
MAX_MESSAGES = 200
ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    role: str
    content: str


class ConversationProblem(PlackettError):
    """Text or messages that can't be a prompt or an answer."""


def clean_text(text: object, *, what: str = "the text", limit: int = MAX_CHARACTERS, may_be_empty: bool = False) -> str:
    """Return the text with Unix line ends, or refuse what no answer may hold: emptiness, NUL, too much.

    Forms send CRLF by their standard; kept as it is, it would make one text two.
    """
    if not isinstance(text, str):
        raise ConversationProblem(f"{what} is {_kind(text)}, not text; write it in quotes")
    cleaned = text.replace("\r\n", "\n").replace("\r", "\n")
    if not cleaned.strip() and not may_be_empty:
        raise ConversationProblem(f"{what} is empty; write something")
    if len(cleaned) > limit:
        raise ConversationProblem(f"{what} has {len(cleaned):,} characters; at most {limit:,} are allowed")
    if "\0" in cleaned:
        raise ConversationProblem(f"{what} holds a NUL character, which no database keeps; remove it")
    if any("\ud800" <= character <= "\udfff" for character in cleaned):
        raise ConversationProblem(
            f"{what} holds half of a Unicode pair (a lone surrogate); save the file as UTF-8 again"
        )
    return cleaned


def clean_messages(messages: object, *, ends_with: str = "user") -> list[Message]:
    """Return the conversation with clean texts and nothing but roles and contents.

    A system message may open it; then user and assistant take turns, user first; `ends_with` says whose turn is last.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise ConversationProblem(f"the conversation is {_kind(messages)}; it must be a list of messages")
    if not messages:
        raise ConversationProblem("the conversation has no messages; add one by the user")
    if len(messages) > MAX_MESSAGES:
        raise ConversationProblem(f"the conversation has {len(messages)} messages; at most {MAX_MESSAGES} are allowed")
    cleaned = [_clean_message(message, number) for number, message in enumerate(messages, start=1)]
    _check_turns(cleaned, ends_with)
    if sum(len(message["content"]) for message in cleaned) > MAX_CHARACTERS:
        raise ConversationProblem(f"the conversation has more than {MAX_CHARACTERS:,} characters in all; shorten it")
    return cleaned


def prompt_of_text(text: object) -> list[Message]:
    """Return the conversation of a prompt that is one text: a single turn by the user."""
    return [Message(role="user", content=clean_text(text, what="the prompt"))]


def instruction_text(instruction: object, context: object = "") -> str:
    """Return Alpaca's instruction and input as one text, the input after an empty line where there is one."""
    first = clean_text(instruction, what="the instruction")
    if context is None or (isinstance(context, str) and not context.strip()):
        return first
    return f"{first}\n\n{clean_text(context, what='the input')}"


def content_hash(messages: Sequence[Message]) -> str:
    """Return the hash by which two prompts are the same: of roles and contents, surrounding space left out."""
    canonical = [[message["role"], message["content"].strip()] for message in messages]
    return sha256(json.dumps(canonical, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def text_hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def as_text(messages: Sequence[Message]) -> str:
    """Return the conversation for people and for plain files, one turn after another."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in messages)


def _clean_message(message: object, number: int) -> Message:
    if not isinstance(message, Mapping):
        raise ConversationProblem(f"message {number} is {_kind(message)}; it must have a role and a content")
    role = message.get("role")
    if role not in ROLES:
        raise ConversationProblem(f"message {number} has the role {_shown(role)}; it must be one of {', '.join(ROLES)}")
    return Message(role=str(role), content=clean_text(message.get("content"), what=f"message {number}"))


def _check_turns(messages: Sequence[Message], ends_with: str) -> None:
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    first = 2 if messages[0]["role"] == "system" else 1
    expected = "user"
    for number, message in enumerate(turns, start=first):
        if message["role"] != expected:
            raise ConversationProblem(
                f"message {number} is by {message['role']}, where it is {expected}'s turn; "
                "user and assistant take turns, user first, after one system message at most"
            )
        expected = "assistant" if expected == "user" else "user"
    if messages[-1]["role"] != ends_with:
        raise ConversationProblem(f"the conversation ends with {messages[-1]['role']}; it must end with {ends_with}")


def _kind(value: object) -> str:
    names = {
        type(None): "missing",
        bool: "yes/no",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "text" if isinstance(value, str) else "something else")


def _shown(value: object) -> str:
    return repr(value)[:40]
