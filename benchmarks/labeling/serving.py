"""The real server: `manage.py up` with two web processes, what it weighs, and killing a process of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.labeling.places import BASE_DIR, Place
from benchmarks.real_data.installation import free_port
from benchmarks.start import ready

START_SECONDS = 120.0
STOP_SECONDS = 60.0


class Server:
    """A running `up`. Web processes are those that the web server forked: they answer, and are what is killed."""

    host = "127.0.0.1"

    def __init__(self, data: Path, port: int) -> None:
        self.data, self.port = data, port

    def web_processes(self) -> list[int]:
        """The process ids of those that answer requests now."""
        try:
            master = json.loads((self.data / "run" / "web.json").read_text())[1]["pid"]
        except (OSError, ValueError, KeyError, IndexError):
            return []  # it is just being started again
        return children_of(master)

    def web_mib(self) -> float:
        """What the web processes hold in memory together."""
        return round(sum(resident_mib(pid) for pid in self.web_processes()), 1)

    def web_seconds(self) -> float:
        """Processor seconds that the web processes have used."""
        return sum(processor_seconds(pid) for pid in self.web_processes())

    def kill_web_process(self, place: int) -> bool:
        """SIGKILL one of those that answer; the web server starts another. False where none was there."""
        found = self.web_processes()
        if not found:
            return False
        with suppress(ProcessLookupError):
            os.kill(found[place % len(found)], signal.SIGKILL)
        return True


@contextmanager
def served(place: Place) -> Iterator[Server]:
    """Start `up` on this place and stop it in order at the end."""
    port = free_port()
    command = [sys.executable, "manage.py", "up", "--no-demo", "--data", str(place.data), "--port", str(port)]
    with (place.folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=BASE_DIR, env=place.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            wait_until_ready(process, port, place.folder / "up.log")
            yield Server(place.data, port)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().splitlines()
            raise SystemExit(f"`up` did not become ready: {' / '.join(said[-3:])}")
        time.sleep(0.1)


def children_of(pid: int) -> list[int]:
    """Where the system has /proc; elsewhere none, and what they weigh is not known."""
    found: list[int] = []
    with suppress(OSError):
        for tasks in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (tasks / "children").read_text().split()]
    return sorted(found)


def resident_mib(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def processor_seconds(pid: int) -> float:
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
