"""The files that are brought in: the same rows for the same numbers, written as a stream.

A row of rankings is a prompt of some 160 characters with four answers of some 280, their ranks (one in five has a tie),
ratings, a flag now and then, who ranked and when: 1.7 kB of JSON. A demonstration is a prompt and an answer of the same
lengths. No two prompts are the same, and some are nearly: one in five hundred is an earlier one with a word changed.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

ANSWERS = 4
LABELERS = 40
CATEGORIES = ("generation", "open_qa", "brainstorming", "chat", "rewrite", "summarization")
SYLLABLES = ("ka", "lo", "mi", "ren", "tas", "ul", "vor", "en", "di", "sho", "pra", "ne", "quo", "bel", "gra", "ish")
ROWS_A_GROUP = 5000
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

Row = dict[str, Any]


class Words:
    """Texts out of a stock of sentences: quick to make, and no two long ones alike."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        words = ["".join(self.random.choices(SYLLABLES, k=self.random.randint(1, 4))) for _ in range(3000)]
        lengths = (self.random.randint(9, 16) for _ in range(20_000))
        self.sentences = [" ".join(self.random.choices(words, k=length)).capitalize() + "." for length in lengths]

    def text(self, sentences: int) -> str:
        return " ".join(self.random.choices(self.sentences, k=sentences))


def rankings(count: int, seed: int) -> Iterator[Row]:
    words = Words(seed)
    earlier = ""
    for number in range(count):
        prompt = prompt_text(words, number, seed, earlier)
        if number % 100 == 0:
            earlier = prompt
        order = words.random.sample(range(1, ANSWERS + 1), ANSWERS)
        if number % 5 == 0:
            order[0] = order[1]
        yield {
            "prompt": prompt,
            "completions": [answer(words, place, rank) for place, rank in enumerate(order)],
            "ranks": order,
            **filing(words, number),
        }


def answer(words: Words, place: int, rank: int) -> Row:
    made: Row = {"content": words.text(3), "model": f"model-{place}", "rating": max(1, 8 - 2 * rank)}
    if words.random.random() < 0.02:
        made["flags"] = ["hallucination"]
    return made


def demonstrations(count: int, seed: int) -> Iterator[Row]:
    words = Words(seed)
    for number in range(count):
        prompt = prompt_text(words, number, seed, "")
        yield {"prompt": prompt, "completion": words.text(3), **filing(words, number)}


def prompts(count: int, seed: int) -> Iterator[Row]:
    words = Words(seed)
    for number in range(count):
        yield {"prompt": prompt_text(words, number, seed, ""), "category": CATEGORIES[number % len(CATEGORIES)]}


def prompt_text(words: Words, number: int, seed: int, earlier: str) -> str:
    if earlier and number % 500 == 250:
        return earlier.replace(" ", " also ", 1)
    return f"{words.text(2)} ({seed}-{number})"


def filing(words: Words, number: int) -> Row:
    submitted = BEGAN + timedelta(seconds=31 * number)
    return {
        "category": CATEGORIES[number % len(CATEGORIES)],
        "labeler": f"annotator-{words.random.randrange(LABELERS)}",
        "submitted_at": submitted.isoformat(),
        "active_seconds": round(20 + 100 * words.random.random(), 1),
    }


ROWS = {"rankings": rankings, "demonstrations": demonstrations, "prompts": prompts}


def make(path: Path, kind: str, count: int, seed: int, *, one_group: bool = False) -> Path:
    """Write the rows in the file type that the name ends with. one_group: of Parquet, all rows in one row group."""
    rows = ROWS[kind](count, seed)
    if path.suffix == ".csv":
        write_csv(path, rows)
    elif path.suffix == ".parquet":
        write_parquet(path, kind, rows, count if one_group else ROWS_A_GROUP)
    else:
        with path.open("w", encoding="utf-8") as target:
            target.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Texts and numbers as they are, lists as JSON."""
    with path.open("w", encoding="utf-8", newline="") as target:
        writer: Any = None
        for row in rows:
            cells = {
                name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
                for name, value in row.items()
            }
            if writer is None:
                writer = csv.DictWriter(target, fieldnames=list(cells))
                writer.writeheader()
            writer.writerow(cells)


def write_parquet(path: Path, kind: str, rows: Iterable[Row], rows_a_group: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema(kind)
    iterator = iter(rows)
    with closing(pq.ParquetWriter(path, schema, compression="zstd")) as writer:
        while group := list(islice(iterator, rows_a_group)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=rows_a_group)


def parquet_schema(kind: str) -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    answer = pa.struct([("content", text), ("model", text), ("rating", number), ("flags", pa.list_(text))])
    shared = {"category": text, "labeler": text, "submitted_at": text, "active_seconds": pa.float64()}
    columns = {
        "rankings": {"prompt": text, "completions": pa.list_(answer), "ranks": pa.list_(number), **shared},
        "demonstrations": {"prompt": text, "completion": text, **shared},
        "prompts": {"prompt": text, "category": text},
    }
    return pa.schema(list(columns[kind].items()))
