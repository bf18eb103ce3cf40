"""Takes the measurements of a case, each side in turn, and says what they come to."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.training.assets import Rows, make_assets
from benchmarks.training.cases import Case, Comparison, Mode
from benchmarks.training.figures import Record, digits, line, median
from benchmarks.training.peer_environment import NoPeer, peer_python
from benchmarks.training.process import ChildFailed, run_child

QUIET_LOAD = 0.06  # above it, other processes disturb a timing
SLOW_SECONDS = 75.0  # a measurement that takes longer than this is not repeated
MEMORY_AIM = 1.2
Measured = dict[tuple[str, str], list[Record]]
"""Records by side (ours, theirs, floor) and mode."""


class Bench:
    """One run of the benchmark: where things are, and how one measurement is taken."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        options.cache.mkdir(parents=True, exist_ok=True)
        self.log = options.cache / "log.txt"
        self.rows = Rows(512, 64, 512) if options.device == "cuda" else Rows(16, 4, 64) if options.quick else Rows()
        self.ours_python = Path(sys.executable)
        self.theirs_python = options.peer_python or self.ours_python
        if options.side != "ours" and not options.peer_python and not options.scaling:
            try:
                self.theirs_python = peer_python(options.cache)
            except NoPeer as problem:
                raise SystemExit(str(problem)) from None
        self.machine = self.child(self.ours_python, "machine", {})

    def child(self, python: Path, module: str, spec: dict[str, Any]) -> Record:
        common = {
            "threads": self.options.threads,
            "device": self.options.device,
            "seconds": self.options.seconds,
            "scratch": str(self.options.cache / "scratch"),
        }
        return run_child(python, f"benchmarks.training.{module}", common | spec, self.log)

    def ground(self, *sizes: str) -> Path:
        return make_assets(self.options.cache, sizes, self.rows)

    def measure(self, case: Case) -> Measured:
        """All measurements of a case: in every run each side in turn, so that a change of the machine meets both."""
        spec = self.spec(case)
        todo: list[tuple[str, str, Callable[[], Record]]] = []

        def add(side: str, python: Path, module: str, modes: Mapping[str, Mode]) -> None:
            for name, mode in modes.items():
                todo.append((side, name, self.measurement(python, module, spec | {"mode": mode})))

        if self.options.side != "theirs":
            add("ours", self.ours_python, "ours", case.ours)
        if self.options.side != "ours":
            add("theirs", self.theirs_python, "peer", case.theirs)
        if self.options.side != "theirs" and spec["stage"] != "generate":
            add("floor", self.ours_python, "floor", case.ours)
        measured: Measured = defaultdict(list)
        for known in self.known(case.bench):
            measured[known["side"], known["mode"]].append(known)
        for number in range(self.options.runs):
            for side, mode, take in todo:
                if len(measured[side, mode]) > number:
                    continue  # an earlier call took it
                if not measured[side, mode] or worth_repeating(case, measured, side, mode):
                    record = {"bench": case.bench, "side": side, "mode": mode, **take()}
                    measured[side, mode].append(record)
                    self.keep(record)
                    print(f"  {case.bench} {side} {mode}: {brief(record)}", file=sys.stderr, flush=True)
        return measured

    def spec(self, case: Case) -> dict[str, Any]:
        folder = self.ground(case.spec["size"])
        models = folder / case.spec["size"]
        name = case.spec["rows"]
        return {
            **case.spec,
            "rows": str(folder / f"{name}.jsonl"),
            "pairs": str(folder / f"{name}_pairs.jsonl"),
            "rankings": {"rankings_k4": self.rows.rankings, "rankings_k9": max(2, self.rows.rankings // 2)}.get(name),
            "policy": str(models / "policy"),
            "reward_model": str(models / "reward"),
            "uneven": str(models / "uneven"),
        }

    def measurement(self, python: Path, module: str, spec: dict[str, Any]) -> Callable[[], Record]:
        def take() -> Record:
            try:
                return self.child(python, module, spec)
            except ChildFailed as problem:
                return {"error": str(problem)}

        return take

    def known(self, bench: str) -> Iterator[Record]:
        """Measurements of an earlier call, but for those that failed or were disturbed."""
        if self.options.raw and self.options.raw.exists():
            for text in self.options.raw.read_text().splitlines():
                record = json.loads(text)
                if record["bench"] == bench and good(record) and (record["other_load"] or 0.0) <= QUIET_LOAD:
                    yield record

    def keep(self, record: Record) -> None:
        if self.options.raw:
            with self.options.raw.open("a") as stream:
                stream.write(json.dumps({**record, "time": round(time.time())}) + "\n")


def worth_repeating(case: Case, measured: Measured, side: str, mode: str) -> bool:
    """Not a slow one, nor a mode of the peer's that another one of the same comparison beat in the first run."""
    records = measured[side, mode]
    if "error" in records[-1] or records[-1]["wall_seconds"] > SLOW_SECONDS:
        return False
    rivals = [item.theirs for item in case.comparisons if side == "theirs" and mode in item.theirs]
    return all(fastest(measured, names) == mode for names in rivals)


def fastest(measured: Measured, modes: Sequence[str]) -> str:
    """The one of the peer's modes that was fastest; the first where none was measured."""
    found = {mode: rates(measured["theirs", mode]) for mode in modes}
    return max(modes, key=lambda mode: median(found[mode]) if found[mode] else 0.0)


def rates(records: Sequence[Record], name: str = "") -> list[float]:
    """The rates of records; `name` picks one where a record has several."""
    if name:
        return [record["rates"][name] for record in records if name in record.get("rates", {})]
    return [record["rate"] if "rate" in record else sum(record["rates"].values()) for record in records if good(record)]


def good(record: Record) -> bool:
    return "error" not in record


def report(case: Case, measured: Measured) -> Iterator[Record]:
    """The lines of one case: errors first, then each comparison's rate and memory, then shares of the floor."""
    for (side, mode), records in measured.items():
        for record in records:
            if not good(record):
                yield {"bench": case.bench, "side": side, "mode": mode, "error": record["error"]}
    for item in case.comparisons:
        theirs = fastest(measured, item.theirs)
        ours = [record for record in measured["ours", item.ours] if good(record)]
        others = [record for record in measured["theirs", theirs] if good(record)]
        if ours and others:
            yield from compared(case, item, theirs, ours, others)
    for mode in case.ours:
        found, bare = rates(measured["ours", mode]), rates(measured["floor", mode])
        if found and bare:
            share = median(found) / median(bare)
            yield {
                "bench": case.bench,
                "setting": f"share of the floor, {mode}",
                "ours": digits(median(found)),
                "floor": digits(median(bare)),
                "unit": case.unit,
                "share": digits(share, 3),
                "aim": 0.9,
                "met": share >= 0.9,
                "runs": {"ours": len(found), "floor": len(bare)},
            }


def compared(case: Case, item: Comparison, theirs: str, ours: list[Record], others: list[Record]) -> Iterator[Record]:
    """Rates, then peak memory, of one comparison."""
    setting = item.setting if theirs in item.setting or theirs == "default" else f"{item.setting}: {theirs}"
    more: dict[str, Any] = {
        "modes": {"ours": item.ours, "theirs": theirs},
        "versions": ours[-1]["versions"] | others[-1]["versions"],
        "other_load": max((record.get("other_load") or 0.0) for record in [*ours, *others]),
    }
    aims: Mapping[str, float | None] = case.rates or {"": item.aim}
    for name, aim in aims.items():
        shown = ", ".join(part for part in (name, setting) if part)
        yield line(case.bench, shown, rates(ours, name), rates(others, name), case.unit, aim=aim, **more)
    mine, other = ([record["peak_mib"] for record in records] for records in (ours, others))
    yield line(f"{case.bench}: peak memory", setting, mine, other, "MiB", aim=MEMORY_AIM, less_is_better=True, **more)


def brief(record: Record) -> str:
    if not good(record):
        return record["error"]
    found = record.get("rates") or {"": record["rate"]}
    shown = ", ".join(f"{name} {value:.4g}".strip() for name, value in found.items())
    load = record.get("other_load") or 0.0
    disturbed = f"; DISTURBED: others took {load:.0%} of the machine" if load > QUIET_LOAD else ""
    return f"{shown}; {record['peak_mib']:.0f} MiB, {record['wall_seconds']:.0f} s in all{disturbed}"


def emit(record: Record) -> None:
    print(json.dumps(record), flush=True)
