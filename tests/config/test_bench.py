"""`manage.py bench` lists the benchmarks and hands what follows a name on to it, untouched."""

import io
import os
import sys

import pytest
from django.core.management import call_command

from config.management.commands import bench


def test_without_a_name_it_lists_what_there_is() -> None:
    out = io.StringIO()
    call_command("bench", stdout=out)
    listed = {text.split()[0]: text for text in out.getvalue().splitlines()}
    assert {"start", "training"} <= set(listed)
    assert "TRL" in listed["training"]
    assert "__init__" not in listed and "results" not in listed


def test_the_rest_of_the_line_is_the_benchmarks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "chdir", lambda folder: None)

    def become(path: str, command: list[str]) -> None:
        seen.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", become)
    with pytest.raises(SystemExit):
        bench.Command().run_from_argv(["manage.py", "bench", "training", "--only", "sft", "--help"])
    assert seen == [[sys.executable, "-m", "benchmarks.training", "--only", "sft", "--help"]]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SystemExit, match=r"There is no benchmark nothing: choose from .*start"):
        bench.Command().start("nothing", [])
