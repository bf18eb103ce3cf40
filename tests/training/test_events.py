"""The core's events as they are read: whole lines only, nothing that a database refuses, and never an exception."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from training.events import EventFile, clean, messages, numbers, parse, whole

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\x00\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_a_complaint(line: bytes) -> None:
    json.dumps(parse(line).fields, allow_nan=False).encode()


@given(anything)
def test_any_values_become_clean(value: Any) -> None:
    event = parse(json.dumps({"event": "sample", "step": 3, "prompt": value, "metrics": value}).encode())
    assert event.kind == "sample"
    text = json.dumps(event.fields, allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text
    text.encode()
    json.dumps([messages(event.fields["prompt"]), numbers(event.fields["metrics"])], allow_nan=False).encode()


@given(anything)
def test_a_step_is_a_step_or_the_line_is_none(value: Any) -> None:
    event = parse(json.dumps({"event": "metrics", "step": value, "metrics": {}}).encode())
    assert event.kind == "garbage" or 0 <= event.step < 2**31


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 200), max_size=10))
def test_a_file_that_grows_is_read_whole_line_by_whole_line(
    tmp_path_factory: Any, lines: list[bytes], cuts: list[int]
) -> None:
    content = b"".join(
        json.dumps({"event": "metrics", "step": number, "metrics": {}}).encode() + b"\n" for number in range(len(lines))
    )
    path: Path = tmp_path_factory.mktemp("events") / "events.jsonl"
    file, steps = EventFile(path), []
    for end in [*sorted(cuts), len(content)]:
        path.write_bytes(content[:end])
        steps += [event.step for event in file.read()]
    assert steps == list(range(len(lines)))


def test_no_file_yet_is_no_event(tmp_path: Path) -> None:
    assert EventFile(tmp_path / "none").read() == []


def test_a_line_without_end_does_not_stop_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 3_000_000 + b'\n{"event": "stopped", "step": 3}\n')
    file, kinds = EventFile(path), []
    while found := file.read():
        kinds += [event.kind for event in found]
    assert kinds[-1] == "stopped"
    assert set(kinds[:-1]) == {"garbage"}


def test_numbers_are_finite_and_no_booleans() -> None:
    assert numbers({"a": 1, "b": True, "c": float("nan"), "d": "2", "e": 2.5}) == {"a": 1.0, "e": 2.5}
    assert [whole(value) for value in (3, 3.9, -1, True, "3", None, 2**40)] == [3, 3, 0, 0, 0, 0, 0]


def test_long_texts_are_cut_and_say_so() -> None:
    assert clean("x" * 50_000).endswith(" […]")
