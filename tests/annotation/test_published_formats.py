"""Rows as the published files have them, field by field: recognised by themselves, and read as they are meant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.formats import format_named, recognise
from annotation.import_reading import row_records
from annotation.records import DemonstrationRecord, PromptRecord, RankingRecord
from tests.annotation.test_formats import replaced

WHY = [{"role": "user", "content": "Why?"}]


def state(model: str, answer: str) -> dict[str, Any]:
    """FastChat's conversation state, with two turns of the template before its offset."""
    return {
        "template_name": "vicuna",
        "system_message": "",
        "roles": ["USER", "ASSISTANT"],
        "messages": [["USER", "eg"], ["ASSISTANT", "eg"], ["USER", "Why?"], ["ASSISTANT", answer]],
        "offset": 2,
        "conv_id": "c",
        "model_name": model,
    }


def vote(kind: str) -> dict[str, Any]:
    states = [state("m1", "A"), state("m2", "B")]
    return {"tstamp": 1714903200.5, "type": kind, "models": ["", ""], "states": states, "ip": "10.0.0.1"}


TREE = {
    "message_tree_id": "t1",
    "tree_state": "ready_for_export",
    "origin": "x",
    "prompt": {
        "message_id": "p",
        "parent_id": None,
        "user_id": "u0",
        "created_date": "2023-02-01T00:00:00+00:00",
        "text": "Why?",
        "role": "prompter",
        "lang": "pt-BR",
        "review_count": 3,
        "review_result": True,
        "deleted": False,
        "rank": None,
        "synthetic": False,
        "model_name": None,
        "emojis": {},
        "labels": {"spam": {"value": 0.0, "count": 3}},
        "events": {
            "ranking": [
                {"user_id": "u8", "ranking": [1, 0], "ranked_message_ids": ["b", "a"], "not_rankable": False},
                {"user_id": "u9", "ranking": [0, 1], "ranked_message_ids": ["a", "b"], "not_rankable": False},
                {"user_id": "u7", "ranked_message_ids": ["a", "b"], "not_rankable": True},
            ]
        },
        "replies": [
            {
                "message_id": "a",
                "parent_id": "p",
                "role": "assistant",
                "text": "A",
                "rank": 0,
                "user_id": "u1",
                "created_date": "2023-02-02T00:00:00+00:00",
                "replies": [],
                "synthetic": False,
            },
            {
                "message_id": "b",
                "parent_id": "p",
                "role": "assistant",
                "text": "B",
                "rank": 1,
                "user_id": "u2",
                "created_date": "not a date",
                "replies": [],
                "synthetic": True,
                "model_name": "m",
            },
        ],
    },
}
ULTRA = {
    "source": "evol",
    "instruction": "Why?",
    "models": ["m1", "m2"],
    "correct_answers": ["None"],
    "incorrect_answers": ["None"],
    "completions": [
        {
            "model": "m1",
            "principle": "helpfulness",
            "custom_system_prompt": "Be.",
            "response": "A",
            "annotations": {
                "instruction_following": {"Rating": "2", "Rationale": "x"},
                "truthfulness": {"Type": ["1"], "Rationale": "x", "Rating": "4", "Rationale For Rating": "y"},
            },
        },
        {
            "model": "m2",
            "principle": "honesty",
            "custom_system_prompt": "Be.",
            "response": "B",
            "annotations": {"honesty": {"Rating": "N/A", "Rationale": "x"}, "helpfulness": {"Rating": "5"}},
        },
    ],
}
SUMMARY = {
    "info": {"id": "t3_x", "post": "Long.", "title": "T", "subreddit": "s"},
    "summaries": [{"text": " A", "policy": "sup1", "note": "n"}, {"text": " B", "policy": "ref", "note": ""}],
    "choice": 1,
    "worker": "w1",
    "batch": "b",
    "split": "train",
    "extra": {"confidence": 7},
}
ARGILLA_V1 = {
    "id": "r1",
    "fields": {"prompt": "Why?", "reply-1": "A", "reply-2": "B"},
    "metadata": {},
    "vectors": {},
    "suggestions": [],
    "responses": [
        {
            "question_name": "rank",
            "value": [{"value": "reply-2", "rank": 1}, {"value": "reply-1", "rank": 2}],
            "user_id": "u1",
            "status": "submitted",
        },
        {"question_name": "rank", "value": ["reply-1", "reply-2"], "user_id": "u2", "status": "draft"},
    ],
}
ARGILLA_SDK = {**ARGILLA_V1, "responses": {"rank": [{"value": ["reply-2", "reply-1"], "user_id": "u1"}]}}
ARGILLA_FLAT = {
    "id": "r1",
    "prompt": "Why?",
    "reply-1": "A",
    "reply-2": "B",
    "rank.suggestion": None,
    "rank.suggestion.score": None,
    "rank.suggestion.agent": None,
    "rank.responses": [["reply-2", "reply-1"]],
    "rank.responses.users": ["u1"],
    "rank.responses.status": ["submitted"],
}
STUDIO = {
    "id": 5,
    "project": 1,
    "created_at": "2024-01-01T00:00:00Z",
    "updated_at": "2024-01-02T00:00:00Z",
    "data": {
        "prompt": "Why?",
        "items": [{"id": "x", "title": "1", "body": "A"}, {"id": "y", "title": "2", "body": "B"}],
    },
    "annotations": [
        {
            "id": 9,
            "completed_by": 3,
            "was_cancelled": False,
            "ground_truth": False,
            "lead_time": 12.5,
            "created_at": "2024-01-03T00:00:00Z",
            "updated_at": "2024-01-03T00:00:00Z",
            "result": [
                {"id": "q", "from_name": "rank", "to_name": "items", "type": "ranker", "value": {"ranker": ["y", "x"]}}
            ],
        }
    ],
    "predictions": [],
}
BATTLE = {
    "question_id": "q1",
    "model_a": "m1",
    "model_b": "m2",
    "winner": "model_b",
    "judge": "arena_user_4",
    "turn": 1,
    "conversation_a": [*WHY, {"role": "assistant", "content": "A"}],
    "conversation_b": [*WHY, {"role": "assistant", "content": "B"}],
    "anony": True,
    "language": "English",
    "tstamp": 1714903200.5,
}
HH = {"chosen": "\n\nHuman: Why?\n\nAssistant: B yes", "rejected": "\n\nHuman: Why?\n\nAssistant: B no"}

