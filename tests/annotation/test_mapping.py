"""Mappings: columns of unknown names become our fields, as meant, or are refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.errors import ImportProblem
from annotation.import_reading import row_records
from annotation.mapping import FIELDS, checked, columns_of, fields_of, format_of, guessed
from annotation.records import AnswersRecord, DemonstrationRecord, RankingRecord

KINDS = ["prompts", "demonstrations", "rankings", "answers"]


def records(kind: str, row: dict[str, Any], mapping: dict[str, Any]) -> list[Any]:
    found = list(row_records(kind, row, format_of(checked(kind, mapping))))
    return [record or problem for record, problem in found]


# As WeOpenML/PandaLM writes its rows: three people's votes, 0 for a tie.
VOTES = {
    "instruction": "Name a river.",
    "input": "In Europe.",
    "response1": "Danube",
    "response2": "Nile",
    "model1": "m1",
    "model2": "m2",
    "annotators": [1, 2, 0],
}


def test_a_file_of_several_peoples_votes_is_guessed_whole() -> None:
    mapping = guessed("rankings", columns_of([VOTES]))
    assert mapping == {
        "prompt": "instruction",
        "context": "input",
        "answers": ["response1", "response2"],
        "models": ["model1", "model2"],
        "choice": "annotators",
    }
    found = records("rankings", VOTES, mapping)
    assert [[answer.rank for answer in record.answers] for record in found] == [[1, 2], [2, 1], [1, 1]]
    assert [record.work.labeler for record in found] == ["annotator 1", "annotator 2", "annotator 3"]
    assert found[0].prompt.messages[0]["content"] == "Name a river.\n\nIn Europe."
    assert [answer.author for answer in found[0].answers] == ["m1", "m2"]


@pytest.mark.parametrize(
    ("choice", "first", "ranks"),
    [
        (1, "1", [1, 2]), (2, "1", [2, 1]), (0, "1", [1, 1]), ("2", "1", [2, 1]),
        (0, "0", [1, 2]), (1, "0", [2, 1]), (1.0, "1", [1, 2]),
        ("b", "1", [2, 1]), ("left", "1", [1, 2]), ("model_b", "1", [2, 1]), ("TIE", "1", [1, 1]), ("y", "1", [2, 1]),
    ],
)  # fmt: skip
def test_which_is_better_is_told_in_many_ways(choice: Any, first: str, ranks: list[int]) -> None:
    mapping = {"prompt": "q", "answers": ["x", "y"], "choice": "c", "choice_counts_from": first}
    (record,) = records("rankings", {"q": "Q", "x": "A", "y": "B", "c": choice}, mapping)
    assert [answer.rank for answer in record.answers] == ranks


def test_ranks_and_scores_by_column_or_by_list_and_missing_answers_left_out() -> None:
    row = {
        "q": "Q",
        "a": "A",
        "d": "",
        "c": "C",
        "sa": "0.1",
        "sb": "",
        "sc": 7,
        "list": '["A", "B"]',
        "ranks": "[2, 1]",
    }
    scores = {"prompt": "q", "answers": ["a", "b", "c"], "scores": ["sa", "sb", "sc"]}
    (record,) = records("rankings", row, scores)
    assert [(answer.text, answer.rank) for answer in record.answers] == [("A", 2), ("C", 1)]
    (record,) = records("rankings", row, {**scores, "answers": ["a", "d", "c"]})
    assert [(answer.text, answer.rank) for answer in record.answers] == [("A", 2), ("", None), ("C", 1)]
    (record,) = records("rankings", row, {"prompt": "q", "answers": ["list"], "ranks": ["ranks"]})
    assert [(answer.text, answer.rank) for answer in record.answers] == [("A", 2), ("B", 1)]


def test_nested_columns_messages_and_pairs() -> None:
    row = {
        "data": {
            "turns": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Ho"},
                {"from": "human", "value": "Why?"},
            ]
        },
        "best": "Air.",
        "who": 7,
    }
    assert columns_of([row]) == ["data", "data.turns", "best", "who"]
    (record,) = records("demonstrations", row, {"prompt": "data.turns", "completion": "best", "labeler": "who"})
    assert isinstance(record, DemonstrationRecord) and (record.text, record.work.labeler) == ("Air.", "7")
    assert [turn["role"] for turn in record.prompt.messages] == ["user", "assistant", "user"]
    (pair,) = records("rankings", {"q": "Q", "w": "A", "l": "B"}, {"prompt": "q", "chosen": "w", "rejected": "l"})
    assert isinstance(pair, RankingRecord) and [answer.text for answer in pair.answers] == ["A", "B"]
    (group,) = records("answers", {"q": "Q", "w": "A", "l": "B"}, {"prompt": "q", "answers": ["w", "l"]})
    assert isinstance(group, AnswersRecord) and len(group.answers) == 2


@pytest.mark.parametrize(
    ("kind", "mapping", "words"),
    [
        ("prompts", {}, "which column is the prompt"),
        ("prompts", {"poem": "x"}, "no field 'poem'"),
        ("prompts", {"prompt": ["a", "b"]}, "too many columns"),
        ("demonstrations", {"prompt": "a"}, "which column is the answer"),
        ("answers", {"prompt": "a"}, "which columns are the answers"),
        ("rankings", {"prompt": "a", "answers": ["b", "c"]}, "which is better, ranks, scores"),
        ("rankings", {"prompt": "a", "chosen": "b", "rejected": "c", "choice_counts_from": 3}, "must be 0 or 1"),
        ("prompts", ["prompt"], "must be an object"),
    ],
)
def test_a_mapping_that_says_too_little_or_too_much_is_refused(kind: str, mapping: Any, words: str) -> None:
    with pytest.raises(ImportProblem, match=words):
        checked(kind, mapping)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["[1]", '{"a":1}', "[["])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "a"]), inner),
    max_leaves=6,
)
columns = st.sampled_from(["a", "b", "c", "a.b", "none"])


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(KINDS), row=st.dictionaries(st.sampled_from(["a", "b", "c"]), values), data=st.data())
def test_whatever_a_row_holds_a_mapping_makes_records_or_sentences(
    kind: str, row: dict[str, Any], data: st.DataObject
) -> None:
    mapping = {
        field.name: data.draw(st.lists(columns, min_size=1, max_size=3) if field.is_list else columns)
        for field in fields_of(kind)
        if data.draw(st.booleans())
    }
    try:
        format = format_of(checked(kind, mapping))
    except ImportProblem:
        return
    for record, problem in row_records(kind, row, format):
        assert record is not None or problem
    guessed(kind, columns_of([row]))


def test_each_field_has_one_name() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)
