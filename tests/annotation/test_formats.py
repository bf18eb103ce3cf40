"""Other people's formats: recognised, read as meant, unshaken by anything, and back from what they carried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.errors import ImportProblem
from annotation.formats import FORMATS, alpaca, chat, format_named, recognise, trl
from annotation.records import DemonstrationRecord, PromptRecord, RankingRecord, Record, record_of

Row = dict[str, Any]
WHY = [{"role": "user", "content": "Why?"}]
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "Why?"},
]
HH_START = "\n\nHuman: Hello\n\nAssistant: Hi\n\nHuman: Why?\n\nAssistant:"
NODE = {"message_id": "m1", "role": "prompter", "text": "Why?", "lang": "de"}
TREE = {
    "message_tree_id": "t",
    "prompt": {
        **NODE,
        "replies": [
            {"message_id": "m2", "role": "assistant", "text": "Because.", "rank": 1, "user_id": "u2"},
            {
                "message_id": "m3",
                "role": "assistant",
                "text": "Air.",
                "rank": 0,
                "user_id": "u3",
                "replies": [
                    {
                        "message_id": "m4",
                        "role": "prompter",
                        "text": "More",
                        "lang": "de",
                        "replies": [{"message_id": "m5", "role": "assistant", "text": "No.", "rank": None}],
                    }
                ],
            },
            {"message_id": "m6", "role": "assistant", "text": "Gone", "rank": 2, "deleted": True},
        ],
    },
}
ULTRA = {
    "source": "evol",
    "instruction": "Why?",
    "completions": [
        {"model": "a", "response": "Air.", "annotations": {"honesty": {"Rating": "5"}, "helpfulness": {"Rating": "4"}}},
        {"model": "b", "response": "Paint.", "annotations": {"honesty": {"Rating": "N/A"}, "x": {"Rating": "2"}}},
        {"model": "c", "response": "Light.", "annotations": {"honesty": {"Rating": "4"}, "x": {"Rating": "5"}}},
        {"model": "d", "response": "?", "annotations": {}},
    ],
}
SUMMARY = {
    "info": {"id": "p1", "post": "Long.", "title": "T", "subreddit": "tifu"},
    "summaries": [{"text": " One.", "policy": "sup"}, {"text": "Two.", "policy": "ref"}],
    "choice": 1,
    "worker": "w9",
}
BATTLE: Row = {
    "question_id": "q",
    "model_a": "x",
    "model_b": "y",
    "winner": "tie (bothbad)",
    "judge": "arena_user_3",
    "language": "German",
    "conversation_a": [*WHY, {"role": "assistant", "content": "A"}],
    "conversation_b": [*WHY, {"role": "assistant", "content": "B"}],
}
ARGILLA = {
    "id": "r1",
    "fields": {"prompt": "Why?", "reply-1": "One", "reply-2": "Two", "reply-3": "Three"},
    "responses": [
        {
            "question_name": "order",
            "user_id": "u1",
            "status": "submitted",
            "value": [{"value": f"reply-{reply}", "rank": rank} for reply, rank in ((2, 1), (1, 2), (3, 2))],
        },
        {"question_name": "order", "user_id": "u2", "status": "draft", "value": ["reply-1", "reply-2"]},
        {"question_name": "order", "user_id": "u3", "status": "submitted", "value": ["reply-1", "reply-2", "reply-3"]},
        {"question_name": "text", "user_id": "u3", "status": "submitted", "value": "Because."},
    ],
}
STUDIO = {
    "id": 4,
    "data": {
        "prompt": "Why?",
        "items": [{"id": "a", "title": "One"}, {"id": "b", "body": "Two"}, {"id": "c", "body": "3"}],
    },
    "annotations": [
        {
            "completed_by": {"id": 7},
            "lead_time": 12.5,
            "result": [
                {"type": "ranker", "value": {"ranker": {"best": ["b", "a"], "_": ["c"]}}},
                {"type": "textarea", "value": {"text": ["Because", "of air."]}},
            ],
        },
        {
            "completed_by": 8,
            "was_cancelled": True,
            "result": [{"type": "ranker", "value": {"ranker": ["a", "b", "c"]}}],
        },
    ],
}
PAIRWISE = {
    "data": {"prompt": "Why?", "answer1": "One", "answer2": "Two"},
    "annotations": [{"completed_by": 8, "result": [{"type": "pairwise", "value": {"selected": "right"}}]}],
}


def read(kind: str, row: Row, name: str = "") -> list[Record]:
    found = format_named(name) if name else recognise(row)
    return [record_of(kind, ours) for ours in found.read(kind, row)]


def said(record: Record) -> tuple[Any, ...]:
    """What a record says: its prompt, and the answer or the answers with their ranks."""
    if isinstance(record, PromptRecord):
        return (record.messages,)
    if isinstance(record, DemonstrationRecord):
        return (record.prompt.messages, record.text)
    return (record.prompt.messages, [(answer.text, answer.rank) for answer in record.answers])


CASES: list[tuple[str, str, Row, list[tuple[Any, ...]]]] = [
    ("openai", "prompts", {"messages": WHY}, [(WHY,)]),
    ("openai", "prompts", {"messages": [*WHY, chat.assistant("Air.")]}, [(WHY,)]),
    ("openai", "demonstrations", {"messages": [*TURNS, chat.assistant("Air.")]}, [(TURNS, "Air.")]),
    (
        "openai",
        "demonstrations",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}, chat.assistant("Air.")]},
        [(WHY, "Air.")],
    ),
    (
        "openai",
        "rankings",
        {
            "input": {"messages": WHY, "tools": []},
            "preferred_output": [chat.assistant("Air.")],
            "non_preferred_output": [chat.assistant("Paint.")],
        },
        [(WHY, [("Air.", 1), ("Paint.", 2)])],
    ),
    (
        "openai",
        "rankings",
        {"messages": [*WHY, chat.assistant("Air.")], "rejected_response": "Paint."},
        [(WHY, [("Air.", 1), ("Paint.", 2)])],
    ),
    (
        "sharegpt",
        "demonstrations",
        {
            "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Air."}],
            "system": "Be brief.",
        },
        [([TURNS[0], *WHY], "Air.")],
    ),
    (
        "sharegpt",
        "rankings",
        {
            "conversations": [{"from": "human", "value": "Why?"}],
            "chosen": {"from": "gpt", "value": "Air."},
            "rejected": {"from": "gpt", "value": "Paint."},
        },
        [(WHY, [("Air.", 1), ("Paint.", 2)])],
    ),
    (
        "alpaca",
        "demonstrations",
        {"instruction": "Why?", "input": "", "output": "Air.", "system": "Be brief.", "history": [["Hello", "Hi"]]},
        [(TURNS, "Air.")],
    ),
    (
        "alpaca",
        "rankings",
        {"instruction": "Why?", "chosen": "Air.", "rejected": "Paint."},
        [(WHY, [("Air.", 1), ("Paint.", 2)])],
    ),
    (
        "hh-rlhf",
        "rankings",
        # both answers begin with the same words, which are no part of the prompt
        {"chosen": f"{HH_START} The air.", "rejected": f"{HH_START} The paint."},
        [(TURNS[1:], [("The air.", 1), ("The paint.", 2)])],
    ),
    (
        "hh-rlhf",
        "demonstrations",
        {"chosen": f"{HH_START} Air.", "rejected": f"{HH_START} Paint."},
        [(TURNS[1:], "Air.")],
    ),
    ("oasst", "prompts", TREE, [(WHY,)]),
    (
        "oasst",
        "demonstrations",
        TREE,
        [(WHY, "Air."), ([*WHY, chat.assistant("Air."), {"role": "user", "content": "More"}], "No.")],
    ),
    ("oasst", "rankings", TREE, [(WHY, [("Because.", 2), ("Air.", 1)])]),
    ("ultrafeedback", "rankings", ULTRA, [(WHY, [("Air.", 1), ("Paint.", 2), ("Light.", 1), ("?", None)])]),
    (
        "summarize-from-feedback",
        "rankings",
        SUMMARY,
        [
            (
                [{"role": "user", "content": "SUBREDDIT: r/tifu\n\nTITLE: T\n\nPOST: Long.\n\nTL;DR:"}],
                [("One.", 2), ("Two.", 1)],
            )
        ],
    ),
    ("arena", "rankings", BATTLE, [(WHY, [("A", 1), ("B", 1)])]),
    (
        "argilla",
        "rankings",
        ARGILLA,
        [(WHY, [("Two", 1), ("One", 2), ("Three", 2)]), (WHY, [("One", 1), ("Two", 2), ("Three", 3)])],
    ),
    ("argilla", "demonstrations", ARGILLA, [(WHY, "Because.")]),
    ("label-studio", "rankings", STUDIO, [(WHY, [("One", 2), ("Two", 1), ("3", None)])]),
    ("label-studio", "rankings", PAIRWISE, [(WHY, [("One", 2), ("Two", 1)])]),
    ("label-studio", "demonstrations", STUDIO, [(WHY, "Because\nof air.")]),
    ("trl-unpaired", "demonstrations", {"prompt": WHY, "completion": "Air.", "label": True}, [(WHY, "Air.")]),
    ("plackett", "rankings", {"prompt": "Why?", "chosen": "a", "rejected": "b"}, [(WHY, [("a", 1), ("b", 2)])]),
]


@pytest.mark.parametrize(("name", "kind", "row", "expected"), CASES)
def test_a_row_is_recognised_and_read_as_it_is_meant(
    name: str, kind: str, row: Row, expected: list[tuple[Any, ...]]
) -> None:
    assert recognise(row).name == name
    assert [said(record) for record in read(kind, row)] == expected


def test_who_made_a_label_and_where_it_belongs_comes_along() -> None:
    studio = read("rankings", STUDIO)[0]
    assert isinstance(studio, RankingRecord)
    assert (studio.work.labeler, studio.work.active_seconds) == ("7", 12.5)
    tree = read("demonstrations", TREE)[1]
    assert isinstance(tree, DemonstrationRecord)
    assert (tree.prompt.group, tree.prompt.language, tree.prompt.source_id) == ("t", "de", "m4")
    battle = read("rankings", BATTLE)[0]
    assert isinstance(battle, RankingRecord)
    assert (battle.work.labeler, battle.prompt.language) == ("arena_user_3", "de")
    assert [answer.author for answer in battle.answers] == ["x", "y"]


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("demonstrations", {"messages": [*WHY, {"role": "assistant", "tool_calls": [{}]}]}, "calls tools"),
        ("demonstrations", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a picture"),
        ("demonstrations", {"conversations": [{"from": "observation", "value": "x"}]}, "it must be from one of"),
        (
            "rankings",
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
            "begin alike",
        ),
        (
            "rankings",
            {"chosen": f"{HH_START} a\n\nHuman: x\n\nAssistant: b", "rejected": f"{HH_START} b"},
            "before their last answer",
        ),
        ("demonstrations", ULTRA, "holds no demonstrations"),
        ("rankings", {**SUMMARY, "choice": True}, "choice must be 0 or 1"),
        ("rankings", {**BATTLE, "conversation_a": WHY * 4}, "one turn"),
        ("demonstrations", {"prompt": "Why?", "completion": "b", "label": False}, "labelled as a bad one"),
        ("rankings", {**ARGILLA, "responses": []}, "nobody submitted"),
    ],
)
def test_what_a_format_cannot_give_is_said(kind: str, row: Row, words: str) -> None:
    with pytest.raises(ImportProblem, match=words):
        read(kind, row)


def test_a_tree_too_deep_for_a_conversation_is_refused() -> None:
    node: Row = {"role": "assistant", "text": "end"}
    for depth in range(5001):
        node = {"role": "prompter" if depth % 2 == 0 else "assistant", "text": str(depth), "replies": [node]}
    with pytest.raises(ImportProblem, match="deeper than 200"):
        read("demonstrations", {"message_tree_id": "t", "prompt": node})


# --- Hostility ---------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def disturbed(draw: st.DrawFn) -> tuple[str, str, Row]:
    """One of the good rows with a value somewhere in it replaced or taken away."""
    name, kind, row, _ = draw(st.sampled_from(CASES))
    return name, kind, replaced(draw, row)


def replaced(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 5)) == 0:
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: replaced(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], replaced(draw, value[place]), *value[place + 1 :]]
    return draw(VALUES)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(disturbed())
def test_whatever_a_row_holds_it_is_read_or_refused_in_words(case: tuple[str, str, Row]) -> None:
    name, kind, row = case
    for found in {name, recognise(row).name if isinstance(row, dict) else name}:
        try:
            for record in read(kind, row if isinstance(row, dict) else {}, found):
                assert said(record)
        except ImportProblem as problem:
            assert problem.message


# --- Round trips -------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(str.strip)


@st.composite
def conversations(draw: st.DrawFn) -> list[Row]:
    turns = draw(st.integers(0, 2))
    messages: list[Row] = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    for _ in range(turns):
        messages += [{"role": "user", "content": draw(TEXTS)}, {"role": "assistant", "content": draw(TEXTS)}]
    return [*messages, {"role": "user", "content": draw(TEXTS)}]


@st.composite
def demonstrations(draw: st.DrawFn) -> Row:
    return {"prompt": draw(conversations()), "completion": [{"role": "assistant", "content": draw(TEXTS)}]}


@st.composite
def rankings(draw: st.DrawFn) -> Row:
    texts = draw(st.lists(TEXTS, min_size=2, max_size=5, unique=True))
    ranks = draw(st.lists(st.none() | st.integers(1, 4), min_size=len(texts), max_size=len(texts)))
    return {"prompt": draw(conversations()), "completions": [{"content": text} for text in texts], "ranks": ranks}


@settings(max_examples=60)
@given(demonstrations())
def test_demonstrations_come_back_from_each_format(row: Row) -> None:
    for name, write in (
        ("plackett", trl.write_prompt_completion),
        ("openai", chat.write_chat),
        ("sharegpt", chat.write_shared),
        ("alpaca", alpaca.write_alpaca),
    ):
        (written,) = write([row])
        assert [said(record) for record in read("demonstrations", written, name)] == [
            (row["prompt"], row["completion"][0]["content"])
        ]
        assert recognise(written).name == name


@settings(max_examples=60)
@given(rankings())
def test_the_pairs_of_a_ranking_come_back_from_each_format(row: Row) -> None:
    expected = sorted(ordered(row))
    for name, write in (
        ("plackett", trl.write_preference),
        ("openai", chat.write_openai_pairs),
        ("sharegpt", chat.write_shared_pairs),
        ("alpaca", alpaca.write_alpaca_pairs),
    ):
        back = [said(record) for written in write([row], "drop") for record in read("rankings", written, name)]
        assert all(prompt == row["prompt"] for prompt, _ in back)
        assert sorted((answers[0][0], answers[1][0]) for _, answers in back) == expected


def ordered(row: Row) -> Iterator[tuple[str, str]]:
    answers = list(zip([answer["content"] for answer in row["completions"]], row["ranks"], strict=True))
    for text, rank in answers:
        for other, lower in answers:
            if rank is not None and lower is not None and rank < lower:
                yield text, other


def test_ties_come_both_ways_round_or_not_at_all_where_no_margin_can_tell() -> None:
    row = {"prompt": WHY, "completions": [{"content": "a"}, {"content": "b"}], "ranks": [1, 1]}
    for ties, expected in (("drop", []), ("margin", []), ("half", [("a", "b"), ("b", "a")])):
        written = list(chat.write_openai_pairs([row], ties))
        assert [
            (pair["preferred_output"][0]["content"], pair["non_preferred_output"][0]["content"]) for pair in written
        ] == expected


@pytest.mark.parametrize(
    ("ratings", "ranks", "expected"),
    [
        ([7, 4, 1], [1, 2, 3], [True, None, False]),
        ([None, None, None], [2, 1, 3], [None, True, False]),
        ([None, None, None], [1, 1, 1], [None, None, None]),
        ([None, None, 6], [1, 2, None], [None, None, True]),
    ],
)
def test_good_and_bad_by_ratings_or_else_by_the_ends_of_the_ranking(
    ratings: list[int | None], ranks: list[int | None], expected: list[bool | None]
) -> None:
    completions = [{"content": "x", "ratings": {"overall": rating} if rating else {}} for rating in ratings]
    assert trl.goodness({"completions": completions, "ranks": ranks}) == expected


def test_good_is_above_the_middle_of_the_scale_that_was_asked() -> None:
    row = {"completions": [{"ratings": {"overall": rating}} for rating in (4, 3, 2)], "ranks": [1, 2, 3]}
    assert trl.goodness(row) == [None, False, False]  # of 1 to 7
    assert trl.goodness(row | {"rating_scale": {"minimum": 1, "maximum": 5}}) == [True, None, False]


def test_each_format_has_a_name_of_its_own_and_reads_something() -> None:
    assert len({found.name for found in FORMATS}) == len(FORMATS)
    assert all(found.readers and str(found.label) for found in FORMATS)
    with pytest.raises(ImportProblem, match="There is no format"):
        format_named("xls")
