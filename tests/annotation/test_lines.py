"""Files as they come: what is read, what is refused, and that nothing but a sentence comes of anything."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from annotation.errors import ImportProblem
from annotation.lines import MAX_LINE_BYTES, Line, read_lines


def read(data: bytes | str, filename: str = "") -> list[Line]:
    return list(read_lines(io.BytesIO(data if isinstance(data, bytes) else data.encode()), filename))


def problems(data: bytes | str, filename: str = "x.jsonl") -> dict[int, str]:
    return {line.number: line.problem for line in read(data, filename) if line.row is None}


def test_jsonl_is_a_row_a_line_with_its_number() -> None:
    lines = read('{"prompt": "a"}\n\n  {"prompt": "猫"}\r\n{"prompt": "c"}')
    assert [(line.number, line.row) for line in lines] == [
        (1, {"prompt": "a"}),
        (3, {"prompt": "猫"}),
        (4, {"prompt": "c"}),
    ]


def test_a_byte_order_mark_is_no_text() -> None:
    assert read(b'\xef\xbb\xbf{"prompt": "a"}')[0].row == {"prompt": "a"}
    assert read(b"\xef\xbb\xbfprompt\na", "x.csv")[0].row == {"prompt": "a"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"prompt": "a"', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"prompt": NaN}', "NaN, which is not JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "number that is too long"),
        (b'{"prompt": "\x00"}', "NUL"),
        (b'{"prompt": "caf\xe9"}', "not UTF-8 at its byte 16"),
        (b'{"prompt": "' + b"x" * MAX_LINE_BYTES + b'"}', "longer than 2 MB"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_read(line: bytes, words: str) -> None:
    lines = read(b'{"prompt": "a"}\n' + line + b'\n{"prompt": "b"}\n', "x.jsonl")
    assert [found.row for found in lines] == [{"prompt": "a"}, None, {"prompt": "b"}]
    assert lines[1].number == 2
    assert words in lines[1].problem


def test_a_huge_line_is_not_held_in_memory() -> None:
    class Endless(io.RawIOBase):
        """Two gigabytes without a line's end, then a row."""

        left = 2_000_000_000
        largest = 0

        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None and size > 0
            self.largest = max(self.largest, size)
            if self.left <= 0:
                self.left = -1
                return b""
            self.left -= size
            return b"x" * size

    file = Endless()
    lines = list(read_lines(file, "x.jsonl"))  # type: ignore[arg-type]
    assert [line.problem for line in lines] == ["the line is longer than 2 MB"]
    assert file.largest <= MAX_LINE_BYTES + 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"PK\x03\x04whatever", "Excel"),
        (b"PAR1whatever", "Parquet"),
        ('{"prompt": "a"}'.encode("utf-16"), "UTF-16"),
    ],
)
def test_another_kind_of_file_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ImportProblem, match=words):
        read(data, "x.json")


# --- Packed files ----------------------------------------------------------------------------------

ROWS = b"".join(b'{"prompt": "%d"}\n' % number for number in range(1000))


# Named: gzip's bytes hold the time, and two test processes must give a test the same name.
@pytest.mark.parametrize(
    "packed",
    [gzip.compress(ROWS), zstandard.compress(ROWS), gzip.compress(ROWS[:50]) * 3],
    ids=["gzip", "zstandard", "gzip, thrice"],
)
def test_packed_files_are_read_as_they_are(packed: bytes) -> None:
    plain = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else zstandard.decompress(packed)
    assert read(packed, "x.jsonl.gz") == read(plain, "x.jsonl")
    assert read(gzip.compress(b"prompt\na\n"), "x.csv.gz")[0].row == {"prompt": "a"}


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_damaged_and_monstrous_files_are_refused(pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ImportProblem, match="damaged"):
        read(pack(ROWS)[:-20])
    with pytest.raises(ImportProblem, match="200 times its size"):
        read(pack(b'{"prompt": "' + b"x" * 200 * 2**20 + b'"}\n'))


