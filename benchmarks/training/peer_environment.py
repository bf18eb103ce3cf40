"""The peer's own Python environment: made once, from pins, in the benchmark's cache folder. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from config import bootstrap, installer
from config.requirements import included


@dataclass(frozen=True)
class Peer:
    """A system that ours is compared with: its name, what its environment is made of, and the room that it takes."""

    name: str
    requirements: Path
    needed_gib: float


TRL = Peer("TRL", Path(__file__).with_name("requirements.txt"), needed_gib=2.5)


class NoPeer(RuntimeError):
    """The peer's environment cannot be had; the message says why, and what to do about it."""


def peer_python(cache: Path, peer: Peer = TRL) -> Path:
    """The interpreter of the peer's environment, made if it is not there. Raises NoPeer: a sentence with the fix."""
    venv = cache / f"peer-{fingerprint(peer.requirements)}"
    python = venv / "bin" / "python"
    if (venv / "complete").exists() and bootstrap.works(venv):
        return python
    free = shutil.disk_usage(cache).free / 2**30
    if free < peer.needed_gib:
        raise NoPeer(
            f"{peer.name}'s environment takes {peer.needed_gib:g} GiB in {cache}, and {free:.1f} are free: make room."
        )
    print(f"Making {peer.name}'s environment in {venv}", file=sys.stderr, flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True)
    if made.returncode:
        said = (made.stderr or made.stdout).strip().splitlines()[-1]
        raise NoPeer(f"{peer.name}'s environment cannot be made: {said}")
    prefer_cpu = sys.platform == "linux" and not bootstrap.has_nvidia_driver()
    with contextlib.redirect_stdout(sys.stderr):  # our standard output is JSON lines
        problem = installer.install(python, peer.requirements, venv / "install.log", prefer_cpu_torch=prefer_cpu)
    if problem:
        raise NoPeer(
            f"{peer.name} can't be installed for the comparison. {problem} (Or measure ours alone: --side ours)"
        )
    (venv / "complete").touch()
    return python


def fingerprint(requirements: Path = TRL.requirements) -> str:
    """Of everything that the environment is made from: other pins, another environment."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(included(requirements)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
