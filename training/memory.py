"""Was it memory? Told from the kernel's own count of kills, and from how large the core had grown. No database.

The kernel's out-of-memory killer and an operator's kill -9 look the same from outside; only the former is not worth a
second try.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 1.0
NEARLY_ALL = 0.9
CGROUP = Path("/sys/fs/cgroup")
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
        nearly_all = self.limit is not None and self.resident >= NEARLY_ALL * self.limit
        return WORDS if nearly_all or kill_count() > self.kills_before else ""


def resident_bytes(pid: int) -> int:
    return kilobytes(Path(f"/proc/{pid}/status"), "VmRSS:")


def memory_limit() -> int | None:
    """The smaller of the container's limit and the machine's memory; None where neither is told."""
    found = [kilobytes(Path("/proc/meminfo"), "MemTotal:")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = read(CGROUP / name).strip()
        found.append(int(text) if text.isdigit() else 0)
    return min((value for value in found if value), default=None)


def kill_count() -> int:
    """How many processes of this container the kernel has killed for memory."""
    for name in ("memory.events", "memory/memory.oom_control"):
        for line in read(CGROUP / name).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.strip().isdigit():
                return int(value)
    return 0


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
