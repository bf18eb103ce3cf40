"""Files of rows, JSONL, a JSON list, CSV or Parquet, also packed, read as a stream: one row in memory at a time, every
refusal with its line number.

Pure: no table, no Django. Whatever the bytes are, what comes out is lines, or an ImportProblem.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, NoReturn

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.errors import ImportProblem
from annotation.parquet import MAGIC, ParquetText
from annotation.unpacking import unpacked

MAX_LINE_BYTES = 2_000_000
MAX_LINE_WORDS = "2 MB"
MAX_COLUMNS = 200
LOOKED_AT = 4096
LIST_BLOCK = 65_536
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CSV_ENDINGS = (".csv", ".tsv")
DELIMITERS = ",;\t"
TICK_ROWS = 10_000
JSON_COLUMNS = frozenset({"messages", "completions", "ranks", "flags", "ratings"})
NEEDED_COLUMNS = ("prompt", "messages", "instruction", "chosen")

# How other kinds of file begin, so that they are named instead of failing at their first byte.
SIGNATURES = (
    (b"PK\x03\x04", gettext_lazy("is a ZIP or Excel file. Save the sheet as CSV in UTF-8, or unpack it")),
    (b"\x89HDF", gettext_lazy("is an HDF5 file. Write it as JSONL or Parquet")),
    (b"%PDF", gettext_lazy("is a PDF file. Write it as JSONL or CSV")),
    (b"ARROW1", gettext_lazy("is an Arrow file. Write it as Parquet")),
    (b"SQLite format 3", gettext_lazy("is a SQLite database. Export the table as CSV or JSONL")),
    (b"\xff\xfe", gettext_lazy("is in UTF-16. Save it as UTF-8")),
    (b"\xfe\xff", gettext_lazy("is in UTF-16. Save it as UTF-8")),
)


@dataclass(frozen=True)
class Line:
    """A row with the number of the line on which it begins, or what is wrong with it."""

    number: int
    row: dict[str, Any] | None = None
    problem: str = ""


def read_lines(
    file: IO[bytes],
    filename: str,
    *,
    skip: int = 0,
    any_columns: bool = False,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[Line]:
    """Yield the file's rows in order, empty lines left out, the first `skip` of them too.

    any_columns: CSV columns need not have names that we know, since a mapping says what they are.
    tick: called now and then while rows are skipped.
    Raises: ImportProblem where the file as a whole can't be read; a single bad line is yielded with its problem.
    """
    stream = unpacked(file)
    first = stream.peek(LOOKED_AT)
    if not first:
        raise ImportProblem(_("The file is empty."))
    if first.startswith(MAGIC):
        return skipped(parquet_rows(file), skip, tick)
    check_signature(first)
    if is_csv(first, filename):
        return skipped(csv_rows(raw_lines(stream), delimiter_of(first), any_columns), skip, tick)
    if first.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"["):
        return skipped(list_rows(stream), skip, tick)
    return json_rows(full_lines(raw_lines(stream), skip, tick))


def parquet_rows(file: IO[bytes]) -> Iterator[Line]:
    """The rows of a Parquet file, numbered from 1."""
    file.seek(0)
    if not file.read(len(MAGIC)).startswith(MAGIC):
        raise ImportProblem(_("This Parquet file is packed once more. Unpack it, then import it again."))
    text = ParquetText(file)
    try:
        yield from json_rows(raw_lines(io.BufferedReader(text, LIST_BLOCK)))
    finally:
        text.close()


def skipped(lines: Iterator[Line], skip: int, tick: Callable[[], object]) -> Iterator[Line]:
    """The lines after the first so many, which are read all the same."""
    for number, _line in enumerate(islice(lines, skip)):
        if number % TICK_ROWS == 0:
            tick()
    return lines


def full_lines(
    lines: Iterator[tuple[int, bytes]], skip: int, tick: Callable[[], object]
) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, after the first so many, which nobody parses again."""
    for number, raw in lines:
        text = raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw
        if not text.strip():
            continue
        if skip:
            skip -= 1
            if skip % TICK_ROWS == 0:
                tick()
            continue
        yield number, raw


def raw_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (number, bytes) of each line; of a line that is too long, its beginning alone, past the limit by a byte."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            skip_rest_of_line(file, line)
        yield number, line


