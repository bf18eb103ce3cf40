"""Labels while everything around them is killed, and 100,000 of them without a rest: for the long form, by itself.

The labelers and the questions to the database afterwards are those of `benchmarks/labeling`, on a PostgreSQL of ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.servers import PostgreSQL, end_with_parent

LABELS = 100_000
ANSWERS = 300_000  # five a task, with an overlap of three: 180,000 labels find room
LONGEST_SECONDS = 7_200  # two slow cores make some 20 labels a second
ZEROS = ("lost", "duplicates", "over_overlap", "slots_lost", "drafts_lost", "unaudited", "errors")


@dataclass(frozen=True)
class LabelFault:
    name: str
    part: str
    """Of the benchmark."""

    holds: str
    labels: int = 0
    """So many are wanted at least."""

    long: int = 1
    short: int = 0


FAULTS = (
    LabelFault(
        "labels, with web, connections and networks killed",
        "kills",
        "no submitted label lost, no draft older than 3 s, none twice, none over overlap",
    ),
    LabelFault(
        f"labels, {LABELS:,} by 100 at once without a rest",
        "none",
        "none lost, none twice, none over overlap, each audited",
        labels=LABELS,
    ),
)


def do(fault: LabelFault, postgresql: PostgreSQL, folder: Path, root: Path, seed: int) -> str:
    """Have a hundred labelers work; returns what did not hold, in words, or nothing."""
    command = [sys.executable, "-m", "benchmarks.labeling", "--database", "postgresql", "--only", fault.part]
    command += ["--answers", str(ANSWERS), "--labels", str(fault.labels), "--longest", str(LONGEST_SECONDS)]
    command += ["--postgresql", postgresql.url, "--folder", str(folder / "labels"), "--seed", str(seed)]
    with (folder / "labels.log").open("ab") as log:
        done = subprocess.run(
            command, cwd=root, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=end_with_parent(2)
        )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not rows:
        return f"the labelers' process ended with {done.returncode} and without a word"
    return problem_of(rows[-1], fault)


def problem_of(row: dict[str, Any], fault: LabelFault) -> str:
    """What of the row is not as it must be."""
    wrong = [f"{row[name]} {name.replace('_', ' ')}" for name in ZEROS if row.get(name)]
    if row["labels"] < fault.labels:
        wrong.append(f"{row['labels']:,} labels only")
    return ", ".join(wrong)
