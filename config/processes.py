"""The processes behind `up`: their command lines, keeping them alive, and ending them in order.

Each runs in a session of its own under `config.lifeline`: Ctrl-C in the terminal reaches only `up`, which stops them in
order, and a kill -9 of `up` closes the pipe that they watch. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from config import lifeline

BASE_DIR = Path(__file__).resolve().parent.parent
LONGEST_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 60.0  # a process that ran this long starts its backoff anew
LARGEST_LOG_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process of the product: what to run, and how long it may take to stop in order."""

    name: str
    label: str
    command: list[str]
    stop_seconds: float


def web_command(host: str, port: int, workers: int = 1) -> list[str]:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return [
        *(sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", address),
        # The pages are sync ORM code: threads share one process, and live progress is polled, never held open.
        *("--worker-class", "gthread", "--workers", str(workers), "--threads", "8"),
        *("--timeout", "120", "--graceful-timeout", "5", "--keep-alive", "30", "--no-control-socket"),
    ]


def worker_command(queue: str, *, pool: str, concurrency: int, beat: Path | None = None) -> list[str]:
    """Return the command line of a Celery worker; with `beat` (a state file), it also sends the periodic tasks."""
    command = [
        *(
            sys.executable,
            "-m",
            "celery",
            "--app",
            "config",
            "--skip-checks",
            "worker",
            "--queues",
            queue,
            "--hostname",
            f"{queue}@%h",
        ),
        *("--pool", pool, "--concurrency", str(concurrency), "--loglevel", "INFO"),
        # Gossip and mingle only add errors to the log when the queue server restarts.
        *("--without-gossip", "--without-mingle"),
    ]
    return command if beat is None else [*command, "--beat", "--schedule", str(beat)]


def web_service(host: str, port: int, workers: int = 1) -> Service:
    return Service(name="web", label="web server", command=web_command(host, port, workers), stop_seconds=10)


def default_worker_service(data: Path) -> Service:
    # Three forked children: an import that is killed or runs out of memory takes its child along, not the worker or
    # beat; and beside an import and an export the sweep goes through. Safe to fork: nothing here imports torch.
    command = worker_command("default", pool="prefork", concurrency=3, beat=data / "run" / "beat")
    return Service(name="default", label="default worker", command=command, stop_seconds=15)


def gpu_worker_service() -> Service:
    # One thread that watches one run, whose core is a process of its own; stopping hands the run back.
    command = worker_command("gpu", pool="threads", concurrency=1)
    return Service(name="gpu", label="gpu worker", command=command, stop_seconds=40)


def broker_service(command: list[str]) -> Service:
    return Service(name="broker", label="queue server", command=command, stop_seconds=10)


@dataclass
class Kept:
    """A service that was started, and what keeping it alive needs to know."""

    service: Service
    process: subprocess.Popen[bytes]
    started: float
    failures: int = 0
    restart_at: float | None = None


@dataclass
class Processes:
    """Starts services under a lifeline, starts the dead ones again, and stops all in the order asked for."""

    data: Path
    say: Callable[[str], None]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    kept: dict[str, Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # We hold the write end and never write. Neither end is inherited, but for the read end given on by `pass_fds`.
        self.lifeline_read, self.lifeline_write = os.pipe()
        for folder in ("run", "logs"):
            (self.data / folder).mkdir(mode=0o700, parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"

    def start(self, service: Service) -> None:
        self.kept[service.name] = Kept(service, self._spawn(service), time.monotonic())

    def _spawn(self, service: Service) -> subprocess.Popen[bytes]:
        log = self.log(service.name)
        rotate(log)
        command = [
            *(sys.executable, "-m", "config.lifeline", "--fd", str(self.lifeline_read)),
            *("--pid-file", str(pid_file(self.data, service.name)), "--", *service.command),
        ]
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=BASE_DIR,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self.lifeline_read,),
                start_new_session=True,
            )

    def died(self, name: str) -> bool:
        return self.kept[name].process.poll() is not None

    def watch(self) -> None:
        """Start again what has ended, after a pause that doubles with each failure in a row. Call it often."""
        now = time.monotonic()
        for kept in self.kept.values():
            if kept.restart_at is not None:
                if now >= kept.restart_at:
                    kept.process, kept.started, kept.restart_at = self._spawn(kept.service), now, None
            elif kept.process.poll() is not None:
                self._plan_restart(kept, now)

    def _plan_restart(self, kept: Kept, now: float) -> None:
        kill_group(kept.process.pid)  # what a killed lifeline left in its session
        kept.failures = 1 if now - kept.started > STEADY_SECONDS else kept.failures + 1
        pause = min(2.0 ** (kept.failures - 1), LONGEST_BACKOFF_SECONDS)
        kept.restart_at = now + pause
        self.say(
            f"The {kept.service.label} ended ({how(kept.process.returncode)}); it starts again in {pause:.0f} s. "
            f"Its log: {self.log(kept.service.name)}"
        )

    def stop(self, *names: str, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop these services together and wait until each has gone; `hurry` cuts their time short."""
        going = [kept for name in names if (kept := self.kept.pop(name, None)) and kept.restart_at is None]
        for kept in going:
            with contextlib.suppress(ProcessLookupError):
                kept.process.terminate()
        for kept in going:
            deadline = time.monotonic() + kept.service.stop_seconds
            while kept.process.poll() is None and time.monotonic() < deadline and not hurry():
                time.sleep(0.05)
            if kept.process.poll() is None:
                self.say(f"The {kept.service.label} did not stop in time and is killed.")
            kill_group(kept.process.pid)
            kept.process.wait()
        for name in names:
            pid_file(self.data, name).unlink(missing_ok=True)


def how(returncode: int) -> str:
    """Say in words how a process ended; our lifeline gives on a signal as 128 + its number."""
    number = -returncode if returncode < 0 else returncode - 128
    try:
        return f"killed by {signal.Signals(number).name}" if number > 0 else f"exit status {returncode}"
    except ValueError:
        return f"exit status {returncode}"


def kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def rotate(log: Path) -> None:
    """Keep one older log, so that a year of `up` does not fill the disk."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))


def pid_file(data: Path, name: str) -> Path:
    return data / "run" / f"{name}.json"


def end_leftovers(data: Path, wait_seconds: float = lifeline.ORPHAN_SECONDS + 2) -> int:
    """End what a killed `up` left, known by process id and start time, never by name; return how many there were.

    Their lifelines end them anyhow: this waits for that, and kills only what is still there afterwards.
    """
    left = [process for path in sorted((data / "run").glob("*.json")) for process in recorded_processes(path)]
    alive = [process for process in left if process.alive()]
    deadline = time.monotonic() + wait_seconds
    while any(process.alive() for process in alive) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in alive:
        if process.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # Ours lead no group but their own session's, so the whole group goes.
                os.killpg(os.getpgid(process.pid), signal.SIGKILL)
    for path in (data / "run").glob("*.json"):
        path.unlink(missing_ok=True)
    return len(alive)


@dataclass(frozen=True)
class Recorded:
    """A process by id and start time: ids are used again, the pair is not."""

    pid: int
    started: str

    def alive(self) -> bool:
        return lifeline.start_time(self.pid) == self.started


def recorded_processes(path: Path) -> list[Recorded]:
    try:
        rows = json.loads(path.read_text())
        return [Recorded(int(row["pid"]), str(row["started"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # written half by a killed process: its lifeline ends it all the same
