"""What this machine is made of, read without torch: from /proc, the control group and NVIDIA's own tool or driver."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
MIB = 1024 * 1024
TOOL_SECONDS = 10


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_bytes: int = 0
    used_bytes: int = 0


def usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def memory(proc: Path = PROC, cgroup: Path = CGROUP) -> tuple[int, int]:
    """(bytes there are, bytes in use): the control group's where it is the narrower; (0, 0) where nobody says."""
    whole, used = host_memory(proc)
    limit = number_in(cgroup / "memory.max")
    if limit and (not whole or limit < whole):
        return limit, number_in(cgroup / "memory.current")
    return whole, used


def host_memory(proc: Path) -> tuple[int, int]:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return 0, 0
    kib = {name: int(rest.split()[0]) for name, _colon, rest in (line.partition(":") for line in lines) if rest.split()}
    whole = kib.get("MemTotal", 0) * 1024
    return whole, max(0, whole - kib.get("MemAvailable", 0) * 1024)


def number_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return 0


def gpus(proc: Path = PROC) -> list[Gpu]:
    """The GPUs that a run of this worker would see. The driver's files name them where its tool is not installed."""
    found = told_by_tool() or told_by_driver(proc)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else chosen(found, visible)


def chosen(found: Sequence[Gpu], visible: str) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES names by number; all of them where it names them otherwise."""
    wanted = [part.strip() for part in visible.split(",") if part.strip()]
    if not all(part.lstrip("-").isdigit() for part in wanted):
        return list(found)
    return [found[int(part)] for part in wanted if 0 <= int(part) < len(found)]


def told_by_tool() -> list[Gpu]:
    tool = shutil.which("nvidia-smi")
    if not tool:
        return []
    command = [tool, "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader,nounits"]
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in out.splitlines() if (gpu := parsed(line))]


def parsed(line: str) -> Gpu | None:
    """A line of the tool: `NVIDIA H200, 143771, 512`, in MiB."""
    parts = [part.strip() for part in line.rsplit(",", 2)]
    if len(parts) != 3 or not parts[0]:
        return None
    whole, used = (int(part) * MIB if part.isdigit() else 0 for part in parts[1:])
    return Gpu(parts[0], whole, used)


def told_by_driver(proc: Path) -> list[Gpu]:
    found = []
    for file in sorted((proc / "driver" / "nvidia" / "gpus").glob("*/information")):
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        found += [
            Gpu(rest.strip()) for name, _colon, rest in (line.partition(":") for line in lines) if name == "Model"
        ]
    return found


def device_name(found: Sequence[Gpu]) -> str:
    names = [gpu.name for gpu in found]
    if not names:
        return "cpu"
    return f"{len(names)} x {names[0]}" if len(names) > 1 else names[0]


@cache
def version() -> str:
    """The release, and a hash of the code that runs here: a host that was not deployed shows another one."""
    folder = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for source in sorted([*folder.rglob("*.py"), *(folder.parent / "annotation").rglob("*.py")]):
        digest.update(source.relative_to(folder.parent).as_posix().encode() + source.read_bytes())
    return f"{os.environ.get('PLACKETT_VERSION', '0.1.0')[:27]}+{digest.hexdigest()[:12]}"
