"""manage.py on machines that lack something: real interpreters, in a copy of the door with requirements of its own."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from config import bootstrap, installer
from tests.conftest import ROOT

BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)
DOOR = ["manage.py", *(f"config/{name}.py" for name in ("__init__", "bootstrap", "installer", "requirements"))]
SYSTEM_PYTHON = next((path for minor in (14, 13, 12, 11) if (path := Path(f"/usr/bin/python3.{minor}")).exists()), None)
UNREACHABLE = "http://127.0.0.1:9/simple"


def wheel(folder: Path, name: str, version: str) -> None:
    """Write a wheel with one module, as small as they get."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{info}/RECORD"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(record, "".join(f"{path},,\n" for path in [*files, record]))


class Door:
    """A copy of manage.py and what it needs before Django, with one small package as all its requirements."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        (folder / "config").mkdir(parents=True)
        for name in DOOR:
            shutil.copy(ROOT / name, folder / name)
        (folder / "config" / "linting.py").write_text("import sys\ndef main(arguments):\n    print('in', sys.prefix)\n")
        (folder / "constraints.txt").write_text("")
        (folder / "requirements.txt").write_text("-c constraints.txt\nplackett_tiny==1.0\n")
        (folder / "requirements-dev.txt").write_text("-r requirements.txt\n")
        # Whatever this machine's pip is set up with stays out of it: the one index is a folder.
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))
        }
        self.environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}

    def run(self, *arguments: str, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run manage.py; `before` is Python that the interpreter runs first, to take something away from it."""
        site = self.folder / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(before)
        variables = self.environment | {"PYTHONPATH": str(site)} | environment
        return subprocess.run(
            [BASE_PYTHON, "manage.py", *arguments],
            cwd=self.folder,
            env={name: value for name, value in variables.items() if value},
            capture_output=True,
            text=True,
        )


@pytest.fixture
def door(tmp_path: Path) -> Door:
    wheel(tmp_path / "wheels", "plackett_tiny", "1.0")
    return Door(tmp_path / "checkout", tmp_path / "wheels")


