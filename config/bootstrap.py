"""Enter the environment that a command needs, or make it: `.venv` beside manage.py, installed once.

Standard library only: on a fresh machine nothing else is there yet. What stands in the way is said in one sentence with
the fix. An interpreter that has everything already (the classical road: a virtual environment and `pip install -r`) is
used as it is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from config import installer
from config.requirements import included, missing_pins

BASE_DIR = Path(__file__).resolve().parent.parent
VENV = BASE_DIR / ".venv"
RUNTIME = "requirements.txt"
DEVELOPMENT = "requirements-dev.txt"
NEEDS = {
    "up": RUNTIME,
    "demo": RUNTIME,
    "bench": RUNTIME,
    "faults": DEVELOPMENT,
    "test": DEVELOPMENT,
    "lint": DEVELOPMENT,
}
WRITES_DATA = {"up", "demo", "bench", "migrate"}
NEWEST_PYTHON = (3, 14)
# What an installation takes with the CPU build of torch, and with the CUDA build, rounded up.
INSTALL_GIB_CPU = 3.0
INSTALL_GIB_CUDA = 9.0
DATA_GIB = 0.2


def refuse(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise SystemExit(1)


def enter(argv: list[str]) -> None:
    """Return inside an environment that has what this command needs; may replace the process, or end it in words."""
    command = argv[1] if len(argv) > 1 else "help"

    if command in NEEDS:
        refuse_unsupported_platform()
        keep_bytecode()
        choose_data_folder(argv)
        enter_installed(NEEDS[command], argv)
    else:
        enter_existing(argv)
    if command in WRITES_DATA:
        prepare_data()


def enter_installed(requirements: str, argv: list[str]) -> None:
    """Go on in this interpreter where it has every pin, else in `.venv`, made and installed where need be."""
    wanted = BASE_DIR / requirements
    if not missing_pins(wanted):
        return
    if inside_venv():
        with one_at_a_time():
            install(wanted)
        execute([sys.executable, *argv])
    with one_at_a_time():
        if not works(VENV):
            make_venv()
        if not (stamped(wanted) or satisfied(VENV, wanted)):
            install(wanted)
        stamp(wanted)
    execute([str(python_of(VENV)), *argv])


def enter_existing(argv: list[str]) -> None:
    """Go on with Django wherever it is: here, or in `.venv`; Django's own commands install nothing."""
    if find_spec("django"):
        return
    if not inside_venv() and works(VENV):
        execute([str(python_of(VENV)), *argv])
    refuse("Plackett is not installed yet. Run: python3 manage.py up (or, by hand: pip install -r requirements.txt)")


