"""Rows into files: JSON lines (plain, gz, zst), Parquet, CSV. Pure; a chunk of rows in memory at a time.

Tables need columns of one shape: what differs from row to row ("json" columns) is written as JSON text there, and what
a row lacks is null. In CSV all that is no text or number is JSON text, and a text that a spreadsheet would take for a
formula gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import zstandard

from training.canonical import canonical_json
from training.exports import Column

Row = Mapping[str, Any]
CHUNK = 64 * 1024
MOST_WAITING = 4
ROWS_A_GROUP = 2000  # two groups are held at once: with 5000 a worker came to 319 MB on rankings of 2.5 kB
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""A text that begins so is given an apostrophe; one that begins with an apostrophe too, so that reading can undo it."""


# --- Columns -----------------------------------------------------------------------------------------


Shape = Callable[[Any], Any]


def shape_of(column: Column) -> Shape | None:
    """What makes a value what the column holds; None where each value is that already.

    It raises KeyError for a field that the column does not know: none is lost.
    """
    if column == "json":
        return json_text
    if isinstance(column, list):
        inner = shape_of(column[0])
        return None if inner is None else partial(shaped_list, inner)
    if isinstance(column, dict):
        return fields_shape(column)
    return None


def fields_shape(columns: Mapping[str, Column]) -> Shape:
    shapes = {name: shape_of(inner) for name, inner in columns.items()}
    return partial(shaped_fields if any(shapes.values()) else whole_fields, shapes)


def json_text(value: Any) -> str | None:
    if value is None:
        return None
    return "{}" if value == {} else canonical_json(value)  # most such values are empty


def shaped_list(inner: Shape, values: Any) -> Any:
    return None if values is None else [inner(value) for value in values]


def shaped_fields(shapes: Mapping[str, Shape | None], value: Any) -> Any:
    if value is None:
        return None
    whole = whole_fields(shapes, value)
    return {name: whole[name] if shape is None else shape(whole[name]) for name, shape in shapes.items()}


def whole_fields(shapes: Mapping[str, Shape | None], value: Any) -> Any:
    """The value with null for each field that it lacks."""
    if value is None or value.keys() == shapes.keys():
        return value
    if unknown := set(value) - set(shapes):
        raise KeyError(f"no column for {', '.join(sorted(unknown))}")
    return {name: value.get(name) for name in shapes}


def row_shape(columns: Mapping[str, Column]) -> Callable[[Row], dict[str, Any]]:
    """What makes a row one of the table's."""
    return fields_shape(columns)


def shaped_row(row: Row, columns: Mapping[str, Column]) -> dict[str, Any]:
    return row_shape(columns)(row)


def arrow_type(column: Column) -> Any:
    import pyarrow as pa

    if isinstance(column, list):
        return pa.list_(arrow_type(column[0]))
    if isinstance(column, dict):
        return pa.struct([(name, arrow_type(inner)) for name, inner in column.items()])
    return {"str": pa.string(), "json": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}[
        column
    ]


# --- Files -------------------------------------------------------------------------------------------


def json_lines(rows: Iterable[Row]) -> Iterator[bytes]:
    return (canonical_json(row).encode() + b"\n" for row in rows)


def csv_lines(rows: Iterable[Row], columns: Mapping[str, Column]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    cells = [(name, cell_of(column)) for name, column in columns.items()]

    def line(values: Iterable[Any]) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(values)
        return buffer.getvalue().encode()

    yield line(columns)
    for row in rows:
        yield line([cell(row.get(name)) for name, cell in cells])


def cell_of(column: Column) -> Callable[[Any], Any]:
    """What makes a value of this column a cell."""
    if column == "str":
        return text_cell
    return number_cell if column in ("int", "float") else json_cell


def text_cell(value: str | None) -> str:
    if value is None:
        return ""
    return f"'{value}" if value.startswith(FORMULA) else value


def number_cell(value: float | None) -> Any:
    return "" if value is None else value


def json_cell(value: Any) -> str:
    return "" if value is None else canonical_json(value)


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """One gz stream; without time and name in its head, so that the same rows are the same bytes."""
    return packed_aside(pieces, zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS))


