"""What changed between two versions of a document, line by line, for people to read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

AROUND = 2  # lines shown on both sides of a change
MAX_LINES = 4000  # beyond, comparing takes longer than reading anew


class Line(NamedTuple):
    """`kind` is same, added, removed, or gap where lines that stayed are left out."""

    kind: str
    text: str


def line_changes(before: str, after: str) -> list[Line]:
    """Return the changed lines with some around them; nothing where nothing changed."""
    old, new = before.splitlines(), after.splitlines()
    if old == new:
        return []
    if max(len(old), len(new)) > MAX_LINES:
        return [Line("added", line) for line in new]
    found: list[Line] = []
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(AROUND):
        if found or group[0][1]:
            found.append(Line("gap", ""))
        for tag, i1, i2, j1, j2 in group:
            found += lines_of(tag, old[i1:i2], new[j1:j2])
    return found


def lines_of(tag: str, old: Sequence[str], new: Sequence[str]) -> list[Line]:
    if tag == "equal":
        return [Line("same", line) for line in old]
    return [*(Line("removed", line) for line in old), *(Line("added", line) for line in new)]
