"""What every test may ask for: the queue server, real worker processes on the test's database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest_plugins = ["tests.cast", "tests.s3"]

ROOT = Path(__file__).resolve().parent.parent
WAIT_SECONDS = 120.0  # until a test gives up; what a test waits for, it waits for, however slow the machine


@pytest.fixture(scope="session")
def broker_server(django_db_blocker: object) -> Iterator[str]:
    """The queue server of this session: embedded, or the one that TEST_REDIS_URL names. Gives its Celery address."""
    from django.conf import settings

    from config import broker, processes

    if settings.REDIS_URL:
        yield settings.CELERY_BROKER_URL
        forget_keys()
        return
    data = Path(settings.DATA_DIR)
    broker.prepare(data)
    held = processes.Processes(data, print)  # with a lifeline: a killed test session leaves no server behind
    held.start(processes.broker_service(broker.command(data)))
    wait_for(lambda: broker.answers(data), what="the queue server")
    yield settings.CELERY_BROKER_URL
    held.stop("broker")


@pytest.fixture
def broker(broker_server: str) -> str:
    """An empty queue and an empty cache."""
    forget_keys()
    return broker_server


@pytest.fixture(autouse=True)
def _cache(request: pytest.FixtureRequest) -> None:
    """Tests that touch the database may touch the cache (throttles, locks), which lives in the queue server."""
    fixtures = {"db", "transactional_db", "live_server"} & set(request.fixturenames)
    if fixtures or request.node.get_closest_marker("django_db"):
        request.getfixturevalue("broker")


def forget_keys() -> None:
    """Remove our own keys: everything on the embedded server, only the prefixed ones on a shared one."""
    import redis
    from django.conf import settings

    from config import broker

    if not settings.REDIS_URL:
        redis.from_url(broker.cache_url(Path(settings.DATA_DIR))).flushall()
        return
    client = redis.from_url(settings.REDIS_URL)
    keys = list(client.scan_iter(f"{settings.KEY_PREFIX}*", count=1000))
    if keys:
        client.delete(*keys)


def patience() -> float:
    """Return how much longer than usual this machine takes just now, with others at work on it."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_for(condition: Callable[[], object], *, what: str = "the condition", seconds: float = WAIT_SECONDS) -> object:
    """Return the condition's first true value; fail in words after so many seconds (longer on a busy machine)."""
    seconds *= patience()
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)


@dataclass
class LiveProcesses:
    """Starts the product's own processes against the test's database, and ends them with the test."""

    environment: dict[str, str]
    logs: Path
    lifeline: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def worker(
        self, queue: str, *, pool: str = "threads", concurrency: int = 1, beat: bool = False, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a Celery worker of this queue and wait until it takes messages."""
        process, log = self.start_worker(queue, pool=pool, concurrency=concurrency, beat=beat, **environment)
        self.until_said(process, log, " ready.")
        return process

    def workers(self) -> None:
        """Start a worker of each queue side by side, as `up` does, and wait until both take messages."""
        for process, log in [self.start_worker("default", beat=True), self.start_worker("gpu")]:
            self.until_said(process, log, " ready.")

    def start_worker(
        self, queue: str, *, pool: str = "threads", concurrency: int = 1, beat: bool = False, **environment: str
    ) -> tuple[subprocess.Popen[bytes], Path]:
        from config import processes

        log = self.logs / f"{queue}-{len(self.started)}.log"
        command = processes.worker_command(
            queue, pool=pool, concurrency=concurrency, beat=self.logs / "beat" if beat else None
        )
        return self.start(command, log, **environment), log

    def start(self, command: list[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self.lifeline,),
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def until_said(self, process: subprocess.Popen[bytes], log: Path, text: str) -> None:
        def said() -> bool:
            written = log.read_text(errors="replace")
            assert process.poll() is None, f"it ended with {process.returncode}:\n{written[-3000:]}"
            return text in written

        wait_for(said, what=f"{text!r} in {log.name}")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9 of that process alone, as the kernel or an operator would."""
        process.kill()
        process.wait()

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        process.terminate()
        return process.wait(WAIT_SECONDS)

    def stop_all(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def live_processes(transactional_db: None, broker: str, tmp_path: Path) -> Iterator[LiveProcesses]:
    """Real processes on the test's database and queue; mark such tests `services`."""
    from django.db import connection

    lifeline, held = os.pipe()
    environment = dict(os.environ)
    environment |= {
        "PLACKETT_TEST_LIFELINE_FD": str(lifeline),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PLACKETT_TEST_CHILD_DATABASE": str(connection.settings_dict["NAME"]),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    live = LiveProcesses(environment, tmp_path, lifeline)
    yield live
    live.stop_all()
    os.close(lifeline)
    os.close(held)


@pytest.fixture
def python() -> str:
    return sys.executable
