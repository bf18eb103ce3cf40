"""What the training benchmark says of its measurements: medians, ratios, exponents, which peer's mode counts."""

from collections import defaultdict
from typing import Any

import pytest

from benchmarks.training.cases import Case, Comparison, cases
from benchmarks.training.figures import exponent, growth_table, line, median, table
from benchmarks.training.measuring import fastest, report, worth_repeating


def test_the_median_is_the_middle_value_or_between_the_two_in_the_middle() -> None:
    assert median([9.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 9.0]) == 3.0
    with pytest.raises(ValueError):
        median([])


def test_the_exponent_of_a_power_is_found_whatever_stands_before_it() -> None:
    sizes = [1.0, 2.0, 8.0]
    assert exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [7.0, 7.0, 7.0]) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="two sizes"):
        exponent([2.0, 2.0], [1.0, 2.0])


def test_a_ratio_is_how_many_times_better_ours_is() -> None:
    faster = line("SFT", "default", ours=[30.0, 10.0, 20.0], theirs=[5.0], unit="tokens/s", aim=4.0)
    assert (faster["ratio"], faster["met"], faster["runs"]) == (4.0, True, {"ours": 3, "theirs": 1})
    assert (faster["ours_spread"]["min"], faster["ours_spread"]["max"]) == (10.0, 30.0)
    smaller = line(
        "SFT: peak memory", "default", ours=[200.0], theirs=[150.0], unit="MiB", aim=1.2, less_is_better=True
    )
    assert (smaller["ratio"], smaller["met"]) == (0.75, False)


def test_the_tables_hold_a_row_for_each_line() -> None:
    found = line("SFT", "default", ours=[1234.5], theirs=[617.25], unit="tokens/s", aim=None)
    [_, _, row] = table([{"bench": "training"}, found]).splitlines()
    assert "1,234 (1,234 to 1,234)" in row and "| 2.00 |  |" in row
    points = [{"size": 2, "seconds": 1.5, "peak_mib": 100.0}, {"size": 4, "seconds": 3.0, "peak_mib": 110.0}]
    grown = {"bench": "training growth", "over": "K", "setting": "RM", "points": points}
    rows = growth_table([found, {**grown, "time_exponent": 1.0, "memory_exponent": 0.14}]).splitlines()[2:]
    assert len(rows) == 2
    assert "K^1.00" in rows[1] and "K^1.00" not in rows[0]


CASE = Case(
    "SFT",
    "tokens/s",
    {"stage": "sft"},
    {"default": {}},
    {"default": {}, "packed": {}, "grouped": {}},
    (Comparison("default", "default", ("default",), 4.0), Comparison("best", "default", ("packed", "grouped"), 1.6)),
)


def measured(**rates: float) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found = defaultdict(list)
    for name, rate in rates.items():
        side, _, mode = name.partition("_")
        record = {"rate": rate, "peak_mib": 100.0, "wall_seconds": 10.0, "versions": {}}
        found[side, mode] = [record]
    return found


def test_the_peers_fastest_mode_is_the_one_that_counts_and_the_one_that_is_measured_again() -> None:
    found = measured(ours_default=100, theirs_default=20, theirs_packed=40, theirs_grouped=50, floor_default=110)
    assert fastest(found, ("packed", "grouped")) == "grouped"
    again = [mode for mode in CASE.theirs if worth_repeating(CASE, found, "theirs", mode)]
    assert again == ["default", "grouped"]
    lines = {(item["bench"], item["setting"]): item for item in report(CASE, found)}
    assert lines["SFT", "default"]["ratio"] == 5.0
    assert lines["SFT", "best: grouped"]["ratio"] == 2.0
    assert lines["SFT: peak memory", "default"]["ratio"] == 1.0
    assert lines["SFT", "share of the floor, default"]["share"] == pytest.approx(0.909)


def test_a_measurement_that_failed_or_is_slow_is_not_repeated_and_a_failure_is_said() -> None:
    found = measured(ours_default=100, theirs_default=20, theirs_packed=40)
    found["theirs", "grouped"] = [{"error": "it ended with 1"}]
    found["ours", "default"][0]["wall_seconds"] = 500.0
    assert not worth_repeating(CASE, found, "theirs", "grouped")
    assert not worth_repeating(CASE, found, "ours", "default")
    assert [item["error"] for item in report(CASE, found) if "error" in item] == ["it ended with 1"]


def test_bfloat16_takes_part_only_where_it_pays() -> None:
    """Where the CPU emulates it, TRL's default is compared as it is and in float32, its best in float32."""
    for pays in (True, False):
        found = cases(pays, medium_pays=True, quick=False)
        [supervised], [ppo] = found["sft"], found["ppo"]
        assert ("float32" in ppo.ours) is pays
        assert [item.ours for item in ppo.comparisons if "float32" in item.setting] == [
            "float32" if pays else "default"
        ]
        assert supervised.theirs["packing 512"]["arguments"]["bf16"] is pays
        assert ("default but float32" in supervised.theirs) is not pays
