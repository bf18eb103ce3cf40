"""What is printed: one JSON line a figure, with its aim where it has one. No Django here."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


def figure(
    part: str,
    database: str,
    what: str,
    values: Sequence[float],
    unit: str,
    *,
    aim: float | None = None,
    digits: int = 2,
    **more: Any,
) -> dict[str, Any]:
    """The median of what was measured; `met` where less than the aim is aimed at."""
    median = statistics.median(values)
    found = {
        "bench": "runs",
        "part": part,
        "database": database,
        "what": what,
        "ours": round(median, digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "unit": unit,
        "aim": aim,
        "met": None if aim is None else median <= aim,
        "times": len(values),
    }
    return found | more


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def machine(load: float) -> dict[str, Any]:
    """The first line: where and when. Well above 0, the load says that others slowed it down."""
    return {
        "bench": "runs",
        "part": "machine",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_before": round(load, 2),
    }
