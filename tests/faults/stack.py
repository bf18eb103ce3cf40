"""The product's own processes, to kill: web server, default worker with its beat, GPU worker, and its cores."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from config import processes
from tests.faults.servers import Server, free_port, until

ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = 5


def environment(data: Path, database: str, redis: str, lifeline: int) -> dict[str, str]:
    """What the command itself and all that it starts are set to."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RUN_", "PLACKETT_", "TEST_", "DJANGO_")) and name not in {"DATABASE_URL", "DEBUG"}
    }
    return kept | {
        "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
        "PLACKETT_DATA": str(data),
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "SECRET_KEY": "of the faults alone, and signs nothing that lives on",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "RUN_LEASE_SECONDS": str(LEASE_SECONDS),
        "RUN_MAX_LOST": "100",
        "RUN_THREADS": "1",
        "RUN_STOP_SECONDS": "10",
        "OMP_NUM_THREADS": "1",
        "FAULTS_LIFELINE_FD": str(lifeline),
        "PYTHONPATH": str(ROOT),
    }


class Stack:
    """Starts each process, and again when it has died, as `up` or systemd would."""

    def __init__(self, data: Path, variables: dict[str, str], lifeline: int, servers: list[Server]) -> None:
        self.data, self.variables, self.lifeline, self.servers = data, variables, lifeline, servers
        self.port = free_port()
        self.commands: dict[str, list[str]] = {
            "web": processes.web_command("127.0.0.1", self.port),
            "default": processes.worker_command("default", pool="prefork", concurrency=2, beat=data / "beat"),
            "gpu": processes.worker_command("gpu", pool="threads", concurrency=1),
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.frozen: list[subprocess.Popen[bytes]] = []

    def log(self, name: str) -> Path:
        return self.data / f"{name}.log"

    def start(self, name: str, **more: str) -> None:
        with self.log(name).open("ab") as output:
            self.running[name] = subprocess.Popen(
                self.commands[name],
                cwd=ROOT,
                env=self.variables | more,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self.lifeline,),
                start_new_session=True,
            )

    def start_all(self) -> None:
        for name in self.commands:
            self.start(name)
        until(self.web_answers, "the web server")

    def keep_alive(self) -> None:
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                self.start(name)

    def web_answers(self) -> bool:
        with suppress(OSError):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2).status == 200)
        return False

    def kill(self, name: str) -> None:
        """kill -9 of a process and what it forked; a core is in a session of its own and not hit."""
        process = self.running[name]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_core(self, run_id: UUID) -> bool:
        """kill -9 of the run's core with all that it started; False where none is running just now."""
        found = self.cores(run_id)
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        return bool(found)

    def cores(self, run_id: UUID | None = None) -> list[int]:
        """Process ids of the cores of a run, or of all."""
        return cores_below(self.data / "files" / "runs", run_id)

    def kill_everything(self, run_id: UUID) -> None:
        """As if the power went: cores, workers, web server, queue and database at once; then all start again."""
        for pid in self.cores():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for server in self.servers:
            server.kill()
        for process in self.running.values():
            process.wait()
        for server in self.servers:
            server.start()
        self.keep_alive()

    def freeze(self, name: str) -> subprocess.Popen[bytes]:
        """SIGSTOP, and no longer ours to keep alive."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGSTOP)
        self.frozen.append(process)
        return process

    def end(self) -> None:
        for process in [*self.running.values(), *self.frozen]:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pid in self.cores():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        for server in self.servers:
            server.end()


def cores_below(folder: Path, run_id: UUID | None) -> list[int]:
    wanted, found = str(folder / (str(run_id) if run_id else "")), []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\x00")
                if any(word.startswith(wanted) for word in words):
                    found.append(int(process.name))
    return found
