"""An installation of its own for the trial: `manage.py up` without the demo, ended in order."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

BASE_DIR = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 180.0
STOP_SECONDS = 60.0
LINK = re.compile(r"(http://\S+?)(/sign-in/\S+/)")


@contextmanager
def installation(data: Path) -> Iterator[tuple[str, str]]:
    """Start Plackett on `data`; yields its address and the path of a one-time sign-in link. Stops it at the end."""
    port = free_port()
    command = [sys.executable, "manage.py", "up", "--no-demo", "--data", str(data), "--port", str(port)]
    process = subprocess.Popen(command, cwd=BASE_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    watchdog = threading.Timer(START_SECONDS, process.terminate)
    watchdog.start()
    try:
        address, link = printed_link(process.stdout)
        watchdog.cancel()
        threading.Thread(target=show, args=(process.stdout,), daemon=True).start()  # or the pipe fills
        yield address, link
    finally:
        watchdog.cancel()
        process.send_signal(signal.SIGTERM)
        if process.wait(STOP_SECONDS) != 0:
            print(f"`up` ended with {process.returncode}", file=sys.stderr)


def printed_link(lines: IO[str]) -> tuple[str, str]:
    said = []
    for line in lines:
        print(f"  | {line}", end="", flush=True)
        said.append(line)
        if found := LINK.search(line):
            return found[1], found[2]
    raise RuntimeError(f"`up` ended without a sign-in link: {''.join(said[-5:])}")


def show(lines: IO[str]) -> None:
    for line in lines:
        if line.strip():
            print(f"  | {line}", end="", flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
