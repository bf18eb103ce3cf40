"""Prompts in train that also stand, word for word or nearly, in a file that is held out. Pure: files in, pairs out.

A prompt is its whole conversation as text, with case and spacing evened out. Two are the same where those texts are;
near where their sets of shingles overlap by `THRESHOLD` or more (Jaccard). A shingle is five characters of a text in
letters, or two of one in Chinese, Japanese or Korean characters, where a word is that long. Candidates come from
MinHash signatures cut into bands: two prompts that share a whole band are compared exactly, so nothing that is
reported is an estimate. With 25 bands of 5 a pair at the threshold is missed with a probability of (1 - 0.8^5)^25 =
0.00005, and closer ones less often.

Memory stays flat whatever the snapshot's size: what is held out lies banded in an SQLite file on disk, and train is
read past it row by row. On disk each different held-out prompt takes its text, two times 25 rows of some 30 bytes, and
each different train prompt 40 bytes. A train prompt is compared with at most `MOST_CANDIDATES` held-out ones.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rensa import RMinHash

THRESHOLD = 0.8
BANDS, ROWS_A_BAND = 25, 5
SEED = 20260101
LETTERS_A_SHINGLE, CJK_A_SHINGLE = 5, 2
MOST_CANDIDATES = 50
CACHE_KB = 32_000
CHUNK = 1000

Row = Mapping[str, Any]
Found = tuple[str, str, str]
"""(split, row, text) of a held-out prompt"""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One prompt in train beside the held-out prompt that it is closest to."""

    similarity: float
    """1.0 where the two are the same but for case and spacing."""
    train_row: str
    train_prompt: str
    held_out_row: str
    held_out_prompt: str
    held_out_split: str

    @property
    def is_exact(self) -> bool:
        return self.similarity == 1.0


def prompt_text(row: Row) -> str:
    """The conversation as one text, each turn with who says it."""
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in row["prompt"])


def evened(text: str) -> str:
    """The text as it is compared: one spelling of each character, no case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af"
STRETCH = re.compile(f"([{CJK}]+)|[^{CJK}]+")
"""Characters of one sort: Chinese characters, kana and hangul, or all others."""


def shingles(text: str) -> set[str]:
    """The text's overlapping pieces; a stretch of one sort that is shorter than a piece is a piece."""
    found: set[str] = set()
    for match in STRETCH.finditer(text):
        stretch, size = match[0], CJK_A_SHINGLE if match[1] else LETTERS_A_SHINGLE
        found.update([stretch[at : at + size] for at in range(max(1, len(stretch) - size + 1))])
    return found


def bands(pieces: set[str]) -> list[bytes]:
    """The signature's bands as keys; they are made and used in one run and never stored beyond it."""
    sketch = RMinHash(num_perm=BANDS * ROWS_A_BAND, seed=SEED)
    sketch.update(list(pieces))  # in any order: the signature is of the set
    digest = sketch.digest()
    return [
        struct.pack(f"<B{ROWS_A_BAND}I", band, *digest[band * ROWS_A_BAND : (band + 1) * ROWS_A_BAND])
        for band in range(BANDS)
    ]


def jaccard(ours: set[str], theirs: set[str]) -> float:
    return len(ours & theirs) / len(ours | theirs)


class HeldOut:
    """The held-out prompts, banded on disk."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.executescript(
            f"""
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KB};
            CREATE TABLE prompt (id INTEGER PRIMARY KEY, hash BLOB UNIQUE, split TEXT, row TEXT, text TEXT);
            CREATE TABLE band (key BLOB, prompt INTEGER, PRIMARY KEY (key, prompt)) WITHOUT ROWID;
            CREATE TABLE seen (hash BLOB PRIMARY KEY, leaks INTEGER) WITHOUT ROWID;
            BEGIN;
            """
        )

    def add(self, row: Row, split: str) -> None:
        text = prompt_text(row)
        even = evened(text)
        values = (digest_of(even), split, str(row["id"]), text)
        added = self.connection.execute(
            "INSERT OR IGNORE INTO prompt (hash, split, row, text) VALUES (?, ?, ?, ?)", values
        )
        if added.rowcount:
            keys = [(key, added.lastrowid) for key in bands(shingles(even))]
            self.connection.executemany("INSERT OR IGNORE INTO band (key, prompt) VALUES (?, ?)", keys)

    def is_empty(self) -> bool:
        return self.connection.execute("SELECT 1 FROM prompt LIMIT 1").fetchone() is None

    def verdict(self, row: Row) -> tuple[bool, Leak | None]:
        """(whether this train row leaks, its leak where no earlier row had the same prompt)"""
        text = prompt_text(row)
        even = evened(text)
        hash = digest_of(even)
        known = self.connection.execute("SELECT leaks FROM seen WHERE hash = ?", (hash,)).fetchone()
        if known:
            return bool(known[0]), None
        best = self.closest(even, hash)
        self.connection.execute("INSERT INTO seen VALUES (?, ?)", (hash, best is not None))
        return best is not None, leak(row, text, *best) if best else None

    def closest(self, even: str, hash: bytes) -> tuple[float, Found] | None:
        """The held-out prompt that this text is closest to, where any is close enough."""
        same = self.connection.execute("SELECT split, row, text FROM prompt WHERE hash = ?", (hash,)).fetchone()
        if same:
            return 1.0, same
        pieces = shingles(even)
        best: tuple[float, Found] | None = None
        for found in self.candidates(bands(pieces)):
            # Equal sets of pieces of unequal texts are near, not the same.
            similarity = min(jaccard(pieces, shingles(evened(found[2]))), 0.9999)
            if similarity >= THRESHOLD and (best is None or similarity > best[0]):
                best = (similarity, found)
        return best

    def candidates(self, keys: list[bytes]) -> list[Found]:
        """The prompts that share a band, those that share most first."""
        marks = ", ".join("?" * len(keys))
        return self.connection.execute(
            "SELECT split, row, text FROM prompt"
            f" JOIN (SELECT prompt, count(*) AS shared FROM band WHERE key IN ({marks})"
            " GROUP BY prompt ORDER BY shared DESC, prompt LIMIT ?) AS near ON near.prompt = prompt.id"
            " ORDER BY shared DESC, prompt.id",
            (*keys, MOST_CANDIDATES),
        ).fetchall()


def digest_of(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def leak(row: Row, text: str, similarity: float, found: Found) -> Leak:
    split, other, other_text = found
    return Leak(
        similarity=similarity,
        train_row=str(row["id"]),
        train_prompt=text,
        held_out_row=other,
        held_out_prompt=other_text,
        held_out_split=split,
    )


def rows_in(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def verdicts(
    train: Iterable[Row], held_out: Mapping[str, Iterable[Row]], scratch: Path
) -> Iterator[tuple[Row, bool, Leak | None]]:
    """(row, whether it leaks, its leak where it is the first row of that prompt) of each row in train, in its order.

    held_out: {split: its rows}. scratch: the file for the bands, which must not exist; the caller removes it.
    """
    store = HeldOut(scratch)
    with closing(store.connection):
        for split, rows in held_out.items():
            for row in rows:
                store.add(row, split)
        nothing = store.is_empty()
        for row in train:
            yield (row, False, None) if nothing else (row, *store.verdict(row))