# (format, row, [(ranks of A and B, labeler)])
RANKED = [
    ("oasst", TREE, [([2, 1], "u8"), ([1, 2], "u9")]),
    ("ultrafeedback", ULTRA, [([2, 1], "")]),
    ("summarize-from-feedback", SUMMARY, [([2, 1], "w1")]),
    ("argilla", ARGILLA_V1, [([2, 1], "u1")]),
    ("argilla", ARGILLA_SDK, [([2, 1], "u1")]),
    ("argilla-flat", ARGILLA_FLAT, [([2, 1], "u1")]),
    ("label-studio", STUDIO, [([2, 1], "3")]),
    ("arena", BATTLE, [([2, 1], "arena_user_4")]),
    ("arena-votes", vote("leftvote"), [([1, 2], "")]),
    ("arena-votes", vote("rightvote"), [([2, 1], "")]),
    ("arena-votes", vote("tievote"), [([1, 1], "")]),
    ("arena-votes", vote("bothbad_vote"), [([1, 1], "")]),
]


@pytest.mark.parametrize(
    ("format", "row", "said"), RANKED, ids=[f"{name}-{at}" for at, (name, *_x) in enumerate(RANKED)]
)
def test_published_rankings(format: str, row: dict[str, Any], said: list[Any]) -> None:
    assert recognise(row).name == format
    found = []
    for record, problem in row_records("rankings", row, recognise(row)):
        assert isinstance(record, RankingRecord), problem
        ranks = {answer.text: answer.rank for answer in record.answers}
        found.append(([ranks["A"], ranks["B"]], record.work.labeler))
    assert found == said


