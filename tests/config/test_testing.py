from __future__ import annotations

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
