"""Which parts are measured, in which order, on which database; and that a stopped run can go on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.labeling import runs
from benchmarks.labeling.figures import Record, growth
from benchmarks.labeling.places import Place, place
from benchmarks.labeling.runs import Load
from benchmarks.labeling.serving import Server, served

K, OVERLAP = 5, 3
SMALL_ANSWERS = 10_000
LABELERS, MOST_LABELERS = 100, 600
STEP = 50
CROSSES_MS = 150.0
AIM_MS = {"postgresql": 150.0, "sqlite": 300.0}
LARGE_PARTS = ("thought", "pages", "steps", "kills", "none")


def carry_out(options: argparse.Namespace) -> int:
    options.folder.mkdir(parents=True, exist_ok=True)
    report = Report(options.state)
    for database in options.database:
        on_small_tables(options, report, database)
        on_large_tables(options, report, database)
        compare_sizes(report, database)
    if "peer" in options.only:
        from benchmarks.labeling import peer

        peer.measure(options, report)
    return 0 if all(row.get("met") is not False for row in report.rows) else 1


class Report:
    """The rows as they come, each printed once; those of an earlier call are known."""

    def __init__(self, state: Path | None) -> None:
        self.state = state
        self.rows: list[Record] = []
        if state and state.exists():
            self.rows = [json.loads(text) for text in state.read_text().splitlines() if text]
            for row in self.rows:
                print(json.dumps(row), flush=True)

    def find(self, part: str, database: str, system: str = "plackett") -> Record | None:
        key = {"part": part, "database": database, "system": system}
        return next((row for row in self.rows if row.items() >= key.items()), None)

    def add(self, row: Record) -> None:
        row = {"bench": "labeling", "system": "plackett"} | row | machine()
        self.rows.append(row)
        if self.state:
            with self.state.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def machine() -> Record:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


# --- Ours -------------------------------------------------------------------------------------------------------------


def on_small_tables(options: argparse.Namespace, report: Report, database: str) -> None:
    if "small" not in options.only or report.find("small", database):
        return
    with stage(options, database, min(SMALL_ANSWERS, options.answers)) as (there, server, about):
        load = Load(part="small", seconds=options.seconds, **usual(options))
        report.add(judged(about | runs.run(there, server, load, options.seed)))


def on_large_tables(options: argparse.Namespace, report: Report, database: str) -> None:
    todo = [part for part in LARGE_PARTS if part in options.only and not report.find(part, database)]
    if not todo:
        return
    with stage(options, database, options.answers) as (there, server, about):
        for part in todo:
            say(f"{database}: {part}")
            for row in MEASURED[part](options, there, server):
                report.add(judged(about | row))


@contextmanager
def stage(options: argparse.Namespace, database: str, answers: int) -> Iterator[tuple[Place, Server, Record]]:
    """A seeded database and a server on it."""
    began = time.monotonic()
    with place(database, f"{answers}", options.folder, options.postgresql) as there:
        labelers = usual(options)["labelers"] if options.quick else MOST_LABELERS
        spec = {"answers": answers, "k": K, "overlap": OVERLAP, "labelers": labelers, "people": str(there.people)}
        seeded = there.child("seeding", spec | {"seed": options.seed})
        say(f"{database}: {seeded['answers']:,} answers in {seeded['seconds']:.0f} s")
        with served(there) as server:
            say(f"{database}: ready after {time.monotonic() - began:.0f} s")
            yield there, server, {"answers": seeded["answers"], "tasks": seeded["tasks"]}


def usual(options: argparse.Namespace) -> Record:
    return {"labelers": 20, "think_s": 2.0} if options.quick else {"labelers": LABELERS, "think_s": 10.0}


def thought(options: argparse.Namespace, there: Place, server: Server) -> Iterator[Record]:
    load = Load(part="thought", seconds=options.seconds, **usual(options))
    yield runs.run(there, server, load, options.seed + 1)


def steps(options: argparse.Namespace, there: Place, server: Server) -> Iterator[Record]:
    """More labelers each time, with the same thought, until one of the three takes longer than it should."""
    load = usual(options)
    start = load["labelers"] if options.quick else LABELERS + STEP
    for labelers in range(start, (start if options.quick else MOST_LABELERS) + 1, STEP):
        step = Load(part="steps", seconds=min(25.0, options.seconds), **load | {"labelers": labelers})
        row = runs.run(there, server, step, options.seed + labelers)
        yield row | {"crosses_ms": CROSSES_MS}
        if worst_p95(row) > CROSSES_MS:
            return


def none(options: argparse.Namespace, there: Place, server: Server) -> Iterator[Record]:
    """No thought: as fast as it goes, until the database holds as many labels as were asked for."""
    missing = options.labels - there.child("checking", {})["labels"]
    load = usual(options) | {"think_s": 0.0}
    yield runs.run(
        there,
        server,
        Load(part="none", seconds=options.longest, labels=max(100, missing), **load),
        options.seed + 2,
    )


def kills(options: argparse.Namespace, there: Place, server: Server) -> Iterator[Record]:
    load = Load(part="kills", seconds=options.seconds, faults=True, **usual(options) | {"think_s": 3.0})
    yield runs.run(there, server, load, options.seed + 3)


def pages(options: argparse.Namespace, there: Place, server: Server) -> Iterator[Record]:
    yield runs.pages(there, server)


Measure = Callable[[argparse.Namespace, Place, Server], Iterator[Record]]
MEASURED: dict[str, Measure] = {"thought": thought, "pages": pages, "steps": steps, "kills": kills, "none": none}


# --- What is aimed at -------------------------------------------------------------------------------------------------


def worst_p95(row: Record) -> float:
    return max(row.get(f"{name}_p95_ms") or 0.0 for name in ("next", "draft", "submit"))


def judged(row: Record) -> Record:
    """Whether the row reaches what is aimed at; None where nothing is."""
    held = all(row.get(name, 0) == 0 for name in ("over_overlap", "lost", "duplicates", "slots_lost", "drafts_lost"))
    if row["part"] == "pages":
        return row | {"aim_ms": 1000.0, "met": row["lead_page_ms"] < 1000.0}
    if row["part"] in {"small", "thought"}:
        aim = AIM_MS[row["database"]]
        return row | {"aim_ms": aim, "met": held and not row["errors"] and worst_p95(row) < aim}
    return row | {"met": held and not row["errors"]}


def compare_sizes(report: Report, database: str) -> None:
    """Whether many answers are slower than few."""
    small, large = report.find("small", database), report.find("thought", database)
    if small and large and not report.find("growth", database):
        sizes = {"answers": large["answers"], "small_answers": small["answers"]}
        report.add({"part": "growth", "database": database} | sizes | growth(small, large))
