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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import zstandard

from training.canonical import canonical_json
from training.exports import Column

Row = Mapping[str, Any]
CHUNK = 64 * 1024
ROWS_A_GROUP = 5000
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""A text that begins so is given an apostrophe; one that begins with an apostrophe too, so that reading can undo it."""


# --- Columns -----------------------------------------------------------------------------------------


def shaped(value: Any, column: Column) -> Any:
    """The value as the column holds it. Raises KeyError for a field that the column does not know: none is lost."""
    if value is None:
        return None
    if column == "json":
        return canonical_json(value)
    if isinstance(column, list):
        return [shaped(item, column[0]) for item in value]
    if isinstance(column, dict):
        if unknown := set(value) - set(column):
            raise KeyError(f"no column for {', '.join(sorted(unknown))}")
        return {name: shaped(value.get(name), inner) for name, inner in column.items()}
    return value


def shaped_row(row: Row, columns: Mapping[str, Column]) -> dict[str, Any]:
    return dict(shaped(row, dict(columns)))


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

    def line(cells: Iterable[Any]) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue().encode()

    yield line(columns)
    for row in rows:
        yield line(cell(row.get(name), column) for name, column in columns.items())


def cell(value: Any, column: Column) -> Any:
    if value is None:
        return ""
    if column == "str":
        return f"'{value}" if value.startswith(FORMULA) else value
    if column in ("int", "float"):
        return value
    return canonical_json(value)


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """One gz stream; without time and name in its head, so that the same rows are the same bytes."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def zstandarded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zstandard.ZstdCompressor(level=6).compressobj()
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
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
    with closing(pq.ParquetWriter(path, schema, compression="zstd")) as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append(shaped_row(row, columns))
            if len(group) >= ROWS_A_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group.clear()
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


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
