"""Which steps are measured, in their order, and how many rows each takes. Pure.

The first import is the large one; what is measured in other file types and kinds has fewer rows, as each line says.
Exports read a snapshot's files and write others: of the database they take a row of the job, so the formats are
measured on the first database alone, and on the others one of them, which shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

EACH = ""  # a step that all parts stand on
PARTS = ("import", "snapshot", "leaks", "export", "pages", "datasets", "label-studio")
ROWS = 250_000
QUICK_ROWS = 1_000
LESS = 5  # other file types and kinds have a fifth of the rows
BUILT_IN = 5_000  # up to so many rows the leak check and the facts are part of the build
PEER_ROWS = 5_000  # Label Studio's, which takes minutes for more
CONTAINERS = ("jsonl.gz", "jsonl.zst", "csv", "parquet")
FORMATS = {
    "rankings": (
        *("canonical", "preference", "unpaired", "openai", "sharegpt", "alpaca", "hh-rlhf"),
        *("ultrafeedback", "oasst", "argilla", "label-studio"),
    ),
    "demonstrations": (
        *("canonical", "prompt-completion", "openai", "sharegpt", "alpaca", "oasst", "argilla", "label-studio"),
    ),
    "prompts": ("canonical", "prompt", "verl"),
}


@dataclass(frozen=True)
class Step:
    """`part` is what --only chooses it by; `spec` what its process is told; `about` what its line says of it."""

    part: str
    name: str
    spec: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)


def steps(rows: int, *, first: bool) -> Iterator[Step]:
    """All steps of a database. first: it is the one on which every format is written."""
    less = max(100, rows // LESS)
    yield from brought_in("rankings", "jsonl", rows)
    yield from looked_at(rows)
    yield from written_out("rankings", rows, first=first)
    for file in ("csv", "parquet", "parquet, one row group"):
        yield from brought_in("rankings", file, less, part="import")
    for kind in ("demonstrations", "prompts"):
        yield from brought_in(kind, "jsonl", less)
        yield Step(EACH, "snapshot", project(kind, less), {"kind": kind})
        yield from written_out(kind, less, first=first)


def quick_steps(rows: int, *, first: bool) -> Iterator[Step]:
    """One of each sort, to see that it works."""
    yield from brought_in("rankings", "jsonl", rows)
    yield from looked_at(rows)
    if first:
        yield from brought_in("rankings", "parquet", rows, part="import")
        yield export("rankings", rows, "canonical", "jsonl", "train")
        yield export("rankings", rows, "preference", "parquet", "")


def looked_at(rows: int) -> Iterator[Step]:
    """The snapshot of the rankings and what is done with it beside exporting."""
    yield Step(EACH, "snapshot", project("rankings", rows), {"kind": "rankings"})
    if rows > BUILT_IN:
        yield Step("leaks", "leaks", project("rankings", rows), {"kind": "rankings"})
        yield Step("snapshot", "facts", project("rankings", rows), {"kind": "rankings"})
    yield Step("pages", "pages", project("rankings", rows), {"kind": "rankings"})


def project(kind: str, rows: int) -> dict[str, Any]:
    return {"project": f"{kind}-jsonl", "kind": kind, "rows": rows}


def brought_in(kind: str, file: str, rows: int, *, part: str = EACH) -> Iterator[Step]:
    spec = {"project": f"{kind}-{file.replace(', ', '-').replace(' ', '-')}", "kind": kind, "rows": rows, "file": file}
    yield Step(part, "import", spec, {"kind": kind, "format": file})


def written_out(kind: str, rows: int, *, first: bool) -> Iterator[Step]:
    """Each format as JSON lines of the train split, then the other file types, then a folder with its card."""
    formats = FORMATS[kind] if first else FORMATS[kind][:1]
    for name in formats:
        yield export(kind, rows, name, "jsonl", "train")
    if not first:
        return
    for name in ("canonical", "preference") if kind == "rankings" else ("canonical",):
        for container in CONTAINERS:
            yield export(kind, rows, name, container, "train")
    yield export(kind, rows, FORMATS[kind][1], "parquet", "")


def export(kind: str, rows: int, name: str, container: str, split: str) -> Step:
    """Without a split it is the folder with all of them, its card, and a zip around it."""
    spec = {**project(kind, rows), "format": name, "container": container, "split": split}
    about = {"kind": kind, "format": name, "container": container, **({} if split else {"as": "folder"})}
    return Step("export", "export", spec, about)
