"""A Redis and a PostgreSQL server of our own, to kill, freeze, starve and flush as we please."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from config import broker

START_SECONDS = 60.0
NETWORK = "10.231.0.0/16"  # of the hosts that `tests.faults.hosts` makes, and of nobody else
LOWEST_PORT = 15_000


class Lacking(Exception):
    """A program that is not installed here; the message says how to get it."""


def end_with_parent(number: int) -> Callable[[], None]:
    """For a child: have this signal come when its parent dies, however it dies."""
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(1, number)  # PR_SET_PDEATHSIG


def free_port() -> int:
    """One that the system gives to no outgoing connection: a server that is away for a moment finds it free again."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(min(LOWEST_PORT, lowest), lowest), min(100, max(0, lowest - LOWEST_PORT))):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Any, what: str, seconds: float = START_SECONDS) -> Any:
    """The condition's first true value. Raises TimeoutError in words."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)
    return value


def answers(port: int, host: str = "127.0.0.1") -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def children_of(pid: int) -> list[int]:
    """Its children's process ids: PostgreSQL's are in sessions of their own, so that a group's signal misses them."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError, IndexError):
                if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(process.name))
    return found


class Server(ABC):
    """One server process, with all that it forked."""

    name = "server"
    host = "127.0.0.1"
    """The address that it listens on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder / self.name, free_port()
        self.folder.mkdir()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """How it is started."""

    def start(self) -> None:
        with (self.folder.parent / f"{self.name}.log").open("ab") as output:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGINT), **self.owner(),
            )  # fmt: skip
        until(self.is_ready, f"{self.name} to answer")

    def owner(self) -> dict[str, Any]:
        return {}

    def is_ready(self) -> bool:
        return answers(self.port, self.host)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        for pid in [self.process.pid, *children_of(self.process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def restart(self) -> None:
        """Stopped in order, and started again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(START_SECONDS)
        self.start()

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Frozen: it takes connections and answers nothing, which is worse than to refuse them."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()


class Redis(Server):
    """Keeps nothing: a restart loses whatever was queued."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def command(self) -> list[str]:
        program = shutil.which("redis-server") or broker.server_binary()
        quiet = ("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--protected-mode", "no")
        return [program, "--port", str(self.port), "--bind", self.host, "--dir", str(self.folder), *quiet]

    def is_ready(self) -> bool:
        import redis

        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def client(self) -> Any:
        import redis

        return redis.from_url(self.url, socket_timeout=2)

    @contextmanager
    def full(self) -> Iterator[None]:
        """At its memory limit: it refuses every write."""
        self.client().config_set("maxmemory", "1")
        try:
            yield
        finally:
            self.client().config_set("maxmemory", "0")


class PostgreSQL(Server):
    """A cluster of its own in a temporary folder; run by the user postgres where we are root, which it refuses."""

    name = "postgresql"
    # Killed processes are what is tried here, not power cuts: the disk need not be waited for.
    settings: tuple[str, ...] = ("fsync=off",)

    def start(self) -> None:
        if not (self.folder / "cluster").exists():
            self.initialise()
        super().start()

    def initialise(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        command = [program("initdb"), "-D", str(self.folder / "cluster"), "-A", "trust", "-U", "postgres", "-E", "UTF8"]
        with (self.folder.parent / "initdb.log").open("ab") as output:
            subprocess.run([*command, "--no-sync"], check=True, stdout=output, stderr=output, **self.owner())
        with (self.folder / "cluster" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NETWORK} trust\n")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.host}:{self.port}/postgres"

    def owner(self) -> dict[str, Any]:
        as_postgres = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": str(self.folder)}
        return as_postgres if os.getuid() == 0 else {}

    def command(self) -> list[str]:
        settings = [f"listen_addresses={self.host}", *self.settings]
        quiet = [word for setting in settings for word in ("-c", setting)]
        return [program("postgres"), "-D", str(self.folder / "cluster"), "-p", str(self.port), "-k", "", *quiet]

    def is_ready(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    def kill(self) -> None:
        super().kill()
        # What a killed postmaster leaves ends by itself; a new one starts once it has.
        until(lambda: not answers(self.port, self.host), "the old postgresql to be gone")


class S3(Server):
    """An S3-compatible object store over HTTP on a folder, which checks signatures (nanio)."""

    name = "s3"
    bucket = "plackett"
    keys = ("plackett-tests", "opens-nothing-that-lives-on")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (self.folder / "buckets" / self.bucket).mkdir(parents=True)

    def command(self) -> list[str]:
        if not find_spec("nanio"):
            raise Lacking("nanio is not here: pip install -r requirements-dev.txt")
        place = ("--host", self.host, "--port", str(self.port), "--data-dir", str(self.folder / "buckets"))
        return [sys.executable, "-m", "nanio", "serve", *place, "--workers", "1", "--no-access-log"]

    def owner(self) -> dict[str, Any]:
        keys = {"NANIO_ACCESS_KEY": self.keys[0], "NANIO_SECRET_KEY": self.keys[1]}
        return {"env": os.environ | keys}

    def url(self, prefix: str) -> str:
        return f"s3://{self.bucket}/{prefix}?endpoint=http://{self.host}:{self.port}"

    def variables(self, prefix: str) -> dict[str, str]:
        """What a process is told of it."""
        return {
            "STORE_URL": self.url(prefix),
            "AWS_ACCESS_KEY_ID": self.keys[0],
            "AWS_SECRET_ACCESS_KEY": self.keys[1],
        }


def program(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    if not path:
        raise Lacking(f"PostgreSQL's {name} is not here: apt install postgresql")
    return path
