"""The ranking form as data: what may be asked, what may be said, and what changed, in words. Pure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.changes import line_changes
from annotation.errors import PlackettError
from annotation.fields import Flag, default_ranking_fields
from annotation.ranking_form import (
    FormProblem,
    asked_fields,
    checked_answers,
    checked_form,
    differences,
    flag_labels,
    scale_of,
)

OLD = {"rating": {"minimum": 1, "maximum": 7}, "flags": ["hallucination"], "allow_ties": True, "allow_partial": False}
ASKS = {
    "prompt_fields": [
        {"key": "ambiguous"},
        {"key": "audience", "label": "For whom?", "type": "choice", "choices": ["child", "expert"], "required": True},
        {"key": "note", "label": "Anything else?", "type": "text"},
    ]
}


def test_a_new_projects_form_is_one_that_may_be_asked() -> None:
    assert checked_form(default_ranking_fields()) == default_ranking_fields()
    assert list(scale_of(default_ranking_fields())) == [1, 2, 3, 4, 5, 6, 7]
    assert list(flag_labels(default_ranking_fields())) == Flag.values


def test_a_form_from_before_there_were_own_fields_is_read_as_it_was() -> None:
    assert flag_labels(OLD) == {"hallucination": "Makes something up"}
    assert asked_fields(OLD) == [] and checked_answers(OLD, {}) == {}
    assert differences(OLD, checked_form(OLD)) == []


def test_what_is_left_out_is_as_in_a_new_project() -> None:
    form = checked_form({"own_flags": [{"key": "too_long", "label": " Too long "}]})
    assert flag_labels(form) == {"too_long": "Too long"}  # a flag of one's own is asked
    assert form["rating"] == {"minimum": 1, "maximum": 7} and form["allow_ties"] and not form["allow_partial"]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (None, "a form is an object"),
        ({"colour": 1}, "no colour"),
        ({"rating": {"minimum": 3, "maximum": 3}}, "within 0 to 10"),
        ({"rating": {"minimum": -1, "maximum": 3}}, "within 0 to 10"),
        ({"rating": {"minimum": 1, "maximum": 11}}, "within 0 to 10"),
        ({"rating": {"minimum": True, "maximum": 7}}, "within 0 to 10"),
        ({"rating": 7}, "within 0 to 10"),
        ({"flags": ["cute"]}, "no flag cute"),
        ({"flags": "hallucination"}, "list of names"),
        ({"own_flags": [{"key": "Too long", "label": "x"}]}, "small Latin letters"),
        ({"own_flags": [{"key": "hallucination", "label": "x"}]}, "taken"),
        ({"own_flags": [{"key": "a", "label": "x"}, {"key": "a", "label": "y"}]}, "twice"),
        ({"own_flags": [{"key": "a", "label": " "}]}, "one line"),
        ({"own_flags": [{"key": "a", "label": "x\ny"}]}, "one line"),
        ({"own_flags": [{"key": f"k{n}", "label": "x"} for n in range(21)]}, "at most 20"),
        ({"own_flags": {"a": "x"}}, "list of objects"),
        ({"prompt_fields": [{"key": "category", "label": "x", "type": "text"}]}, "taken"),
        ({"prompt_fields": [{"key": "a", "label": "x", "type": "number"}]}, "is one of yes_no, choice, text"),
        ({"prompt_fields": [{"key": "a", "label": "x", "type": "choice", "choices": ["one"]}]}, "2 to 20"),
        ({"prompt_fields": [{"key": "a", "label": "x", "type": "choice", "choices": ["one", "one"]}]}, "each once"),
        ({"allow_ties": "no"}, "true or false"),
    ],
)
def test_a_form_that_cannot_be_asked_is_refused_in_words(form: Any, words: str) -> None:
    with pytest.raises(FormProblem, match=f"(?i){words}"):
        checked_form(form)


def test_what_is_said_of_a_prompt_is_held_to_the_form() -> None:
    form = checked_form(ASKS)
    said = {"audience": "child", "ambiguous": True, "note": "  \r\n "}
    assert checked_answers(form, said) == {"ambiguous": True, "audience": "child"}
    assert list(checked_answers(form, {"note": "a", "audience": "expert"})) == ["audience", "note"]
    for wrong, words in (
        ({}, "Answer “For whom\\?”"),
        ({"audience": "dog"}, "one of its choices"),
        ({"audience": ["child"]}, "one of its choices"),
        ({"audience": "child", "ambiguous": "yes"}, "yes or no"),
        ({"audience": "child", "note": "x" * 1001}, "at most 1000"),
        ({"audience": "child", "note": "a\0b"}, "at most 1000"),
        ({"audience": "child", "mood": 1}, "nothing named mood"),
        ([], "object"),
    ):
        with pytest.raises(FormProblem, match=words):
            checked_answers(form, wrong)


def test_what_changed_is_said_in_words() -> None:
    before = checked_form({"flags": ["hallucination"], "own_flags": [{"key": "long", "label": "Long"}]})
    after = checked_form(
        {
            "rating": {"minimum": 1, "maximum": 5},
            "own_flags": [{"key": "long", "label": "Too long"}],
            "allow_ties": False,
            "allow_partial": True,
            **ASKS,
        }
    )
    assert differences(before, after) == [
        "Ratings go from 1 to 5; they went from 1 to 7.",
        "The flag “Makes something up” is asked no more.",
        "The flag “Long” is now worded “Too long”.",
        "“The prompt is ambiguous” is asked about the prompt now.",
        "“For whom?” is asked about the prompt now.",
        "“Anything else?” is asked about the prompt now.",
        "No two answers may share a rank any more.",
        "An answer may be left unranked now.",
    ]
    assert differences(after, after) == []


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["rating", "flags", "own_flags", "prompt_fields", "allow_ties", "allow_partial", "key", "label"])


@given(st.dictionaries(KEYS, json, max_size=4) | json)
def test_whatever_is_sent_is_kept_whole_or_refused_in_words(form: Any) -> None:
    try:
        checked = checked_form(form)
    except PlackettError:
        return
    assert checked_form(checked) == checked and differences(checked, checked) == []


# --- Documents --------------------------------------------------------------------------------------------------------


def test_changed_lines_come_with_some_around_them() -> None:
    before = "\n".join(f"line {n}" for n in range(20))
    after = before.replace("line 10", "line ten")
    assert [tuple(line) for line in line_changes(before, after)] == [
        ("gap", ""),
        ("same", "line 8"),
        ("same", "line 9"),
        ("removed", "line 10"),
        ("added", "line ten"),
        ("same", "line 11"),
        ("same", "line 12"),
    ]
    assert line_changes(before, before) == []


@given(st.lists(st.text("ab\n", max_size=4), max_size=8), st.lists(st.text("ab\n", max_size=4), max_size=8))
def test_added_and_removed_lines_tell_the_whole_change(old: list[str], new: list[str]) -> None:
    before, after = "\n".join(old), "\n".join(new)
    shown = line_changes(before, after)
    removed = [line.text for line in shown if line.kind == "removed"]
    added = [line.text for line in shown if line.kind == "added"]
    rest_before, rest_after = before.splitlines(), after.splitlines()
    for text in removed:
        rest_before.remove(text)
    for text in added:
        rest_after.remove(text)
    assert sorted(rest_before) == sorted(rest_after)