# --- JSON lists ------------------------------------------------------------------------------------


def test_a_list_is_read_row_by_row_with_the_lines_they_begin_on() -> None:
    lines = read('\ufeff [\n {"prompt": "a"},\n 7 , {"prompt":\n"猫"}\n]\n', "x.json")
    assert [(line.number, line.row) for line in lines] == [(2, {"prompt": "a"}), (3, None), (3, {"prompt": "猫"})]
    assert "not a JSON object" in lines[1].problem
    assert read(" [ ] ") == []


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.lists(st.text())), max_size=20))
def test_a_list_says_what_the_whole_parser_says(rows: list[dict[str, object]]) -> None:
    for spaced in (None, 1):
        assert [line.row for line in read(json.dumps(rows, indent=spaced), "x.json")] == rows


def test_rows_larger_than_a_block_are_read_and_larger_than_a_row_may_be_refused() -> None:
    large = {"prompt": "é" * 300_000}
    rows = [large, {"prompt": "b"}]
    assert [line.row for line in read(json.dumps(rows, ensure_ascii=False))] == rows
    with pytest.raises(ImportProblem, match="line 2 on"):
        read('[{"prompt": "a"},\n{"prompt": "' + "x" * 6_000_000 + '"}]')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'[{"prompt": "a"}', "line 1 on"),
        (b'[{"prompt": "a"}\n{"prompt": "b"}]', "line 2 on: expected , or \\]"),
        (b'[{"prompt": "a",}]', "line 1 on"),
        (b'[{"prompt": NaN}]', "NaN"),
        (b'[{"prompt": "caf\xe9"}]', "UTF-8"),
        (b'[{"prompt": "\x00"}]', "NUL"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 10_000 + b"]", "too long"),
    ],
)
def test_a_list_that_breaks_is_refused_with_its_line(text: bytes, words: str) -> None:
    with pytest.raises(ImportProblem, match=words):
        read(text, "x.json")


# --- CSV -------------------------------------------------------------------------------------------


def test_csv_cells_are_text_whatever_they_look_like() -> None:
    data = 'Prompt ,category,\n"=1+1, said\nshe",,dropped\n007,chat\n\n,\n[1],x\n'
    assert [(line.number, line.row) for line in read(data, "x.csv")] == [
        (2, {"prompt": "=1+1, said\nshe"}),
        (4, {"prompt": "007", "category": "chat"}),
        (7, {"prompt": "[1]", "category": "x"}),
    ]


def test_csv_columns_of_lists_are_json() -> None:
    row = read('messages,ranks\n"[{""role"": ""user"", ""content"": ""a""}]","[1, 2]"\n', "x.csv")[0].row
    assert row == {"messages": [{"role": "user", "content": "a"}], "ranks": [1, 2]}


def test_csv_lines_that_do_not_fit_their_header_are_named() -> None:
    found = problems('prompt,ranks\na,"[1,"\nb,"[1]",c\n', "x.csv")
    assert "column ranks" in found[2] and "not JSON" in found[2]
    assert "3 cells and the header 2" in found[3]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Why is the sky blue?\nbecause\n", "Add a header row"),
        (b"\n \n", "empty"),
        (b"prompt,prompt\na,b", "names a column twice"),
        (b'prompt\n"a', "can't be read as CSV"),
        (b'prompt\n"a"b\n', "Line 2 can't be read as CSV"),
        (b"prompt\ncaf\xe9\n", "Line 2: the line is not UTF-8"),
        (b"prompt\na\x00b\n", "Line 2: the line holds a NUL"),
        (b'prompt\n"' + b"x\n" * 2_000_000, "Line 2 can't be read as CSV"),
        (b"prompt" + b",a" * 300, "302 columns|301 columns"),
    ],
)
def test_csv_that_cannot_be_read_is_refused_with_its_line(data: bytes, words: str) -> None:
    with pytest.raises(ImportProblem, match=words):
        read(data, "x.csv")


