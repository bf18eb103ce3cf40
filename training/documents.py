"""A corpus from what a person uploads: plain text by paragraphs, or JSONL with a "text" in each line. No models."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain
from typing import Any

from django.utils.translation import gettext as _

from annotation.conversations import clean_messages
from annotation.errors import PlackettError
from training.canonical import canonical_json
from training.errors import SnapshotError

Document = str | Mapping[str, Any]
"""A text, or {"messages": [...]}."""

VALIDATION_PERCENT = 5
MOST_PROBLEMS = 5


def documents_of(file: Iterable[bytes], filename: str) -> Iterator[Document]:
    """The documents of an uploaded file, line by line. Raises SnapshotError naming the lines that can't be read."""
    lines = text_lines(file, filename)
    if filename.lower().endswith((".jsonl", ".ndjson")):
        return jsonl_documents(lines, filename)
    return paragraphs(lines)


def text_lines(file: Iterable[bytes], filename: str) -> Iterator[str]:
    """Its lines, without what ends them."""
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise SnapshotError(
                _("Line %(line)s of %(filename)s is not UTF-8 text. Save the file as UTF-8.")
                % {"line": number, "filename": filename}
            ) from None
        if "\x00" in text:
            raise SnapshotError(
                _("Line %(line)s of %(filename)s holds a NUL character, so it is not plain text.")
                % {"line": number, "filename": filename}
            )
        yield text.removesuffix("\n").removesuffix("\r")


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """What stands between blank lines."""
    together: list[str] = []
    for line in chain(lines, [""]):
        if line.strip():
            together.append(line)
        elif together:
            yield "\n".join(together).strip()
            together = []


def jsonl_documents(lines: Iterable[str], filename: str) -> Iterator[Document]:
    problems = 0
    first: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        document = json_document(line)
        if document is not None:
            yield document
            continue
        problems += 1
        if problems <= MOST_PROBLEMS:
            first.append(str(number))
    if problems:
        more = _(" and %(n)s more") % {"n": problems - MOST_PROBLEMS} if problems > MOST_PROBLEMS else ""
        raise SnapshotError(
            _(
                'These lines of %(filename)s are not JSON objects with a "text" or "messages": '
                "%(shown)s%(more)s. Correct or remove them."
            )
            % {"filename": filename, "shown": ", ".join(first), "more": more}
        )


def json_document(line: str) -> Document | None:
    """What a line holds: a text, or a conversation that is written in the chat format when it is trained on."""
    if "\\u0000" in line:
        return None
    try:
        row = json.loads(line.encode("utf-8", "replace"))
        if not isinstance(row, dict):
            return None
        if isinstance(row.get("messages"), list):
            return {"messages": clean_messages(row["messages"], ends_with="assistant")}
        return tidy(row["text"])
    except (ValueError, KeyError, RecursionError, PlackettError):
        return None


def tidy(text: object) -> str:
    """A text that every file and column can hold. Raises ValueError for what is none."""
    if not isinstance(text, str) or not text.strip() or "\x00" in text:
        raise ValueError("not a text")
    return text.strip().encode("utf-8", "replace").decode()


def corpus_rows(
    documents: Iterable[Document], validation_percent: int = VALIDATION_PERCENT
) -> Iterator[dict[str, Any]]:
    """Rows by hash, each document once; it alone decides whether it is held out, so it never trains and tests.

    Memory does not grow with the documents: they are sorted in a file that goes away by itself.
    """
    try:
        with closing(sqlite3.connect("")) as sorter:
            yield from sorted_rows(sorter, documents, validation_percent)
    except sqlite3.Error as error:
        raise SnapshotError(
            _("The documents could not be sorted: %(error)s. Free some space where temporary files go, and try again.")
            % {"error": error}
        ) from error


def sorted_rows(
    sorter: sqlite3.Connection, documents: Iterable[Document], validation_percent: int
) -> Iterator[dict[str, Any]]:
    sorter.execute("CREATE TABLE documents (digest TEXT PRIMARY KEY, content TEXT, held_out INTEGER)")
    keyed = (keyed_document(document, validation_percent) for document in documents)
    sorter.executemany("INSERT OR IGNORE INTO documents VALUES (?, ?, ?)", keyed)
    count, held_out = sorter.execute("SELECT count(*), coalesce(sum(held_out), 0) FROM documents").fetchone()
    found = sorter.execute("SELECT digest, content, held_out FROM documents ORDER BY digest")
    for number, (digest, content, is_held_out) in enumerate(found, start=1):
        if validation_percent and count > 1 and not held_out:
            is_held_out = number == 1
        elif held_out == count:
            is_held_out = number < count
        yield {"id": digest[:32], **json.loads(content), "split": "validation" if is_held_out else "train"}


def keyed_document(document: Document, validation_percent: int) -> tuple[str, str, bool]:
    """(hash, content as JSON, whether its hash holds it out)."""
    content = {"text": document} if isinstance(document, str) else {"messages": document["messages"]}
    text = canonical_json(content)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return digest, text, int(digest[:8], 16) % 100 < validation_percent