def one_sentence(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_makes_the_environment_once_and_enters_it(door: Door) -> None:
    first = door.run("lint")
    assert f"in {door.folder / '.venv'}" in first.stdout, first.stdout + first.stderr
    assert "Making the environment" in first.stdout and "Installed in" in first.stdout

    second = door.run("lint")
    assert second.stdout == f"in {door.folder / '.venv'}\n"

    wheel(door.folder.parent / "wheels", "plackett_tiny", "2.0")
    (door.folder / "requirements.txt").write_text("plackett_tiny==2.0\n")
    third = door.run("lint")
    assert "Installed in" in third.stdout and "Making" not in third.stdout

    (door.folder / "requirements.txt").write_text("plackett_tiny==2.0\nplackett_absent==1\n")
    assert "no build of plackett_absent==1" in one_sentence(door.run("lint"))

    (door.folder / "requirements.txt").write_text("plackett_elsewhere==1.0\n")
    offline = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": UNREACHABLE, "PIP_RETRIES": "1"}
    assert "The package index can't be reached" in one_sentence(door.run("up", **offline))


def test_what_python_compiles_is_kept(door: Door) -> None:
    (door.folder / "requirements.txt").write_text("")
    (door.folder / "config" / "linting.py").write_text(
        "import os, sys\n\ndef main(arguments):\n"
        "    print(sys.dont_write_bytecode, os.environ.get('PYTHONDONTWRITEBYTECODE'))\n"
    )
    assert door.run("lint", PYTHONDONTWRITEBYTECODE="1").stdout == "False None\n"


def test_an_environment_that_lost_its_python_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    bootstrap.python_of(tmp_path).symlink_to(tmp_path / "gone")
    assert not bootstrap.works(tmp_path)
    assert not bootstrap.works(tmp_path / "never made")


def test_an_interpreter_that_has_everything_is_used_as_it_is(door: Door) -> None:
    (door.folder / "requirements.txt").write_text("")
    result = door.run("lint")
    assert result.stdout.startswith("in ") and ".venv" not in result.stdout
    assert not (door.folder / ".venv").exists()


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_missing_venv_module_says_what_to_install(door: Door, module: str) -> None:
    sentence = one_sentence(door.run("up", before=f"import sys; sys.modules[{module!r}] = None"))
    assert "install" in sentence and "venv" in sentence
    assert not (door.folder / ".venv").exists()


@pytest.mark.skipif(not SYSTEM_PYTHON, reason="needs a system Python 3.11 or later that every user may run")
def test_a_folder_that_can_not_be_written_to(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        Path(folder).chmod(0o755)
        door = Door(Path(folder) / "checkout", tmp_path)
        nobody = 65534 if os.getuid() == 0 else None
        door.folder.chmod(0o555)
        result = subprocess.run(
            [str(SYSTEM_PYTHON), "manage.py", "up"], cwd=door.folder, user=nobody, capture_output=True, text=True
        )
        door.folder.chmod(0o755)
    assert "can't be written to: copy Plackett to a folder of yours" in one_sentence(result)


def test_an_old_python_reads_manage_py_and_finds_words_in_it(door: Door) -> None:
    ast.parse((ROOT / "manage.py").read_text(), feature_version=(3, 5))
    sentence = one_sentence(door.run("up", before="import sys; sys.version_info = (3, 9, 2)"))
    assert sentence.startswith("Plackett needs Python 3.11 or later, and this is 3.9. Install a newer one")


def test_musl_is_refused_before_anything_is_installed(door: Door) -> None:
    sentence = one_sentence(door.run("up", before="import os, sys; os.confstr = lambda name: None"))
    if sys.platform == "linux":
        assert "this Linux uses musl" in sentence
    assert not (door.folder / ".venv").exists()


def test_django_commands_install_nothing(door: Door) -> None:
    sentence = one_sentence(door.run("migrate", before="import sys; sys.modules['django'] = None"))
    assert "Run: python3 manage.py up" in sentence
    assert not (door.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("system", "machine", "glibc", "python", "words"),
    [
        ("linux", "x86_64", True, (3, 11), None),
        ("linux", "aarch64", True, (3, 14), None),
        ("darwin", "arm64", False, (3, 12), None),
        ("darwin", "x86_64", False, (3, 12), "Macs with x86_64"),
        ("win32", "amd64", False, (3, 12), "install WSL 2"),
        ("freebsd14", "amd64", False, (3, 12), "not on freebsd14"),
        ("linux", "riscv64", True, (3, 12), "no builds for riscv64"),
        ("linux", "x86_64", False, (3, 12), "musl"),
        ("linux", "x86_64", True, (3, 15), "start with Python 3.11 to 3.14"),
    ],
)
def test_platforms(system: str, machine: str, glibc: bool, python: tuple[int, int], words: str | None) -> None:
    sentence = bootstrap.platform_problem(system, machine, glibc, python)
    assert (sentence is None) if words is None else (words in str(sentence))


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bootstrap.refuse_full_disk(tmp_path / "not" / "there", 10**9, "installing Plackett")
    assert f"The disk of {tmp_path} is full: installing Plackett takes about 1e+09 GiB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "The disk is full"),
        ("WARNING: Retrying ... Temporary failure in name resolution')'", "can't be reached"),
        ("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        ("ERROR: No matching distribution found for torch==2.13.0", "There is no build of torch==2.13.0"),
        ("ERROR: something else", None),
    ],
)
def test_what_pip_says_becomes_a_sentence(said: str, words: str | None) -> None:
    sentence = installer.explain(["Collecting torch", said])
    assert (sentence is None) if words is None else (words in str(sentence))


def test_the_data_folder_is_its_owners_alone_and_its_key_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "a" / "data"
    monkeypatch.setenv("PLACKETT_DATA", "unset by the argument")
    for variable in ("SECRET_KEY", "DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    bootstrap.choose_data_folder(["manage.py", "up", "--port", "1", f"--data={data}"])
    bootstrap.prepare_data()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    key = data / "secret_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    written = key.read_text()
    assert len(written.strip()) >= 50
    bootstrap.prepare_data()
    assert key.read_text() == written
    assert [path.name for path in data.iterdir()] == ["secret_key"]


def test_a_data_folder_that_can_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PLACKETT_DATA", str(tmp_path / "file"))
    with pytest.raises(SystemExit):
        bootstrap.prepare_data()
    assert "Choose another folder with --data DIR" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bootstrap.choose_data_folder(["manage.py", "up", "--data"])
    assert "--data names no folder" in capsys.readouterr().err


class TestTheSmallerTorch:
    """Without an NVIDIA driver, torch comes from an index of CPU builds where that answers."""

    @pytest.fixture
    def pip(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        target = tmp_path / "installed"
        return [sys.executable, "-m", "pip", "install", "--progress-bar", "off", "--target", str(target)]

    @pytest.fixture
    def requirements(self, tmp_path: Path) -> Path:
        path = tmp_path / "requirements.txt"
        path.write_text("torch==2.13.0\n")
        return path

    def test_is_taken_from_its_index(
        self, pip: list[str], requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheel(tmp_path / "wheels", "torch", "2.13.0+cpu")
        index = tmp_path / "index" / "torch"
        index.mkdir(parents=True)
        found = next((tmp_path / "wheels").iterdir())
        digest = hashlib.sha256(found.read_bytes()).hexdigest()
        (index / "index.html").write_text(f'<a href="{found.as_uri()}#sha256={digest}">{found.name}</a>')
        monkeypatch.setenv("PLACKETT_TORCH_INDEX", index.parent.as_uri())
        installer.install_cpu_torch(pip, requirements, tmp_path / "log", time.monotonic())
        assert (tmp_path / "installed" / "torch-2.13.0+cpu.dist-info").is_dir(), (tmp_path / "log").read_text()

    def test_falls_back_quickly_and_says_so(
        self,
        pip: list[str],
        requirements: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("PLACKETT_TORCH_INDEX", UNREACHABLE)
        installer.install_cpu_torch(pip, requirements, tmp_path / "log", time.monotonic())
        assert "Retrying" not in (tmp_path / "log").read_text()
        assert "It can't be had from there; taking the build of the ordinary index instead" in capsys.readouterr().out

    def test_nothing_is_asked_of_it_where_pip_has_an_index_of_its_own(
        self,
        pip: list[str],
        requirements: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", UNREACHABLE)
        installer.install_cpu_torch(pip, requirements, tmp_path / "log", time.monotonic())
        assert capsys.readouterr().out == ""