def skip_rest_of_line(file: IO[bytes], line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE_BYTES)


def check_signature(first: bytes) -> None:
    for signature, words in SIGNATURES:
        if first.startswith(signature):
            raise ImportProblem(_("This file %(words)s, then import it again.") % {"words": words})
    if first.count(0) * 5 > len(first):
        raise ImportProblem(
            _("This file holds NUL bytes: it is in UTF-16, or no text at all. Save it as UTF-8, then import it again.")
        )


def is_csv(first: bytes, filename: str) -> bool:
    """By its name, or where that says nothing, by its first character."""
    name = filename.lower().removesuffix(".gz").removesuffix(".zst").removesuffix(".zstd")
    if name.endswith(CSV_ENDINGS):
        return True
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return False
    return not first.removeprefix(BYTE_ORDER_MARK).lstrip().startswith((b"{", b"["))


def decode(number: int, raw: bytes) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise ImportProblem(_("the line is longer than %(limit)s") % {"limit": MAX_LINE_WORDS})
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as problem:
        raise ImportProblem(
            _("the line is not UTF-8 at its byte %(number)s; save the file as UTF-8") % {"number": problem.start + 1}
        ) from None
    if "\0" in text:
        raise ImportProblem(_("the line holds a NUL character; remove it"))
    return text


# --- JSONL -----------------------------------------------------------------------------------------


def json_rows(lines: Iterator[tuple[int, bytes]]) -> Iterator[Line]:
    for number, raw in lines:
        try:
            text = decode(number, raw).strip()
            if text:
                yield Line(number, row=json_row(parse_json(text)))
        except ImportProblem as problem:
            yield Line(number, problem=problem.message)


