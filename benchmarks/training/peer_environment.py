"""The peer's own Python environment: made once, from pins, in the benchmark's cache folder. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from config import bootstrap, installer
from config.requirements import included

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
NEEDED_GIB = 2.5


class NoPeer(RuntimeError):
    """The peer's environment cannot be had; the message says why, and what to do about it."""


def peer_python(cache: Path, requirements: Path = REQUIREMENTS, *, name: str = "TRL", gib: float = NEEDED_GIB) -> Path:
    """The interpreter of the peer's environment, made if it is not there. Raises NoPeer: a sentence with the fix."""
    cache.mkdir(parents=True, exist_ok=True)
    venv = cache / f"peer-{fingerprint(requirements)}"
    python = venv / "bin" / "python"
    if (venv / "complete").exists() and bootstrap.works(venv):
        return python
    free = shutil.disk_usage(cache).free / 2**30
    if free < gib:
        raise NoPeer(f"{name}'s environment takes {gib:g} GiB in {cache}, and {free:.1f} are free: make room.")
    print(f"Making {name}'s environment in {venv}", file=sys.stderr, flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True)
    if made.returncode:
        raise NoPeer(f"{name}'s environment cannot be made: {(made.stderr or made.stdout).strip().splitlines()[-1]}")
    prefer_cpu = sys.platform == "linux" and not bootstrap.has_nvidia_driver()
    with contextlib.redirect_stdout(sys.stderr):  # our standard output is JSON lines
        problem = installer.install(python, requirements, venv / "install.log", prefer_cpu_torch=prefer_cpu)
    if problem:
        raise NoPeer(f"{name} cannot be installed for the comparison. {problem} (Or measure ours alone.)")
    (venv / "complete").touch()
    return python


def fingerprint(requirements: Path = REQUIREMENTS) -> str:
    """Of everything that the environment is made from: other pins, another environment."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(included(requirements)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
