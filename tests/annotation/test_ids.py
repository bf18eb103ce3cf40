from __future__ import annotations

import time

import pytest

from annotation import ids
from annotation.ids import uuid7


def test_ids_are_version_seven_and_sort_by_age() -> None:
    made = [uuid7() for _ in range(2000)]
    assert all(key.version == 7 and key.variant == "specified in RFC 4122" for key in made)
    assert sorted(made) == made
    assert sorted(made, key=str) == made


def test_a_clock_that_stands_still_or_is_set_back_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    clock = iter([now, now, now - 10**9, now + 10**9])
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(clock))
    made = [uuid7() for _ in range(4)]
    assert sorted(made) == made