def json_row(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ImportProblem(_("the line is not a JSON object; write {...} on each line"))
    return value


# --- A JSON list -----------------------------------------------------------------------------------


def list_rows(stream: IO[bytes]) -> Iterator[Line]:
    """Yield the rows of a list, numbered by the line on which they begin; one row is in memory at a time.

    What is no JSON stops the file as a whole: where the next row would begin can't be known.
    """
    text = ListText(stream)
    text.expect("[")
    if text.next_character() == "]":
        return
    while True:
        text.next_character()
        number = text.number
        value = text.value()
        try:
            yield Line(number, row=json_row(value))
        except ImportProblem as problem:
            yield Line(number, problem=problem.message)
        if text.expect(",", "]") == "]":
            return


class ListText:
    """The text of a JSON list from where it was read to."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.number, self.ended = "", 1, False

    def value(self) -> Any:
        """Read the next value. A text that breaks off is read on: by twice as much each time, so that a long value is
        not parsed again and again."""
        while True:
            try:
                value, end = WHOLE_JSON.raw_decode(self.text)
            except json.JSONDecodeError as problem:
                if self.ended or len(self.text) > MAX_LINE_BYTES:
                    raise self.unreadable(f"{problem.msg}") from None
            except ImportProblem as problem:
                raise self.unreadable(problem.message) from None
            except RecursionError:
                raise self.unreadable(_("it is nested too deeply")) from None
            except ValueError:  # a number of thousands of digits
                raise self.unreadable(_("it holds a number that is too long")) from None
            else:
                if end < len(self.text) or self.ended:
                    self.take(end)
                    return value
            self.read_on()

    def expect(self, *marks: str) -> str:
        found = self.next_character()
        if found not in marks:
            raise self.unreadable(_("expected %(marks)s") % {"marks": " or ".join(marks)})
        self.take(1)
        return found

    def next_character(self) -> str:
        """The next one that is no space; nothing at the end."""
        while True:
            stripped = self.text.lstrip(" \t\r\n")
            self.take(len(self.text) - len(stripped))
            if self.text or self.ended:
                return self.text[:1]
            self.read_on()

    def take(self, count: int) -> None:
        self.number += self.text.count("\n", 0, count)
        self.text = self.text[count:]

    def read_on(self) -> None:
        block = self.stream.read(max(LIST_BLOCK, len(self.text)))
        self.ended = not block
        try:
            self.text += self.decoder.decode(block, final=self.ended)
        except UnicodeDecodeError:
            raise self.unreadable(_("it is not UTF-8; save the file as UTF-8")) from None
        if "\0" in self.text:
            raise self.unreadable(_("it holds a NUL character"))

    def unreadable(self, why: str) -> ImportProblem:
        return ImportProblem(
            _("The list can't be read from line %(number)s on: %(why)s. A row a line (JSONL) is read in any case.")
            % {"number": self.number, "why": why}
        )


def parse_json(text: str) -> Any:
    """Parse JSON as its standard has it; whatever is wrong with it is an ImportProblem."""
    try:
        return WHOLE_JSON.decode(text)
    except RecursionError:
        raise ImportProblem(_("the JSON is nested too deeply")) from None
    except json.JSONDecodeError as problem:
        words = _("the line is not JSON: %(problem)s at character %(place)s")
        raise ImportProblem(words % {"problem": problem.msg, "place": problem.pos + 1}) from None
    except ValueError:  # a number of thousands of digits
        raise ImportProblem(_("the line holds a number that is too long")) from None


def refuse_constant(name: str) -> NoReturn:
    raise ImportProblem(_("the line holds %(name)s, which is not JSON; write a number or null") % {"name": name})


def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different: of a name that comes twice nobody knows which value was meant."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _value in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ImportProblem(_("the name %(name)s comes twice in one object; remove one") % {"name": f"{twice!r:.40}"})
    return made


WHOLE_JSON = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=refuse_twice)


# --- CSV -------------------------------------------------------------------------------------------


def delimiter_of(first: bytes) -> str:
    """What stands between the names of the header: a comma, or as many spreadsheets write, a semicolon or a tab."""
    header = first.split(b"\n", 1)[0].decode(errors="replace")
    return max(DELIMITERS, key=header.count)


def csv_rows(lines: Iterator[tuple[int, bytes]], delimiter: str = ",", any_columns: bool = False) -> Iterator[Line]:
    """Yield the rows below the header. Cells are text, whatever they look like; empty ones count as missing.

    A byte that can't be read stops a CSV file as a whole: a quote that it hid could have joined the lines around it.
    """
    # The limit is the process's own; it only ever grows to what one of our lines may hold.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    reader = csv.reader(decoded(lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    begins = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as problem:
            raise ImportProblem(
                _("Line %(begins)s can't be read as CSV (%(problem)s). Look at its quotes.")
                % {"begins": begins, "problem": problem}
            ) from None
        if any(cell.strip() for cell in cells):
            if header is None:
                header = check_header(cells, any_columns)
            else:
                yield csv_row(begins, header, cells)
        begins = reader.line_num + 1
    if header is None:
        raise ImportProblem(_("The file is empty."))


def decoded(lines: Iterator[tuple[int, bytes]]) -> Iterator[str]:
    for number, raw in lines:
        try:
            yield decode(number, raw)
        except ImportProblem as problem:
            raise ImportProblem(
                _("Line %(number)s: %(problem)s.") % {"number": number, "problem": problem.message}
            ) from None


def check_header(cells: list[str], any_columns: bool = False) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    if len(header) > MAX_COLUMNS:
        raise ImportProblem(
            _("Line 1 has %(count)s columns; at most %(limit)s are read. Is this the right file?")
            % {"count": len(header), "limit": MAX_COLUMNS}
        )
    if not any_columns and not set(header) & set(NEEDED_COLUMNS):
        raise ImportProblem(
            _("Line 1 must name the columns, one of them being %(known)s. Add a header row.")
            % {"known": ", ".join(NEEDED_COLUMNS)}
        )
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise ImportProblem(_("Line 1 names a column twice. Rename one of them."))
    return header


def csv_row(number: int, header: list[str], cells: list[str]) -> Line:
    if len(cells) > len(header):
        words = _("the line has %(cells)s cells and the header %(columns)s; look at its quotes")
        return Line(number, problem=words % {"cells": len(cells), "columns": len(header)})
    row: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=False):
        if not name or not cell.strip():
            continue
        try:
            row[name] = parse_json(cell) if name in JSON_COLUMNS else cell
        except ImportProblem as problem:
            return Line(number, problem=_("column %(name)s: %(problem)s") % {"name": name, "problem": problem.message})
    return Line(number, row=row)
