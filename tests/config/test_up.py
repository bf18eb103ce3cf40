"""`manage.py up`, really started, stopped, and killed."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from config import processes
from config.management.commands.up import Up
from tests.conftest import ROOT, wait_for

pytestmark = pytest.mark.xdist_group("up")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installation:
    """One data folder, and what is started on it."""

    def __init__(self, data: Path) -> None:
        self.data, self.port = data, free_port()
        self.log = data.parent / "up.txt"
        dropped = (
            "PLACKETT_",
            "TEST_",
            "DATABASE_URL",
            "REDIS_URL",
            "SECRET_KEY",
            "ALLOWED_HOSTS",
            "DJANGO_",
            "PYTEST_",
        )
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        self.started: list[subprocess.Popen[bytes]] = []

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "manage.py", "up", "--no-demo", "--data", str(self.data), *arguments]

    def up(self) -> subprocess.Popen[bytes]:
        """Start it and wait until it prints that it is there. How long that takes: `manage.py bench start`."""
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                self.command("--port", str(self.port)), cwd=ROOT, env=self.environment, stdout=output, stderr=output
            )
        self.started.append(process)

        def there() -> bool:
            assert process.poll() is None, self.said()
            return "Ctrl-C stops it all" in self.said()

        wait_for(there, what="up to be there")
        return process

    def kill(self) -> None:
        """End what is left of it, and wait until nothing of it runs: the next start wants the folder to itself."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
        wait_for(lambda: self.living() == [], what="every process to end by itself")

    def refused(self, *arguments: str, **environment: str) -> str:
        variables = self.environment | environment
        result = subprocess.run(self.command(*arguments), cwd=ROOT, env=variables, capture_output=True, text=True)
        assert result.returncode == 1, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result.stderr.strip()

    def said(self) -> str:
        return self.log.read_text()

    def get(self, path: str) -> tuple[int, bytes]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return answer.status, answer.read()

    def pid(self, name: str) -> int:
        """Return the process itself, not its lifeline."""
        return processes.recorded_processes(processes.pid_file(self.data, name))[1].pid

    def living(self) -> list[str]:
        """Return the command line of every process that was started on this folder, by its environment."""
        marker = f"PLACKETT_DATA={self.data}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if marker in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def owners(self) -> int:
        with closing(sqlite3.connect(self.data / "plackett.sqlite3")) as database:
            return int(database.execute("SELECT count(*) FROM annotation_user WHERE is_superuser").fetchone()[0])


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "data")
    yield made
    made.kill()


def test_starts_serves_keeps_alive_outlives_a_kill_and_stops(installation: Installation) -> None:
    up = installation.up()
    said = installation.said()
    assert f"Plackett is at http://127.0.0.1:{installation.port}/" in said
    assert installation.get("/healthz")[0] == installation.get("/readyz")[0] == 200
    link = re.search(r"owner\s+http://[^/]+(/sign-in/\S+)", said)
    assert link and installation.get(link[1])[0] == 200
    assert "Warning" not in (installation.data / "logs" / "web.log").read_text()

    assert "Plackett already runs on" in installation.refused("--port", str(free_port()))
    other = Installation(installation.data.parent / "other")
    sentence = other.refused("--port", str(installation.port))
    assert f"Port {installation.port} is taken" in sentence and f"--port {installation.port + 1}" in sentence
    assert (
        "is no port"
        in subprocess.run(
            other.command("--port", "seventy"), cwd=ROOT, env=other.environment, capture_output=True, text=True
        ).stderr.splitlines()[-1]
    )

    first = installation.pid("web")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: "The web server ended (killed by SIGKILL)" in installation.said(), what="up to say so")
    wait_for(lambda: serves(installation), what="the web server to come back")
    assert installation.pid("web") != first

    owners = installation.owners()
    up.kill()
    up.wait()
    again = installation.up()
    assert installation.owners() == owners == 1
    assert installation.get("/readyz")[0] == 200

    again.send_signal(signal.SIGINT)
    assert again.wait(120) == 0
    assert installation.said().endswith("Stopping: web server, workers, queue\nStopped.\n")
    assert installation.living() == []


def test_a_killed_up_takes_its_processes_along_by_itself(installation: Installation) -> None:
    up = installation.up()
    assert len(installation.living()) >= 8 or not Path("/proc").is_dir()
    up.kill()
    up.wait()
    wait_for(lambda: installation.living() == [], what="every process to end by itself")


@contextmanager
def deaf_server() -> Iterator[tuple[int, list[object]]]:
    """A port where every connection is closed at once, and the list of those that came."""
    came: list[object] = []

    def listen() -> None:
        with suppress(OSError):
            while True:
                accepted, address = server.accept()
                came.append(address)
                accepted.close()

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=listen, daemon=True).start()
        yield int(server.getsockname()[1]), came


def test_a_database_that_does_not_answer_is_asked_once_and_said(installation: Installation) -> None:
    """A pool asks again and again, for as long as a request may wait for a connection."""
    with deaf_server() as (port, came):
        url = f"postgresql://me@127.0.0.1:{port}/plackett?sslmode=disable&gssencmode=disable"
        sentence = installation.refused(DATABASE_URL=url, SECRET_KEY="the test's own key, " * 3)
    assert sentence.startswith("CommandError: The database can't be used: ")
    assert sentence.endswith("Look at DATABASE_URL and that the server runs.")
    assert len(came) == 1


def test_what_a_page_says_it_lacks_is_said(tmp_path: Path) -> None:
    class Lacking(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"ready": false, "database": "ok", "broker": "no answer", "migrations": "2 wait"}')

    with ThreadingHTTPServer(("127.0.0.1", 0), Lacking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        up = Up(tmp_path, "127.0.0.1", server.server_port, demo=False, out=io.StringIO())
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        up.processes.start(processes.Service(name="web", label="it", command=sleep, stop_seconds=5))
        try:
            with pytest.raises(CommandError, match="started and is not ready: broker: no answer; migrations: 2 wait "):
                up.wait(up.page_is_ready, "web", 0.0, why=lambda: up.lacking or "")
        finally:
            up.stop()
            server.shutdown()


def serves(installation: Installation) -> bool:
    try:
        return installation.get("/readyz")[0] == 200
    except OSError:
        return False
