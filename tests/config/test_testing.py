from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import testing
from config.testing import Counts, counted, run_pytest


def test_counts_add_up_and_read_as_one_line(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(
        '<testsuites><testsuite tests="10" failures="1" errors="2" skipped="3" /></testsuites>'
    )
    counts = counted(tmp_path / "report.xml") + Counts(passed=1)
    assert str(counts) == "5 passed, 3 failed, 3 skipped"
    assert counted(tmp_path / "absent.xml").failed == 1, "a run that wrote no report did not pass"


def test_a_run_gives_its_status_and_counts(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pytest.skip('x')\n"
    )
    status, counts = run_pytest(["-c", "/dev/null", "-p", "no:django", "-q", str(tmp_path)], {})
    assert (status, counts) == (1, Counts(1, 1, 1, (("x", 1),)))
    assert (counts + counts).reasons == (("x", 2),)


def test_left_out_services_are_said_and_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(testing, "postgresql_url", lambda: "postgresql://it")
    monkeypatch.setattr(testing, "redis_url", lambda: None)
    monkeypatch.delenv("CI", raising=False)
    assert testing.run_on_services() == (0, Counts())
    assert "left out: no local server answers, and TEST_REDIS_URL is not set" in capsys.readouterr().out
    monkeypatch.setenv("CI", "true")
    assert testing.run_on_services() == (1, Counts(failed=1))


GROUPED = """
import os, pathlib, pytest

@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(6))
def test_it(number):
    with open(pathlib.Path(__file__).with_name("workers"), "a") as file:
        print(os.environ["PYTEST_XDIST_WORKER"], file=file)
"""


def test_tests_of_a_group_run_in_one_process(tmp_path: Path) -> None:
    """They share what is dear to make, or can't run side by side; versions of pytest and pytest-xdist that do not fit
    each other forget it silently."""
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:django", *testing.BOTH_CORES, tmp_path]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len(set((tmp_path / "workers").read_text().split())) == 1