@pytest.mark.parametrize(
    "row", [TREE, ULTRA, SUMMARY, STUDIO, {**STUDIO, "annotations": []}, BATTLE, vote("tievote"), HH]
)
def test_their_answers_can_be_ranked_anew(row: dict[str, Any]) -> None:
    for record, problem in row_records("answers", row, recognise(row)):
        assert record is not None, problem
        assert len(record.answers) == 2 and {answer.rank for answer in record.answers} == {None}  # type: ignore[union-attr]


def test_when_and_in_which_language_comes_along() -> None:
    ((record, _problem),) = row_records("rankings", vote("leftvote"), recognise(vote("leftvote")))
    assert isinstance(record, RankingRecord) and record.work.submitted_at is not None
    assert record.work.submitted_at.isoformat() == "2024-05-05T10:00:00.500000+00:00"
    assert "10.0.0.1" not in repr(record)
    ((made, _problem),) = row_records("demonstrations", TREE, recognise(TREE))
    assert isinstance(made, DemonstrationRecord) and made.work.submitted_at is not None
    assert (made.text, made.work.labeler, made.prompt.language, made.prompt.group) == ("A", "u1", "pt-BR", "t1")


def test_what_people_mistake_for_a_tree_or_a_comparison_is_named() -> None:
    message = {
        "message_id": "a",
        "parent_id": None,
        "text": "Why?",
        "role": "prompter",
        "message_tree_id": "a",
        "lang": "en",
    }
    axis = {
        "info": SUMMARY["info"],
        "summary": {"text": "A", "policy": "p", "note": "", "axes": {"overall": 7}},
        "worker": "w",
    }
    for kind, row, words in (
        ("prompts", message, ".trees.jsonl.gz"),
        ("rankings", axis, "rates one summary"),
        ("rankings", {**vote("chat"), "type": "chat"}, "only votes are rankings"),
    ):
        assert [words in problem for _record, problem in row_records(kind, row, recognise(row))] == [True]


TEXTS = [
    {"prompt": "Why?", "completion": "A"},
    {"prompt": WHY, "completion": [{"role": "assistant", "content": "A"}]},
    {"prompt": "Why?", "completion": "A", "label": True},
    {"messages": [*WHY, {"role": "assistant", "content": "A"}]},
    {"instruction": "Why?", "input": "", "output": "A", "system": "", "history": []},
    {"id": "x", "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "A"}]},
]


@pytest.mark.parametrize("row", TEXTS)
def test_published_demonstrations_and_their_prompts(row: dict[str, Any]) -> None:
    ((record, problem),) = row_records("demonstrations", row, recognise(row))
    assert isinstance(record, DemonstrationRecord), problem
    assert (record.text, record.prompt.messages) == ("A", WHY)
    ((prompt, problem),) = row_records("prompts", row, recognise(row))
    assert isinstance(prompt, PromptRecord) and prompt.messages == WHY, problem


PUBLISHED = [*(row for _name, row, _said in RANKED), {**STUDIO, "annotations": []}, HH, *TEXTS]


@st.composite
def disturbed(draw: st.DrawFn) -> tuple[dict[str, Any], Any]:
    row = draw(st.sampled_from(PUBLISHED))
    return row, replaced(draw, row)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=disturbed(), kind=st.sampled_from(["prompts", "demonstrations", "rankings", "answers"]))
def test_disturbed_in_any_place_a_row_is_records_or_sentences(case: tuple[dict[str, Any], Any], kind: str) -> None:
    row, other = case
    for format in {recognise(row).name, recognise(other).name if isinstance(other, dict) else recognise(row).name}:
        for record, problem in row_records(kind, other if isinstance(other, dict) else {}, format_named(format)):
            assert record is not None or problem
