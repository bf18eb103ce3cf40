"""Medians, exponents, and the lines that a benchmark prints. Standard library only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = dict[str, Any]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle. Raises ValueError for none."""
    if not values:
        raise ValueError("there is no median of no values")
    return float(statistics.median(values))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of what the runs gave, at four digits."""
    return {"median": digits(median(values)), "min": digits(min(values)), "max": digits(max(values))}


def digits(value: float, count: int = 4) -> float:
    """`value` rounded to `count` significant digits: more would be noise."""
    return float(f"{value:.{count}g}")


def line(
    bench: str,
    setting: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: str,
    *,
    aim: float | None = None,
    less_is_better: bool = False,
    **more: Any,
) -> Record:
    """One line of the report: what each run gave, in the middle, and how many times better ours is.

    `aim` is the ratio to be reached; `met` says whether it is, and None where nothing is aimed at.
    """
    mine, other = median(ours), median(theirs)
    ratio = other / mine if less_is_better else mine / other
    return {
        "bench": bench,
        "setting": setting,
        "ours": digits(mine),
        "theirs": digits(other),
        "unit": unit,
        "ratio": digits(ratio, 3),
        "aim": aim,
        "met": None if aim is None else ratio >= aim,
        "runs": {"ours": len(ours), "theirs": len(theirs)},
        "ours_spread": spread(ours),
        "theirs_spread": spread(theirs),
        **more,
    }


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The p of cost = c * size**p, by least squares of the logarithms. Raises ValueError for fewer than two sizes."""
    if len(set(sizes)) < 2:
        raise ValueError("an exponent needs two sizes")
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    return statistics.linear_regression(x, y).slope


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """The lines as a Markdown table, for documentation."""
    rows = [
        "| stage | setting | ours | theirs | unit | times better | aim | runs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for item in lines:
        if "ratio" not in item:
            continue
        aim = "" if item["aim"] is None else f"{item['aim']:g}"
        runs = f"{item['runs']['ours']} / {item['runs']['theirs']}"
        rows.append(
            f"| {item['bench']} | {item['setting']} | {shown(item, 'ours')} | {shown(item, 'theirs')} | {item['unit']}"
            f" | {item['ratio']:.2f} | {aim} | {runs} |"
        )
    return "\n".join(rows)


def shown(item: Mapping[str, Any], side: str) -> str:
    """A median with the least and the greatest value behind it."""
    found = item[f"{side}_spread"]
    return f"{found['median']:,g} ({found['min']:,g} to {found['max']:,g})"


def growth_table(lines: Iterable[Mapping[str, Any]]) -> str:
    """The lines of `--scaling` as a Markdown table: a row for each point, the exponents behind the last of its kind."""
    rows = ["| over | value | seconds | peak MiB | time grows as | memory grows as |", "|---|---|---|---|---|---|"]
    for item in lines:
        if item["bench"] != "training growth":
            continue
        for number, point in enumerate(item["points"]):
            last = number == len(item["points"]) - 1
            powers = [
                f"{item['over']}^{item[name]:.2f}" if last else "" for name in ("time_exponent", "memory_exponent")
            ]
            rows.append(
                f"| {item['over']}: {item['setting']} | {point['size']:,g} | {point['seconds']:.3g} |"
                f" {point['peak_mib']:,.0f} | {powers[0]} | {powers[1]} |"
            )
    return "\n".join(rows)
