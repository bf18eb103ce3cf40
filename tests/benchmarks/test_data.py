"""The data benchmark's ground, plan and verdicts: that it measures what it says. It is run by hand, not by tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation.lines import read_lines
from annotation.records import RankingRecord, record_of
from benchmarks.data import ground, plan, report
from benchmarks.data.__main__ import parse
from training.exports import TARGETS
from training.packing import CONTAINERS


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_every_file_type_holds_the_same_rankings(tmp_path: Path, name: str) -> None:
    path = ground.make(tmp_path / name, "rankings", 12, seed=1)
    with path.open("rb") as file:
        rows = [line.row for line in read_lines(file, name)]
    records = [record_of("rankings", row or {}) for row in rows]
    expected = [record_of("rankings", row) for row in ground.rankings(12, seed=1)]
    assert records == expected and all(isinstance(record, RankingRecord) for record in records)


def test_the_same_seed_is_the_same_rows_and_no_two_prompts_are_alike() -> None:
    rows = list(ground.rankings(600, seed=1))
    assert rows == list(ground.rankings(600, seed=1))
    assert len({row["prompt"] for row in rows}) == 600
    near = rows[250]["prompt"]
    assert near.replace(" also ", " ", 1) == rows[200]["prompt"]


def test_each_format_and_file_type_of_the_exports_is_measured() -> None:
    assert {kind: set(formats) for kind, formats in plan.FORMATS.items()} == {
        kind: set(targets) for kind, targets in TARGETS.items() if kind != "corpus"
    }
    assert {"jsonl", *plan.CONTAINERS} == set(CONTAINERS)
    steps = list(plan.steps(10_000, first=True))
    measured = {(step.spec["kind"], step.spec["format"]) for step in steps if step.name == "export"}
    assert measured == {(kind, name) for kind, names in plan.FORMATS.items() for name in names}
    assert {step.part for step in steps} - {""} <= set(plan.PARTS)


def test_a_verdict_is_of_ranked_answers_and_of_all_the_memory() -> None:
    record = {"rows": 1000, "seconds": 2.0, "peak_mb": 200.0, "reader_peak_mb": 90.0}
    found = report.line("plackett", "import", "sqlite", record, kind="rankings", format="parquet")
    assert (found["rows_s"], found["answers_s"], found["met"], found["met_mb"]) == (500, 2000, False, True)
    fast = report.line("plackett", "import", "sqlite", {**record, "seconds": 0.4}, kind="rankings", format="jsonl")
    assert fast["answers_s"] == 10_000 and fast["met"]
    large = report.line("plackett", "import", "sqlite", {**record, "peak_mb": 210.0}, kind="prompts", format="jsonl")
    assert not large["met_mb"] and "answers_s" not in large
    assert "met" not in report.line("datasets", "import", "", record, kind="rankings", format="jsonl")


def test_an_export_is_judged_by_the_lines_that_came_out() -> None:
    record = {"rows": 1000, "lines": 6000, "seconds": 0.2, "peak_mb": 90.0}
    found = report.line("plackett", "export", "sqlite", record, kind="rankings", format="preference")
    assert (found["rows_s"], found["lines_s"], found["aim_unit"], found["met"]) == (5000, 30_000, "lines/s", True)


def test_a_part_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--only", "imports"])
    assert "there is no part imports" in capsys.readouterr().err
    assert parse(["--quick"]).rows == plan.QUICK_ROWS and parse([]).rows * ground.ANSWERS == 1_000_000