def zstandarded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    return packed_aside(pieces, zstandard.ZstdCompressor(level=6).compressobj())


class Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def packed_aside(pieces: Iterable[bytes], packer: Packer) -> Iterator[bytes]:
    """Packed in a thread of its own, so that another core has that work while the next rows are made."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting: deque[Future[bytes]] = deque()
        for piece in gathered(pieces):
            waiting.append(thread.submit(packer.compress, piece))
            if len(waiting) > MOST_WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    yield packer.flush()


Pack = Callable[[Iterable[bytes]], Iterable[bytes]]
LINE_PACKS: dict[str, Pack] = {"jsonl": iter, "jsonl.gz": gzipped, "jsonl.zst": zstandarded}
CONTAINERS = (*LINE_PACKS, "csv", "parquet")
TABLES = frozenset({"csv", "parquet"})
CONTENT_TYPES = {
    "jsonl": "application/x-ndjson; charset=utf-8",
    "jsonl.gz": "application/gzip",
    "jsonl.zst": "application/zstd",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "zip": "application/zip",
}


def stream(rows: Iterable[Row], container: str, columns: Mapping[str, Column] | None) -> Iterator[bytes]:
    """The file's bytes as they come; for all but Parquet, which needs a file to be written to."""
    if container == "csv":
        assert columns is not None
        return gathered(csv_lines(rows, columns))
    return gathered(LINE_PACKS[container](json_lines(rows)))


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of a useful size: a web server sends each by itself."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= CHUNK:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def write_file(path: Path, rows: Iterable[Row], container: str, columns: Mapping[str, Column] | None) -> None:
    """Write the file whole, aside first: a name in place is a finished file."""
    aside = path.with_name(f"{path.name}.part")
    if container == "parquet":
        assert columns is not None
        write_parquet(aside, rows, columns)
    else:
        with aside.open("wb") as target:
            for piece in stream(rows, container, columns):
                target.write(piece)
    aside.replace(path)


def write_parquet(path: Path, rows: Iterable[Row], columns: Mapping[str, Column]) -> None:
    """Row groups of some thousand rows, each written and forgotten before the next."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, arrow_type(column)) for name, column in columns.items()])
    iterator = map(row_shape(columns), rows)
    with closing(pq.ParquetWriter(path, schema, compression="zstd")) as writer, ThreadPoolExecutor(1) as thread:
        writing: Future[None] | None = None
        while group := list(islice(iterator, ROWS_A_GROUP)):
            table = pa.Table.from_pylist(group, schema=schema)
            if writing is not None:
                writing.result()
            writing = thread.submit(writer.write_table, table)  # packed there while the next rows are made
        if writing is not None:
            writing.result()


# --- Back ------------------------------------------------------------------------------------------------


def unshaped(value: Any, column: Column) -> Any:
    """What `shaped` was given, but that a field which was not there is null."""
    if value is None:
        return None
    if column == "json":
        return json.loads(value)
    if isinstance(column, list):
        return [unshaped(item, column[0]) for item in value]
    if isinstance(column, dict):
        return {name: unshaped(value.get(name), inner) for name, inner in column.items()}
    return value


def read_parquet(path: Path, columns: Mapping[str, Column]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with closing(pq.ParquetFile(path)) as file:
        for batch in file.iter_batches(batch_size=ROWS_A_GROUP):
            for row in batch.to_pylist():
                yield unshaped(row, dict(columns))


def read_csv(path: Path, columns: Mapping[str, Column]) -> Iterator[dict[str, Any]]:
    """As we write it: an empty cell of a text is the empty text, any other is null."""
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            yield {name: uncell(row[name], column) for name, column in columns.items()}


def uncell(text: str, column: Column) -> Any:
    if column == "str":
        return text[1:] if text.startswith("'") else text
    if text == "":
        return None
    if column in ("int", "float"):
        return int(text) if column == "int" else float(text)
    return json.loads(text)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """JSON lines, packed or not."""
    with path.open("rb") as raw:
        if path.name.endswith(".gz"):
            lines: Any = gzip.GzipFile(fileobj=raw)
        elif path.name.endswith(".zst"):
            lines = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw))
        else:
            lines = raw
        for line in lines:
            yield json.loads(line)