def keep_bytecode() -> None:
    """Let Python keep what it compiles, whatever the environment says: the packages were installed uncompiled, and each
    process of an installation would compile them again, at five seconds of a core each time."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def execute(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)


# --- what this machine must be -------------------------------------------------------------------------------------


def refuse_unsupported_platform() -> None:
    problem = platform_problem(sys.platform, platform.machine().lower(), is_glibc(), sys.version_info[:2])
    if problem:
        refuse(problem)


def platform_problem(system: str, machine: str, glibc: bool, python: tuple[int, int]) -> str | None:
    """Return the sentence for a platform that Plackett does not support, or None."""
    supported = "Plackett runs on glibc Linux (x86-64, aarch64) and on macOS (Apple silicon)"
    if system == "win32":
        return f"{supported}, not on Windows itself: install WSL 2 (wsl --install) and start it there."
    if system not in {"linux", "darwin"}:
        return f"{supported}, not on {system}: use such a machine, or a virtual one."
    if system == "linux" and not glibc:
        return f"{supported}; this Linux uses musl, for which torch has no builds: use a Debian image, say."
    if system == "darwin" and machine not in {"arm64", "aarch64"}:
        return f"{supported}; torch has no builds for Macs with {machine}: use a Linux machine or an Apple silicon Mac."
    if system == "linux" and machine not in {"x86_64", "amd64", "aarch64", "arm64"}:
        return f"{supported}; torch has no builds for {machine}: use one of those."
    if python > NEWEST_PYTHON:
        newest = ".".join(map(str, NEWEST_PYTHON))
        found = ".".join(map(str, python))
        return f"This is Python {found}, for which torch has no builds yet: start with Python 3.11 to {newest}."
    return None


def is_glibc() -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    return False


def has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def refuse_full_disk(folder: Path, gib: float, what: str) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if free < gib:
        refuse(f"The disk of {folder} is full: {what} takes about {gib:g} GiB, and {free:.1f} GiB are free. Make room.")


# --- the environment -----------------------------------------------------------------------------------------------


def python_of(venv: Path) -> Path:
    return venv / "bin" / "python"


def inside_venv() -> bool:
    return Path(sys.prefix).resolve() == VENV.resolve()


def works(venv: Path) -> bool:
    """Say whether that environment's Python starts and has pip: one may outlive the Python that it was made with."""
    try:
        return subprocess.run([python_of(venv), "-c", "import pip"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def satisfied(venv: Path, wanted: Path) -> bool:
    """Say whether everything is installed there already, by whatever hand."""
    command = [str(python_of(venv)), "-m", "config.requirements", str(wanted)]
    return subprocess.run(command, cwd=BASE_DIR, capture_output=True).returncode == 0


def make_venv() -> None:
    if not os.access(BASE_DIR, os.W_OK):
        refuse(f"{BASE_DIR} can't be written to: copy Plackett to a folder of yours and start it there.")
    if not (find_spec("venv") and find_spec("ensurepip")):
        refuse(missing_venv_sentence())
    refuse_full_disk(BASE_DIR, install_gib(), "installing Plackett")
    print(f"Making the environment {VENV}", flush=True)
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    said = (result.stderr or result.stdout).strip()
    if "ensurepip" in said:
        refuse(missing_venv_sentence())
    refuse(installer.explain(said.splitlines()) or f"The environment can't be made: {installer.last_error([said])}")


def missing_venv_sentence() -> str:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if Path("/etc/debian_version").exists():
        return f"Python's venv module is missing. Install it and start again: sudo apt install python{version}-venv"
    return f"Python {version} lacks its venv or ensurepip module: install your system's package of it and start again."


def install_gib() -> float:
    return INSTALL_GIB_CUDA if sys.platform == "linux" and has_nvidia_driver() else INSTALL_GIB_CPU


def install(wanted: Path) -> None:
    refuse_full_disk(BASE_DIR, install_gib(), "installing Plackett")
    prefer_cpu_torch = sys.platform == "linux" and not has_nvidia_driver()
    problem = installer.install(python_of(VENV), wanted, VENV / "install.log", prefer_cpu_torch=prefer_cpu_torch)
    if problem:
        refuse(problem)
    stamp(wanted)


def fingerprint(wanted: Path) -> str:
    """Return a hash over the file and all that it includes: a change of any of them installs again."""
    digest = hashlib.sha256()
    for path in sorted(included(wanted)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def stamp_of(wanted: Path) -> Path:
    return VENV / f".installed-{wanted.stem}"


def stamped(wanted: Path) -> bool:
    try:
        return stamp_of(wanted).read_text() == fingerprint(wanted)
    except OSError:
        return False


def stamp(wanted: Path) -> None:
    """Note what is installed; the development set holds the runtime one."""
    for path in {wanted, BASE_DIR / RUNTIME}:
        stamp_of(path).write_text(fingerprint(path))


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold this checkout while its environment is made: `up` and `test` may be started side by side."""
    folder = os.open(BASE_DIR, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another command is installing Plackett here; waiting for it.", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


# --- the data folder -----------------------------------------------------------------------------------------------


def choose_data_folder(argv: list[str]) -> None:
    """Hand `--data DIR` on to the settings, which are read before the command parses its own arguments."""
    for position, argument in enumerate(argv[2:], start=2):
        name, _, value = argument.partition("=")
        if name == "--data":
            value = value or (argv[position + 1] if position + 1 < len(argv) else "")
            if not value or value.startswith("--"):
                refuse("--data names no folder: write --data DIR")
            os.environ["PLACKETT_DATA"] = str(Path(value).expanduser().resolve())


def data_folder() -> Path:
    return Path(os.environ.get("PLACKETT_DATA") or BASE_DIR / "data").expanduser().resolve()


def prepare_data() -> None:
    """Make the data folder, for its owner alone, and the key that signs this installation's sessions and links."""
    data = data_folder()
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(data, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "you may not write there")
        refuse_full_disk(data, DATA_GIB, "the data folder")
        if not (os.environ.get("SECRET_KEY") or os.environ.get("DATABASE_URL")):
            write_once(data / "secret_key", secrets.token_urlsafe(48))
    except OSError as error:
        refuse(f"{data} can't be used: {error.strerror}. Choose another folder with --data DIR.")


def write_once(path: Path, text: str) -> None:
    """Write a secret that is made once. The whole file or none, also where two processes start at the same time."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
