"""On the CPU: every line of the comparison, stage by stage."""

from __future__ import annotations

from datetime import UTC, datetime

from benchmarks.training.cases import cases
from benchmarks.training.measuring import Bench, emit, report


def main(bench: Bench) -> int:
    """Print the lines; returns 1 where a measurement failed."""
    emit({"bench": "training", "date": datetime.now(UTC).strftime("%Y-%m-%d"), **bench.machine})
    wanted = cases(bench.machine["bfloat16_pays"], bench.machine["medium_pays"], bench.options.quick)
    failed = False
    for stage in bench.options.only.split(","):
        for case in wanted[stage]:
            for found in report(case, bench.measure(case)):
                emit(found)
                failed = failed or "error" in found
    return 1 if failed else 0
