"""Was it memory? Told from the kernel's own count of kills, and from how large the core had grown. No database.

The kernel's out-of-memory killer and an operator's kill -9 look the same from outside; only the former is not worth a
second try.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 1.0
NEARLY_ALL = 0.9
CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
WORDS = (
    "Memory ran out and the system ended the core. Lower micro_batch_tokens or the batch size, or use a smaller model "
    "or a machine with more memory."
)


@dataclass
class MemoryWatch:
    """Looks at one process while it lives."""

    pid: int
    limit: int | None
    kills_before: int
    resident: int = 0
    looked_at: float = 0.0

    @classmethod
    def of(cls, pid: int) -> MemoryWatch:
        return cls(pid, memory_limit(), kill_count())

    def look(self) -> None:
        if time.monotonic() - self.looked_at >= LOOK_SECONDS:
            self.looked_at = time.monotonic()
            self.resident = resident_bytes(self.pid) or self.resident

    def evidence(self, exit_code: int) -> str:
        """What to tell a person if a killed process was killed for its memory; empty if nothing speaks for that."""
        if exit_code != -9:
            return ""
        if kill_count() > self.kills_before:
            return WORDS + self.figures()
        if self.limit is not None and self.resident >= NEARLY_ALL * self.limit:
            return WORDS + self.figures()
        return ""

    def figures(self) -> str:
        if not self.resident:
            return ""
        of_limit = f" of {gib(self.limit)}" if self.limit else ""
        return f" It was last seen with {gib(self.resident)}{of_limit}."


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def resident_bytes(pid: int) -> int:
    return kilobytes(PROC / str(pid) / "status", "VmRSS:")


def processor_seconds(pid: int) -> float:
    """How long this process has computed so far, all its threads together; 0 where the system does not tell."""
    fields = read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if len(fields) > 12 else 0.0


def cgroup_folders() -> list[Path]:
    """Where this process's memory is counted: its own group and those above, by the older interface and the newer.

    In a container that has its own view, the path that /proc tells may be the host's; what is not there is left out.
    """
    own: list[Path] = []
    for line in read(PROC / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = CGROUP / "memory" if controllers else CGROUP
        folder = top / path.strip("/")
        own += [folder, *(parent for parent in folder.parents if parent.is_relative_to(top))]
    return [folder for folder in dict.fromkeys([*own, CGROUP, CGROUP / "memory"]) if folder.is_dir()]


def memory_limit() -> int | None:
    """The smallest of the groups' limits and the machine's memory; None where none is told."""
    found = [kilobytes(PROC / "meminfo", "MemTotal:")]
    for folder in cgroup_folders():
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = read(folder / name).strip()
            found.append(int(text) if text.isdigit() else 0)
    return min((value for value in found if value), default=None)


def kill_count() -> int:
    """How many processes the kernel has killed for memory: in this process's group, else on the machine."""
    for folder in cgroup_folders():
        if (count := count_in(folder)) is not None:
            return count
    return counted(read(PROC / "vmstat")) or 0


def count_in(folder: Path) -> int | None:
    """The same of one control group; None where it keeps no count."""
    for name in ("memory.events", "memory.oom_control"):
        if (count := counted(read(folder / name))) is not None:
            return count
    return None


def counted(text: str) -> int | None:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None


def kilobytes(path: Path, key: str) -> int:
    for line in read(path).splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
