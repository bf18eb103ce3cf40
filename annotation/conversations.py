"""Conversations: what counts as one, its hash, and its text. Pure: no table, no settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TypedDict

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.errors import PlackettError

MAX_CHARACTERS = 100_000
MAX_MESSAGES = 200
ROLES = ("system", "user", "assistant")
THE_PROMPT = gettext_lazy("the prompt")
THE_TEXT = gettext_lazy("the text")
SURROGATE = re.compile("[\ud800-\udfff]")


class Message(TypedDict):
    role: str
    content: str


class ConversationProblem(PlackettError):
    """Text or messages that can't be a prompt or an answer."""


def clean_text(text: object, *, what: object = None, limit: int = MAX_CHARACTERS, may_be_empty: bool = False) -> str:
    """Return the text with Unix line ends, or refuse what no answer may hold: emptiness, NUL, too much.

    Forms send CRLF by their standard; kept as it is, it would make one text two. what: how a refusal calls it; it is
    turned into words only then.
    """
    if what is None:
        what = THE_TEXT
    if not isinstance(text, str):
        raise ConversationProblem(
            _("%(what)s is %(kind)s, not text; write it in quotes") % {"what": what, "kind": _kind(text)}
        )
    cleaned = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    if not cleaned.strip() and not may_be_empty:
        raise ConversationProblem(_("%(what)s is empty; write something") % {"what": what})
    if len(cleaned) > limit:
        raise ConversationProblem(
            _("%(what)s has %(count)s characters; at most %(limit)s are allowed")
            % {"what": what, "count": f"{len(cleaned):,}", "limit": f"{limit:,}"}
        )
    if "\0" in cleaned:
        raise ConversationProblem(
            _("%(what)s holds a NUL character, which no database keeps; remove it") % {"what": what}
        )
    if not cleaned.isascii() and SURROGATE.search(cleaned):
        raise ConversationProblem(
            _("%(what)s holds half of a Unicode pair (a lone surrogate); save the file as UTF-8 again") % {"what": what}
        )
    return cleaned


def clean_messages(messages: object, *, ends_with: str = "user") -> list[Message]:
    """Return the conversation with clean texts and nothing but roles and contents.

    A system message may open it; then user and assistant take turns, user first; `ends_with` says whose turn is last.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise ConversationProblem(
            _("the conversation is %(kind)s; it must be a list of messages") % {"kind": _kind(messages)}
        )
    if not messages:
        raise ConversationProblem(_("the conversation has no messages; add one by the user"))
    if len(messages) > MAX_MESSAGES:
        raise ConversationProblem(
            _("the conversation has %(count)s messages; at most %(limit)s are allowed")
            % {"count": len(messages), "limit": MAX_MESSAGES}
        )
    cleaned = [_clean_message(message, number) for number, message in enumerate(messages, start=1)]
    _check_turns(cleaned, ends_with)
    if sum(len(message["content"]) for message in cleaned) > MAX_CHARACTERS:
        raise ConversationProblem(
            _("the conversation has more than %(limit)s characters in all; shorten it")
            % {"limit": f"{MAX_CHARACTERS:,}"}
        )
    return cleaned


def prompt_of_text(text: object) -> list[Message]:
    """Return the conversation of a prompt that is one text: a single turn by the user."""
    return [Message(role="user", content=clean_text(text, what=THE_PROMPT))]


def instruction_text(instruction: object, context: object = "") -> str:
    """Return Alpaca's instruction and input as one text, the input after an empty line where there is one."""
    first = clean_text(instruction, what=_("the instruction"))
    if context is None or (isinstance(context, str) and not context.strip()):
        return first
    second = clean_text(context, what=_("the input"))
    return f"{first}\n\n{second}"


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
        raise ConversationProblem(
            _("message %(number)s is %(kind)s; it must have a role and a content")
            % {"number": number, "kind": _kind(message)}
        )
    role = message.get("role")
    if role not in ROLES:
        raise ConversationProblem(
            _("message %(number)s has the role %(role)s; it must be one of %(known)s")
            % {"number": number, "role": _shown(role), "known": ", ".join(ROLES)}
        )
    return Message(role=str(role), content=clean_text(message.get("content"), what=MessageName(number)))


class MessageName:
    """What a refusal calls a message, in the reader's language."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __str__(self) -> str:
        return _("message %(number)s") % {"number": self.number}


def _check_turns(messages: Sequence[Message], ends_with: str) -> None:
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    first = 2 if messages[0]["role"] == "system" else 1
    expected = "user"
    for number, message in enumerate(turns, start=first):
        if message["role"] != expected:
            raise ConversationProblem(
                _(
                    "message %(number)s is by %(role)s, where it is %(expected)s's turn; user and assistant "
                    "take turns, user first, after one system message at most"
                )
                % {"number": number, "role": message["role"], "expected": expected}
            )
        expected = "assistant" if expected == "user" else "user"
    if messages[-1]["role"] != ends_with:
        raise ConversationProblem(
            _("the conversation ends with %(role)s; it must end with %(ends_with)s")
            % {"role": messages[-1]["role"], "ends_with": ends_with}
        )


def _kind(value: object) -> str:
    names = {
        type(None): _("missing"),
        bool: _("yes/no"),
        int: _("a number"),
        float: _("a number"),
        list: _("a list"),
        dict: _("an object"),
    }
    return names.get(type(value), _("text") if isinstance(value, str) else _("something else"))


def _shown(value: object) -> str:
    return repr(value)[:40]
