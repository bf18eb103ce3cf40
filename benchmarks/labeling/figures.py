"""Percentiles, what was lost or made twice, and the lines that the benchmark prints. Pure; standard library only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
SHARES = (50, 95, 99)
OPERATIONS = ("next", "draft", "submit", "turn")


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value that `percent` of all do not exceed (nearest rank); None of none."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def latencies(name: str, seconds: Sequence[float]) -> Record:
    """`next_p50_ms` and so on of one operation."""
    found = {share: percentile(seconds, share) for share in SHARES}
    return {f"{name}_p{share}_ms": None if value is None else round(1000 * value, 1) for share, value in found.items()}


@dataclass
class Timings:
    """What the labelers of one run waited for, in seconds, inside the measured window alone."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def note(self, operation: str, seconds: float) -> None:
        self.seconds.setdefault(operation, []).append(seconds)

    def row(self) -> Record:
        found: Record = {}
        for name in OPERATIONS:
            if name in self.seconds:
                found |= latencies(name, self.seconds[name])
        return found


@dataclass(frozen=True)
class Stored:
    """What the database holds after a run, as far as it concerns one."""

    labels_before: int
    labels_after: int
    submissions: Collection[str]
    """Of those that were sent, the ones that made a label."""
    edited: int = 0
    """Assignments that have more than one label: a form sent twice would be one of them."""
    over_overlap: int = 0
    slots_lost: int = 0


def kept(sent: Collection[str], acknowledged: Collection[str], stored: Stored) -> Record:
    """Hold what labelers sent, and what they were told, against what is there.

    lost: submits that were answered with success and made no label. duplicates: labels beyond one a submission, and
    assignments with two. A submission that nobody answered may have made a label or not; it is neither.
    """
    there = set(stored.submissions)
    made = stored.labels_after - stored.labels_before
    return {
        "over_overlap": stored.over_overlap,
        "lost": len(set(acknowledged) - there),
        "duplicates": max(0, made - len(there & set(sent))) + stored.edited,
        "slots_lost": stored.slots_lost,
    }


@dataclass(frozen=True)
class DraftAtStop:
    """A draft when its labeler was cut off: versions count up with each change."""

    assignment: str
    acknowledged: int
    """The newest version that the server said it has; 0: none."""
    written_before: int
    """The newest version that was written more than three seconds before; 0: none."""


def drafts_lost(stopped: Iterable[DraftAtStop], stored: Mapping[str, int]) -> int:
    """How many drafts the server has in an older version than it said, or than was written three seconds before."""
    return sum(stored.get(each.assignment, 0) < max(each.acknowledged, each.written_before) for each in stopped)


def growth(small: Record, large: Record) -> Record:
    """How many times the p95 on few answers the one on many is, for each operation."""
    names = [f"{name}_p95_ms" for name in OPERATIONS]
    both = [name for name in names if small.get(name) and large.get(name)]
    return {name.removesuffix("_ms") + "_growth": round(large[name] / small[name], 2) for name in both}


def beside(ours: Record, theirs: Record) -> Record:
    """Ours against the peer's: how many times its labels a second, and which share of its p95."""
    found: Record = {"labels_s_times": round(ours["labels_s"] / theirs["labels_s"], 1) if theirs["labels_s"] else None}
    for name in ("next_p95_ms", "submit_p95_ms", "turn_p95_ms"):
        if ours.get(name) and theirs.get(name):
            found[name.removesuffix("_ms") + "_share"] = round(ours[name] / theirs[name], 3)
    return found


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, for documentation."""
    head = ("system", "database", "part", "answers", "labelers", "think s", "labels", "labels/s")
    waits = ("next page p50 / p95 / p99 ms", "submit", "draft")
    ends = ("errors", "over overlap", "lost", "twice", "web MB first, last")
    lines = [f"| {' | '.join((*head, *waits, *ends))} |", "|" + "---|" * len((*head, *waits, *ends))]
    for row in rows:
        if "labels_s" in row:
            lines.append(f"| {' | '.join(cells(row))} |")
    return "\n".join(lines)


def cells(row: Mapping[str, Any]) -> list[str]:
    first = [row.get(name, "") for name in ("system", "database", "part", "answers", "labelers", "think_s", "labels")]
    waits = [[row.get(f"{name}_p{share}_ms") for share in SHARES] for name in ("next", "submit", "draft")]
    last = [row.get(name, "") for name in ("errors", "over_overlap", "lost", "duplicates")]
    memory = " , ".join(shown(row.get(name)) for name in ("web_mb_first", "web_mb_last"))
    shares = [" / ".join(map(shown, each)) for each in waits]
    return [*map(shown, [*first, row["labels_s"]]), *shares, *map(shown, last), memory.replace(" , ", ", ")]


def shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"
