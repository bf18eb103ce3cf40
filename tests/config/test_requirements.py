from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from config.requirements import included, missing_pins, pinned_version, pins

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_our_own_files_are_read_whole() -> None:
    runtime = dict(pins(ROOT / "requirements.txt"))
    development = dict(pins(ROOT / "requirements-dev.txt"))
    assert runtime["torch"] == "2.13.0"
    assert runtime["psycopg"]
    assert runtime.items() <= development.items()
    assert all(development.values()), "every direct requirement is pinned"


def test_oracles_are_for_tests_only() -> None:
    """TRL is what losses are compared with; whoever runs Plackett, or the core alone, never installs it."""
    assert "trl" in dict(pins(ROOT / "requirements-dev.txt"))
    for name in ("requirements.txt", "requirements-core.txt"):
        assert not {"trl", "datasets"} & dict(pins(ROOT / name)).keys()


def test_included_files_are_found_each_once(tmp_path: Path) -> None:
    written(tmp_path, "c.txt", "pytest==0.1\n")
    written(tmp_path, "base.txt", "-c c.txt\npytest\n")
    path = written(tmp_path, "all.txt", "-r base.txt\n-c c.txt  # again\nfoo==1\n")
    assert [file.name for file in included(path)] == ["all.txt", "base.txt", "c.txt"]


def test_includes_markers_extras_and_comments(tmp_path: Path) -> None:
    written(tmp_path, "base.txt", "-c constraints.txt\n\npytest==0.1  # why\n")
    path = written(
        tmp_path,
        "all.txt",
        "-r base.txt\nfoo[bar,baz]==2.0\nwin==1; sys_platform == 'win32'\nnix==3; sys_platform != \"win32\"\n",
    )
    assert list(pins(path)) == [("pytest", "0.1"), ("foo", "2.0"), ("nix", "3")]
    assert pinned_version(path, "foo") == "2.0"
    assert missing_pins(path) == ["pytest==0.1", "foo==2.0", "nix==3"]


def test_a_local_build_counts_as_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0+cpu")
    assert missing_pins(written(tmp_path, "r.txt", "torch==2.13.0\n")) == []
    assert missing_pins(written(tmp_path, "r.txt", "torch==2.13\n")) == ["torch==2.13"]


def test_a_line_it_can_not_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"r\.txt: can't read the line 'torch>=2'"):
        list(pins(written(tmp_path, "r.txt", "torch>=2\n")))
