"""What is printed: a JSON line for each measurement, with what is aimed at beside it. Pure."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from benchmarks.data.ground import ANSWERS

MEMORY_AIM_MB = 300.0
AIMS = {"import": 10_000, "export": 20_000}
# What the aim is of: the first of these that a line has.
UNITS = {"import": {"ranked answers/s": "answers_s", "rows/s": "rows_s"}, "export": {"lines/s": "lines_s"}}
PAGE_AIM_SECONDS = 1.0

Line = dict[str, Any]


def line(system: str, what: str, database: str, record: Mapping[str, Any], **about: Any) -> Line:
    """A measured step. `rows_s`: lines of the file that came in, or labels that were written out, a second; of rankings
    `answers_s` too; of an export `lines_s`: lines that came out."""
    found: Line = {"bench": "data", "system": system, "what": what, **about, "database": database, **record}
    rows = found.get("rows")
    if what != "page" and rows and found.get("seconds"):
        found["rows_s"] = rate(rows, found["seconds"])
        if about.get("kind") == "rankings":
            found["answers"], found["answers_s"] = rows * ANSWERS, rate(rows * ANSWERS, found["seconds"])
        if "lines" in found:
            found["lines_s"] = rate(found["lines"], found["seconds"])
    if system == "plackett":
        found |= judged(what, found)
    return found | {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": machine()}


def judged(what: str, found: Mapping[str, Any]) -> Line:
    """The aim of a step and whether it is met. Memory is that of the worker and of a process that it starts."""
    verdict: Line = {}
    for unit, name in UNITS.get(what, {}).items():
        if name in found:
            verdict = {"aim": AIMS[what], "aim_unit": unit, "met": found[name] >= AIMS[what]}
            break
    if "peak_mb" in found:
        held = found["peak_mb"] + found.get("reader_peak_mb", 0.0)
        verdict |= {"aim_mb": MEMORY_AIM_MB, "met_mb": held < MEMORY_AIM_MB}
    return verdict


def page_lines(database: str, record: Mapping[str, Any], **about: Any) -> list[Line]:
    """A line a page; the aim is of the slowest answer, the first one."""
    return [
        line("plackett", "page", database, {**took, "peak_mb": record["peak_mb"]}, page=name, **about)
        | {"aim_seconds": PAGE_AIM_SECONDS, "met": max(took["first"], took["seconds"]) < PAGE_AIM_SECONDS}
        for name, took in record["pages"].items()
    ]


def failure(system: str, what: str, database: str, problem: str, **about: Any) -> Line:
    return {"bench": "data", "system": system, "what": what, **about, "database": database, "error": problem}


def rate(count: int, seconds: float) -> int:
    return round(count / seconds)


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
