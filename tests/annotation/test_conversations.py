"""Conversations: what is one, what is refused and how, and when two are the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.conversations import (
    MAX_CHARACTERS,
    ConversationProblem,
    as_text,
    clean_messages,
    clean_text,
    content_hash,
    instruction_text,
)


def said(role: str, content: str = "x") -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    "roles", [["user"], ["system", "user"], ["user", "assistant", "user"], ["system", "user", "assistant", "user"]]
)
def test_a_conversation_ends_with_the_user(roles: list[str]) -> None:
    assert [message["role"] for message in clean_messages([said(role) for role in roles])] == roles


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("hello", "must be a list of messages"),
        ({"role": "user"}, "must be a list of messages"),
        (None, "must be a list of messages"),
        ([], "no messages"),
        (["hello"], "message 1 is text; it must have a role and a content"),
        ([{"role": "human", "content": "x"}], "must be one of system, user, assistant"),
        ([{"role": ["user"], "content": "x"}], "must be one of system, user, assistant"),
        ([{"role": "user"}], "message 1 is missing, not text"),
        ([said("user", "  \n")], "message 1 is empty"),
        ([said("user", "a\0b")], "NUL"),
        ([said("user", "a\ud800b")], "surrogate"),
        ([said("user", "x" * (MAX_CHARACTERS + 1))], "at most 100,000"),
        ([said("user", "x" * 60_000), said("assistant", "y" * 30_000), said("user", "x" * 20_000)], "in all"),
        ([said("assistant")], "message 1 is by assistant, where it is user's turn"),
        ([said("user"), said("user")], "message 2 is by user, where it is assistant's turn"),
        ([said("system")], "must end with user"),
        ([said("user"), said("system"), said("user")], "message 2 is by system"),
        ([said("user"), said("assistant")], "ends with assistant; it must end with user"),
        ([said("user")] * 300, "at most 200"),
    ],
)
def test_what_is_no_prompt_is_refused_in_words(messages: Any, words: str) -> None:
    with pytest.raises(ConversationProblem, match=words):
        clean_messages(messages)


def test_extra_keys_are_dropped_and_line_ends_are_unix() -> None:
    assert clean_messages([{"role": "user", "content": "a\r\nb\rc", "name": "eve"}]) == [said("user", "a\nb\nc")]


def test_the_same_words_are_the_same_prompt_whatever_surrounds_them() -> None:
    assert content_hash([said("user", "hello")]) == content_hash([said("user", " hello\n")])
    assert content_hash([said("user", "hello")]) != content_hash([said("system", "hello")])
    assert content_hash([said("user", "a"), said("assistant", "b")]) != content_hash([said("user", "a b")])


def test_text_of_a_conversation_names_the_speakers() -> None:
    assert as_text([said("user", "hello")]) == "hello"
    assert as_text([said("user", "hello"), said("assistant", "hi")]) == "User: hello\n\nAssistant: hi"


def test_an_instruction_and_its_input_are_one_text() -> None:
    assert instruction_text("Translate.", "Guten Tag") == "Translate.\n\nGuten Tag"
    assert instruction_text("Translate.", " ") == instruction_text("Translate.", None) == "Translate."


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1))
def test_clean_text_is_what_it_was(text: str) -> None:
    if text.strip():
        assert clean_text(text) == text
    else:
        assert clean_text(text, may_be_empty=True) == text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner),
    max_leaves=20,
)


@given(anything)
def test_nothing_but_messages_or_a_problem_comes_of_anything(value: Any) -> None:
    try:
        messages = clean_messages(value)
    except ConversationProblem:
        return
    assert messages[-1]["role"] == "user"
    assert content_hash(messages)
