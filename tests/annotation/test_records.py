"""Rows of files: each spelling we know is read; anything else is a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from annotation.conversations import content_hash
from annotation.errors import ImportProblem
from annotation.records import (
    PARSERS,
    DemonstrationRecord,
    PromptRecord,
    RankingRecord,
    demonstration_record,
    prompt_record,
    ranking_record,
    record_of,
)

USER = {"role": "user", "content": "Why?"}
ASSISTANT = {"role": "assistant", "content": "Because."}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?"},
        {"prompt": [USER]},
        {"messages": [USER]},
        {"instruction": "Why?", "input": ""},
        {"instruction": "Why?"},
        {"prompt": "Why?", "messages": None},
    ],
)
def test_prompts_under_each_of_their_names(row: dict[str, Any]) -> None:
    assert prompt_record(row).messages == [USER]


def test_a_prompt_brings_what_is_known_of_it() -> None:
    row = {"prompt": "Why?", "category": "chat", "language": "zh", "group": "a", "id": 7, "pool": "rm", "split": "test"}
    expected = PromptRecord(messages=[USER], category="chat", language="zh", group="a", source_id="7", pool="rm")
    assert prompt_record(row) == expected


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "completion": "Because."},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"messages": [USER, ASSISTANT]},
        {"instruction": "Why?", "input": None, "output": "Because."},
        {"prompt": "Why?", "response": "Because."},
    ],
)
def test_demonstrations_in_each_of_their_shapes(row: dict[str, Any]) -> None:
    record = demonstration_record(row)
    assert (record.prompt.messages, record.text) == ([USER], "Because.")


def canonical(**fields: Any) -> dict[str, Any]:
    return {
        "prompt": [USER],
        "completions": [
            {"id": "a", "content": "First.", "model": "m1", "ratings": {"overall": 6}, "flags": ["hallucination"]},
            {
                "id": "b",
                "content": "Second.",
                "author": "human",
                "flags": {"hallucination": False, "contains_violent": True},
            },
            {"id": "c", "content": "", "rating": 1},
        ],
        "ranks": [1, 3, None],
        "presented_order": ["c", "a", "b"],
        "labeler": "judge",
        "purpose": "eval",
        "started_at": "2026-01-31T12:00:00+08:00",
        "active_seconds": 4.5,
    } | fields


def test_a_canonical_ranking() -> None:
    record = ranking_record(canonical())
    assert [(answer.text, answer.rank, answer.rating, answer.flags) for answer in record.answers] == [
        ("", None, 1, ()),
        ("First.", 1, 6, ("hallucination",)),
        ("Second.", 2, None, ("contains_violent",)),
    ]
    assert (record.work.labeler, record.work.purpose, record.work.active_seconds) == ("judge", "eval", 4.5)
    assert record.work.started_at is not None
    assert record.work.started_at.isoformat() == "2026-01-31T04:00:00+00:00"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "Because.", "rejected": "Dunno."},
        {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [ASSISTANT | {"content": "Dunno."}]},
        {"chosen": [USER, ASSISTANT], "rejected": [USER, ASSISTANT | {"content": "Dunno."}]},
        {"instruction": "Why?", "completions": ["Because.", "Dunno."], "ranks": [1, 2]},
        {"prompt": "Why?", "completions": [{"text": "Because.", "rank": 2}, {"content": "Dunno.", "rank": 5}]},
    ],
)
def test_rankings_in_each_of_their_shapes(row: dict[str, Any]) -> None:
    record = ranking_record(row)
    assert record.prompt.messages == [USER]
    assert [(answer.text, answer.rank) for answer in record.answers] == [("Because.", 1), ("Dunno.", 2)]


def test_equal_texts_of_a_group_are_told_apart() -> None:
    row = {"prompt": "Why?", "completions": ["A.", "A.", "B."], "ranks": [1, 1, 2]}
    keys = [answer.key for answer in ranking_record(row).answers]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("prompts", {}, "no prompt"),
        ("prompts", {"prompt": 7}, "list of messages"),
        ("prompts", {"messages": [USER, ASSISTANT]}, "must end with user"),
        ("prompts", {"prompt": "Why?", "category": ["chat"]}, "category is a list, not text"),
        ("prompts", {"prompt": "Why?", "group": "a\nb"}, "in one line"),
        ("prompts", {"prompt": "Why?", "id": "x" * 201}, "at most 200"),
        ("demonstrations", {"prompt": "Why?"}, "no answer"),
        ("demonstrations", {"prompt": "Why?", "completion": " "}, "empty"),
        ("demonstrations", {"prompt": "Why?", "completion": [USER]}, "end with a message by assistant"),
        ("demonstrations", {"messages": [USER]}, "must end with assistant"),
        ("rankings", {"prompt": "Why?"}, "no ranking"),
        ("rankings", {"chosen": "A", "rejected": "B"}, "no prompt"),
        ("rankings", {"prompt": "Why?", "chosen": "A", "rejected": "A"}, "nothing to rank"),
        ("rankings", {"prompt": "Why?", "chosen": True, "rejected": "A"}, "chosen is yes/no, not text"),
        ("rankings", {"chosen": [USER, ASSISTANT], "rejected": [USER | {"content": "How?"}, ASSISTANT]}, "different"),
        ("rankings", {"prompt": "Why?", "completions": "A"}, "must be a list"),
        ("rankings", {"prompt": "Why?", "completions": ["A"]}, "2 to 16"),
        ("rankings", {"prompt": "Why?", "completions": ["A"] * 17}, "2 to 16"),
        ("rankings", {"prompt": "Why?", "completions": ["A", "B"]}, "at least two"),
        ("rankings", {"prompt": "Why?", "completions": ["A", "B"], "ranks": [1]}, "list of 2 numbers"),
        ("rankings", {"prompt": "Why?", "completions": ["A", "B"], "ranks": [1, "2"]}, "whole number"),
        (
            "rankings",
            {"prompt": "Why?", "completions": [{"content": "A", "rating": 9}, "B"], "ranks": [1, 2]},
            "1 to 7",
        ),
        ("rankings", {"prompt": "Why?", "completions": [{"content": "A", "flags": 9}, "B"], "ranks": [1, 2]}, "flags"),
        ("rankings", canonical(purpose="fun"), "train or eval"),
        ("rankings", canonical(started_at="yesterday"), "started_at"),
        ("rankings", canonical(active_seconds=-1), "active_seconds"),
        ("rankings", canonical(labeler={"name": "eve"}), "labeler is an object"),
    ],
)
def test_what_says_nothing_usable_is_refused_in_words(kind: str, row: dict[str, Any], words: str) -> None:
    with pytest.raises(ImportProblem, match=words):
        record_of(kind, row)


NAMES = [
    "prompt", "messages", "instruction", "input", "output", "completion", "completions", "ranks", "rank", "chosen",
    "rejected", "role", "content", "text", "rating", "ratings", "flags", "labeler", "id", "category", "language",
    "presented_order", "purpose", "started_at", "submitted_at", "active_seconds", "pool", "group", "model", "overall",
]  # fmt: skip
words = st.sampled_from(
    [
        "user",
        "assistant",
        "system",
        "hello",
        "",
        "train",
        "2026-01-01",
        "en",
        "a\0",
        "\ud800",
        "0001-01-01T00:00:00+14:00",
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=25,
)
message = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": words})
nearly = st.fixed_dictionaries(
    {"prompt": words | st.lists(message, max_size=3)},
    optional={
        "completion": words | st.lists(message, max_size=2),
        "completions": st.lists(
            words | st.fixed_dictionaries({"content": words}, optional={"flags": anything}), max_size=4
        ),
        "ranks": st.lists(st.none() | st.integers(0, 4), max_size=4) | anything,
        "chosen": words | st.lists(message, max_size=3) | anything,
        "rejected": words | st.lists(message, max_size=3),
        "labeler": anything,
        "started_at": words | anything,
        "active_seconds": anything,
    },
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(PARSERS)), st.dictionaries(st.sampled_from(NAMES), anything, max_size=8) | nearly)
@example("answers", {"chosen": {}, "rejected": []})
@example("rankings", {"chosen": 3, "rejected": [{}]})
def test_anything_is_a_record_or_an_import_problem(kind: str, row: dict[str, Any]) -> None:
    try:
        record = record_of(kind, row)
    except ImportProblem as problem:
        assert problem.message
        return
    prompt = record if isinstance(record, PromptRecord) else record.prompt
    assert content_hash(prompt.messages)
    if isinstance(record, DemonstrationRecord):
        assert record.text.strip().encode()
    if isinstance(record, RankingRecord):
        assert 2 <= len(record.answers) <= 16
        assert len({answer.key for answer in record.answers}) == len(record.answers)


def test_lists_a_thousand_deep_are_a_problem_and_no_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for name in ("labeler", "started_at", "active_seconds", "completions", "ranks"):
        with pytest.raises(ImportProblem):
            record_of("rankings", canonical(**{name: deep}))