def test_the_kind_of_file_is_told_by_name_or_first_character() -> None:
    assert read('{"prompt": "a"}', "x.txt")[0].row == {"prompt": "a"}
    assert read("prompt\na", "x.txt")[0].row == {"prompt": "a"}
    assert read('prompt\n{"prompt": "a"}', "X.CSV")[0].row == {"prompt": '{"prompt": "a"}'}


# --- Anything --------------------------------------------------------------------------------------

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
written = (
    st.lists(json_like.map(json.dumps) | st.text(max_size=30), max_size=6)
    .map("\n".join)
    .map(lambda text: text.encode(errors="surrogatepass"))
)


@given(st.binary(max_size=300) | written, st.sampled_from(["x.jsonl", "x.csv", "x"]))
@example(b'prompt\r"\r\n"', "x.csv")
@example(b'{"a": "\\ud800"}', "x.jsonl")
def test_anything_is_lines_or_an_import_problem(data: bytes, filename: str) -> None:
    try:
        lines = read(data, filename)
    except ImportProblem as problem:
        assert problem.message.endswith(".")
        return
    numbers = [line.number for line in lines]
    assert numbers == sorted(numbers)
    assert all((line.row is None) == bool(line.problem) for line in lines)


@given(st.lists(st.dictionaries(st.text(max_size=5), json_like, max_size=3), min_size=1, max_size=5))
def test_what_json_writes_is_read_back(rows: list[dict[str, object]]) -> None:
    written = "\n".join(json.dumps(row) for row in rows)
    if "NaN" in written or "Infinity" in written or "\\u0000" in written:
        return
    assert [line.row for line in read(written, "x.jsonl")] == rows


# --- More that is hostile, or only foreign -----------------------------------------------------------


def test_a_name_that_comes_twice_in_one_object_is_refused() -> None:
    lines = list(
        read_lines(io.BytesIO(b'{"prompt": "a", "prompt": "b"}\n{"a": {"b": 1, "b": 2}}\n{"prompt": "c"}'), "x.jsonl")
    )
    assert ["comes twice" in line.problem for line in lines] == [True, True, False]


def test_utf_16_without_a_mark_is_named() -> None:
    with pytest.raises(ImportProblem, match="UTF-16"):
        list(read_lines(io.BytesIO('{"prompt": "Why?"}'.encode("utf-16-le")), "x.jsonl"))


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_the_delimiter_is_told_by_the_header(delimiter: str) -> None:
    text = (
        delimiter.join(["prompt", "category"])
        + "\n"
        + delimiter.join(["Why; not?" if delimiter != ";" else "Why?", "chat"])
    )
    (line,) = read_lines(io.BytesIO(text.encode()), "x.csv")
    assert line.row is not None and line.row["category"] == "chat"


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.one_of(st.just(b""), st.just(b'{"a": 1}'), st.just(b"{"), st.just(b"\xff")), max_size=12),
    skip=st.integers(0, 14),
    name=st.sampled_from(["x.jsonl", "x.csv", "x.json"]),
)
def test_skipping_rows_leaves_those_that_reading_on_would_have_given(rows: list[bytes], skip: int, name: str) -> None:
    data = (b"\xef\xbb\xbfprompt\n" if name == "x.csv" else b"\xef\xbb\xbf") + b"\n".join(rows)

    def found(skip: int) -> object:
        try:
            return [(line.number, line.row, line.problem) for line in read_lines(io.BytesIO(data), name, skip=skip)]
        except ImportProblem as problem:
            return problem.message

    whole = found(0)
    assert found(skip) == (whole[skip:] if isinstance(whole, list) else whole)


def test_a_bomb_is_stopped_by_its_whole_size_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotation.unpacking.MOST_BYTES", 1 << 20)
    packed = gzip.compress(b"".join(b'{"prompt": "%d"}\n' % number for number in range(200_000)))
    with pytest.raises(ImportProblem, match="Split it into several"):
        list(read_lines(io.BytesIO(packed), "x.jsonl.gz"))
