"""What lies between an import's two passes comes back as it was."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from annotation import spool
from annotation.records import AnswerRecord, AnswersRecord, DemonstrationRecord, PromptRecord, RankingRecord, Work
from annotation.spool import Spool

texts = some.text(max_size=20)
times = some.none() | some.datetimes(
    timezones=some.sampled_from([UTC, timezone(timedelta(hours=8))]), min_value=datetime(1990, 1, 1)
)
prompts = some.builds(
    PromptRecord,
    messages=some.lists(some.fixed_dictionaries({"role": texts, "content": texts}), max_size=3),
    category=texts,
    source_id=texts,
)
works = some.builds(
    Work, labeler=texts, started_at=times, submitted_at=times, active_seconds=some.floats(0, 1e6), guideline=texts
)
answers = some.lists(
    some.builds(
        AnswerRecord,
        text=texts,
        rank=some.none() | some.integers(1, 16),
        rating=some.none() | some.integers(1, 7),
        flags=some.lists(texts, max_size=2).map(tuple),
    ),
    max_size=3,
)
json_values = some.none() | some.booleans() | some.integers() | texts | some.lists(texts, max_size=2)
records = (
    prompts
    | some.builds(DemonstrationRecord, prompt=prompts, text=texts, work=works)
    | some.builds(AnswersRecord, prompt=prompts, answers=answers)
    | some.builds(
        RankingRecord,
        prompt=prompts,
        answers=answers,
        work=works,
        prompt_fields=some.dictionaries(texts, json_values, max_size=3),
    )
)


@given(
    some.lists(
        some.tuples(
            some.integers(0, 9), some.integers(0, 9), some.lists(some.tuples(some.integers(1, 9), records), max_size=2)
        ),
        max_size=3,
    )
)
def test_blocks_come_back_as_they_were(blocks: list[Any]) -> None:
    with closing(Spool()) as kept:
        for block in blocks:
            kept.add(block)
        assert list(kept.blocks()) == blocks


def test_more_than_there_is_room_for_is_read_from_the_file_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MOST_BYTES", 10)
    with closing(Spool()) as kept:
        kept.add((1, 1, [(1, PromptRecord(messages=[{"role": "user", "content": "Where is the bakery?"}]))]))
        assert not kept.is_whole
