"""A corpus from what a person uploads: plain text by paragraphs, or JSONL with a "text" in each line. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _

from annotation.conversations import clean_messages
from annotation.errors import PlackettError
from training.canonical import canonical_json
from training.errors import SnapshotError

Document = str | Mapping[str, Any]
"""A text, or {"messages": [...]}."""

VALIDATION_PERCENT = 5
PARAGRAPH_END = re.compile(r"\n[ \t]*\n+")
MOST_PROBLEMS = 5


def documents_of(content: bytes, filename: str) -> list[Document]:
    """The documents of an uploaded file. Raises SnapshotError naming the lines that can't be read."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SnapshotError(
            _("Line %(line)s of %(filename)s is not UTF-8 text. Save the file as UTF-8.")
            % {"line": line, "filename": filename}
        ) from None
    if "\x00" in text:
        line = text[: text.index("\x00")].count("\n") + 1
        raise SnapshotError(
            _("Line %(line)s of %(filename)s holds a NUL character, so it is not plain text.")
            % {"line": line, "filename": filename}
        )
    if filename.lower().endswith((".jsonl", ".ndjson")):
        return list(jsonl_documents(text, filename))
    return [paragraph.strip() for paragraph in PARAGRAPH_END.split(text.replace("\r\n", "\n")) if paragraph.strip()]


def jsonl_documents(text: str, filename: str) -> Iterator[Document]:
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        document = json_document(line)
        if document is None:
            problems.append(number)
        else:
            yield document
    if problems:
        shown = ", ".join(str(number) for number in problems[:MOST_PROBLEMS])
        more = _(" and %(n)s more") % {"n": len(problems) - MOST_PROBLEMS} if len(problems) > MOST_PROBLEMS else ""
        raise SnapshotError(
            _(
                'These lines of %(filename)s are not JSON objects with a "text" or "messages": '
                "%(shown)s%(more)s. Correct or remove them."
            )
            % {"filename": filename, "shown": shown, "more": more}
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


def corpus_rows(documents: Iterable[Document], validation_percent: int = VALIDATION_PERCENT) -> list[dict[str, Any]]:
    """Rows by hash, each document once; it alone decides whether it is held out, so it never trains and tests."""
    rows = {}
    for document in documents:
        content = {"text": document} if isinstance(document, str) else {"messages": document["messages"]}
        digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()
        held_out = int(digest[:8], 16) % 100 < validation_percent
        rows[digest] = {"id": digest[:32], **content, "split": "validation" if held_out else "train"}
    found = [rows[digest] for digest in sorted(rows)]
    splits = {row["split"] for row in found}
    if validation_percent and len(found) > 1 and splits == {"train"}:
        found[0]["split"] = "validation"
    elif splits == {"validation"}:
        found[-1]["split"] = "train"
    return found
