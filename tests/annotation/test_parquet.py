"""Parquet files: row by row whatever they hold, and what is hostile in one befalls a process of its own."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.errors import ImportProblem
from annotation.lines import read_lines


def parquet(rows: list[dict[str, Any]], **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, **options)
    file.seek(0)
    return file


def read(file: io.BytesIO, skip: int = 0) -> list[tuple[int, Any]]:
    return [(line.number, line.row or line.problem) for line in read_lines(file, "x.parquet", skip=skip)]


def test_nested_rows_of_several_groups_come_one_after_another_and_from_any_place() -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Warum {number}?"}],
            "completions": ["a", None, "ß"],
            "score": 0.5 if number % 2 else float("nan"),
            "at": datetime(2024, 5, 5, tzinfo=UTC),
            "price": Decimal("1.5"),
        }
        for number in range(25)
    ]
    found = read(parquet(rows, row_group_size=10))
    assert [number for number, _row in found] == list(range(1, 26))
    assert found[3][1] == {
        "prompt": [{"role": "user", "content": "Warum 3?"}],
        "completions": ["a", None, "ß"],
        "score": 0.5,
        "at": "2024-05-05T00:00:00+00:00",
        "price": 1.5,
    }
    assert found[4][1]["score"] is None
    assert read(parquet(rows, row_group_size=10), skip=20) == found[20:]


def test_a_text_that_is_too_long_is_one_bad_line_among_good_ones() -> None:
    found = read(parquet([{"prompt": "a"}, {"prompt": "x" * 2_000_001}, {"prompt": "b"}]))
    assert found[0][1] == {"prompt": "a"} and "longer than 2 MB" in found[1][1] and found[2][1] == {"prompt": "b"}


@pytest.fixture(scope="module")
def whole() -> bytes:
    return parquet([{"prompt": f"Why {number}?", "n": number} for number in range(300)]).getvalue()


def harmed(whole: bytes) -> Iterator[tuple[str, bytes]]:
    yield "cut off", whole[:-20]
    yield "no footer", whole[:4] + b"\xff" * 40 + b"PAR1"
    yield "a footer of 2 GB", whole[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1"
    yield "noise in the pages", whole[:8] + os.urandom(200) + whole[208:]
    yield "noise in the footer", whole[:-200] + os.urandom(180) + whole[-20:]


@pytest.mark.parametrize(
    "name", ["cut off", "no footer", "a footer of 2 GB", "noise in the pages", "noise in the footer"]
)
def test_a_damaged_file_gets_a_sentence(whole: bytes, name: str) -> None:
    with pytest.raises(ImportProblem, match="Parquet file"):
        read(io.BytesIO(dict(harmed(whole))[name]))


def test_bytes_that_are_no_text_get_a_sentence() -> None:
    with pytest.raises(ImportProblem, match="no text in UTF-8"):
        read(parquet([{"prompt": b"\xff\xfe"}]))


def test_a_column_that_unpacks_without_end_is_stopped() -> None:
    text = "x" * 100_000
    table = pa.table({"prompt": pa.array([text] * 2000).dictionary_encode()})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    file.seek(0)
    assert file.getbuffer().nbytes < 200_000
    with pytest.raises(ImportProblem, match="unpacks to more than"):
        for _line in read_lines(file, "x.parquet"):
            pass


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(4, 3000), noise=st.binary(min_size=1, max_size=40))
def test_whatever_is_changed_in_a_file_it_is_rows_or_a_sentence(whole: bytes, place: int, noise: bytes) -> None:
    place %= len(whole)
    try:
        for line in read_lines(io.BytesIO(whole[:place] + noise + whole[place + len(noise) :]), "x.parquet"):
            assert line.row is not None or line.problem
    except ImportProblem as problem:
        assert problem.message.endswith(".")


def test_a_page_that_takes_much_memory_is_refused_and_a_row_group_of_any_size_is_not() -> None:
    texts = [f"a text of the row {number}, " * 400 for number in range(16_000)]  # 150 MB, and packs to nearly nothing
    rows = pa.table({"prompt": texts})
    one_page = io.BytesIO()
    pq.write_table(rows, one_page, use_dictionary=False, data_page_size=1 << 30, row_group_size=16_000)
    one_page.seek(0)
    with pytest.raises(ImportProblem, match="more memory than is given"):
        read(one_page)
    one_group = io.BytesIO()
    pq.write_table(rows, one_group, use_dictionary=False, row_group_size=16_000)
    one_group.seek(0)
    lines = read_lines(one_group, "x.parquet")
    assert sum(1 for _line in islice(lines, 2000)) == 2000
