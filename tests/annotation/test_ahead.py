"""Items that are made ahead are the same items, and what goes wrong goes wrong where they are used."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.ahead import ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ahead"]


@given(st.lists(st.integers() | st.none()))
def test_the_items_are_the_same(items: list[int | None]) -> None:
    with ahead(iter(items)) as found:
        assert list(found) == items
    assert not threads()


def test_the_next_one_is_made_while_one_is_used() -> None:
    second = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    with ahead(items()) as found:
        assert next(found) == 1
        assert second.wait(10)
        assert list(found) == [2]


def test_no_more_are_made_than_are_soon_used() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with ahead(items()) as found:
        for number in found:
            assert len(made) <= number + 3  # in use, in the queue, in the maker's hand


def test_an_error_comes_behind_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone"), ahead(items()) as found:
        for number in found:
            seen.append(number)
    assert seen == [1] and not threads()


def test_whoever_leaves_early_leaves_no_thread_behind() -> None:
    with pytest.raises(KeyError), ahead(iter(range(1000))) as found:
        assert next(found) == 0
        raise KeyError
    assert not threads()
