"""`manage.py up`: everything that Plackett needs on one machine, started in order and stopped in order."""

from __future__ import annotations

import argparse
import errno
import fcntl
import io
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from config import broker, processes

FIRST_PAGE_SECONDS = 60.0
DATABASE_SECONDS = 3
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def port_number(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: choose a number from 1 to 65535, such as 8000")
    return number


class Command(BaseCommand):
    help = "Start Plackett on this machine: database, queue, web server, workers, and the demo project."
    requires_system_checks: list[str] = []  # `migrate` runs them

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--port", type=port_number, default=8000, help="where the pages are served (8000)")
        parser.add_argument(
            "--host", default="127.0.0.1", help="the address to listen on (127.0.0.1: this machine only)"
        )
        parser.add_argument("--data", metavar="DIR", help="the folder for the database, files and logs (data)")
        parser.add_argument("--no-demo", action="store_true", help="make no demo project")

    def handle(self, *args: Any, **options: Any) -> None:
        data = Path(settings.DATA_DIR)
        with only_one(data):
            Up(data, options["host"], options["port"], demo=not options["no_demo"], out=self.stdout).run()


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Hold the data folder; a second `up` on it is refused. The lock goes with the process, however that dies."""
    with (data / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CommandError(
                f"Plackett already runs on {data} (process {lock.read().strip() or 'unknown'}): "
                "use that one, stop it with Ctrl-C, or choose another folder with --data DIR."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


class Up:
    """One run of `up`, from the first line printed to the last process gone."""

    def __init__(self, data: Path, host: str, port: int, *, demo: bool, out: TextIO | Any) -> None:
        self.data, self.host, self.port, self.demo, self.out = data, host, port, demo, out
        self.signals = 0
        self.lacking: str | None = ""
        self.processes = processes.Processes(data, self.say)

    def say(self, text: str) -> None:
        with suppress(OSError):  # a closed terminal must not keep us from stopping in order
            self.out.write(text)
            self.out.flush()

    def run(self) -> None:
        with self.stop_on_signals():
            try:
                self.start()
                while not self.signals:
                    self.processes.watch()
                    time.sleep(0.2)
            finally:
                self.stop()

    @contextmanager
    def stop_on_signals(self) -> Iterator[None]:
        """Count signals instead of raising: a start is never left half done between a process and its record."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self.note_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def note_signal(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1

    def start(self) -> None:
        self.say(f"Plackett, with its data in {self.data}")
        left = processes.end_leftovers(self.data)
        if left:
            self.say("  cleaned up after a start that was killed")
        refuse_taken_port(self.host, self.port)
        for step in (self.start_queue, self.migrate, self.start_web_and_workers, self.welcome):
            if self.signals:
                return
            step()

    def start_queue(self) -> None:
        if settings.REDIS_URL:
            return self.done("queue", "the Redis server of REDIS_URL", time.monotonic())
        started = time.monotonic()
        try:
            broker.prepare(self.data)
            command = broker.command(self.data)
        except broker.BrokerError as error:
            raise CommandError(str(error)) from error
        if broker.answers(self.data):  # its lifeline was killed too; its queue is in its file, which it writes out now
            broker.stop(self.data)
        self.processes.start(processes.broker_service(command))
        if not self.wait(lambda: broker.answers(self.data), "broker", broker.START_SECONDS):
            return None
        return self.done("queue", "embedded server", started)

    def migrate(self) -> None:
        started = time.monotonic()
        progress = MigrationProgress(self.say)
        try:
            if connection.vendor == "sqlite":
                # A power cut may take back the newest migrations, in order, and the next start applies them again: no
                # need to wait for the disk at each, which is slow just after an installation wrote to it.
                connection.cursor().execute("PRAGMA synchronous=NORMAL")
            else:
                reach_database(connection)
            call_command("migrate", interactive=False, stdout=progress, no_color=True)
        except DatabaseError as error:
            raise CommandError(f"The database can't be used: {str(error).strip()}. {database_fix(error)}") from error
        finally:
            connections.close_all()
        self.done("database", f"{progress.applied} migrations applied" if progress.applied else "up to date", started)

    def start_web_and_workers(self) -> None:
        started = time.monotonic()
        self.processes.start(processes.web_service(self.host, self.port, settings.WEB_PROCESSES))
        self.processes.start(processes.default_worker_service(self.data))
        self.processes.start(processes.gpu_worker_service())
        if self.wait(self.page_is_ready, "web", FIRST_PAGE_SECONDS, why=lambda: self.lacking or ""):
            self.done("web", "and two workers started", started)

    def wait(self, ready: Callable[[], bool], name: str, seconds: float, why: Callable[[], str] = lambda: "") -> bool:
        """Wait until ready; False when told to stop meanwhile; a process that ends or hangs is said with its log.

        why: what a process that lives says it lacks; nothing where it says nothing.
        """
        started = said_at = time.monotonic()
        while not ready():
            now = time.monotonic()
            log = self.processes.log(name)
            if self.signals:
                return False
            if self.processes.died(name) or now - started > seconds:
                if not self.processes.died(name) and (lacking := why()):
                    raise CommandError(f"The {name} process started and is not ready: {lacking} (its log: {log})")
                raise CommandError(f"The {name} process did not start: {broker.last_line(log)} (its log: {log})")
            if now - said_at > 2:
                self.say(f"  {name:9} waiting for it, {now - started:.0f} s")
                said_at = now
            time.sleep(0.1)
        return True

    def page_is_ready(self) -> bool:
        self.lacking = what_is_lacking(self.local_address() + "/readyz")
        return self.lacking is None

    def local_address(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(self.host, self.host)
        return f"http://{host}:{self.port}"

    def welcome(self) -> None:
        """Print the address and the sign-in links, anew at each start."""
        if self.demo:
            started = time.monotonic()
            from demo.driver import ensure_demo

            ensure_demo()
            self.done("demo", "project is there", started)
        from annotation.services.sign_in import sign_in_links

        self.say(f"\nPlackett is at {self.local_address()}/")
        if self.host not in LOOPBACK and not os.environ.get("ALLOWED_HOSTS"):
            self.say("From other machines: set ALLOWED_HOSTS to the name they use, such as plackett.example.org")
        self.say("Sign in by a link (each works once; every start makes new ones):")
        for role, path in sign_in_links():
            self.say(f"  {role:11} {self.local_address()}{path}")
        connections.close_all()
        self.say("Ctrl-C stops it all.\n")

    def stop(self) -> None:
        """Web first, so that nobody is answered half; then the workers, which hand their run back; then the queue."""
        if not self.processes.kept:
            return
        asked = self.signals
        self.say("Stopping: web server, workers, queue")
        for names in (("web",), ("default", "gpu"), ("broker",)):
            self.processes.stop(*names, hurry=lambda: self.signals > asked + 1)
        if not settings.REDIS_URL:
            broker.stop(self.data)  # has gone by now, but for a folder that a long path needed
        self.say("Stopped.")

    def done(self, name: str, what: str, started: float) -> None:
        self.say(f"  {name:9} {what} ({time.monotonic() - started:.1f} s)")


class MigrationProgress(io.StringIO):
    """Counts what `migrate` writes, and says how far it is where that takes over two seconds."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self.say, self.applied = say, 0
        self.started = self.said_at = time.monotonic()

    def write(self, text: str) -> int:
        self.applied += text.count("... OK") + text.strip().startswith("OK")
        now = time.monotonic()
        if now - self.said_at > 2:
            self.say(f"  database  migrating: {self.applied} done, {now - self.started:.0f} s")
            self.said_at = now
        return len(text)


def reach_database(connection: BaseDatabaseWrapper) -> None:
    """Connect once, without the pool: that goes on trying for as long as somebody may wait for a free connection.

    Raises: DatabaseError, at once or where nothing answers after DATABASE_SECONDS for each address of the host.
    """
    import psycopg

    parameters = {"connect_timeout": DATABASE_SECONDS} | connection.get_connection_params()
    with connection.wrap_database_errors:
        psycopg.connect(**parameters).close()


def what_is_lacking(url: str) -> str | None:
    """Return None where /readyz says ready, else what it says is missing; "" where it says nothing we can read."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is not behind its own proxy
    try:
        with opener.open(url, timeout=5) as answer:
            said = json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal, suppress(OSError, ValueError):
            said = json.load(refusal)
            return "; ".join(f"{part}: {words}" for part, words in said.items() if part != "ready" and words != "ok")
        return ""
    except (OSError, ValueError):
        return ""
    return None if said.get("ready") is True else ""


def refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(bind_sentence(error, host, port)) from None


def bind_sentence(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken by another program: stop that one, or choose another port with --port {port + 1}."
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than you have: choose one above 1024 with --port 8000."
    return f"{host} is no address of this machine ({error.strerror}): leave --host out, or name one that is."


def database_fix(error: DatabaseError) -> str:
    if settings.PRODUCTION:
        return "Look at DATABASE_URL and that the server runs."
    if "full" in str(error):
        return "The disk is full: make room and start again."
    return "Look at the rights on the data folder, or choose another with --data DIR."
