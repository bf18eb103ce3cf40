"""Keep one process, and end it in order when its parent dies, however it dies: `python -m config.lifeline`.

The parent holds the write end of a pipe and never writes; end-of-file on the read end means that it is gone, even by
kill -9. Standard library only: this process stands beside each web server and worker, and should weigh next to nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

# How long an orphan may take to end in order: long enough for a checkpoint in flight to be dropped cleanly, and short
# enough that the next `up` does not wait for it.
ORPHAN_SECONDS = 3.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m config.lifeline", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the pipe's read end")
    parser.add_argument("--pid-file", type=Path, help="where to write who we are, for the next start")
    parser.add_argument("command", nargs="+", help="what to run, after --")
    options = parser.parse_args(arguments)
    return keep(options.command, options.fd, options.pid_file)


def keep(command: list[str], lifeline: int, pid_file: Path | None = None) -> int:
    """Run the command until it ends by itself, is told to stop, or the parent dies; return its exit status."""
    child = subprocess.Popen(command)
    if pid_file:
        pids = (os.getpid(), child.pid)
        pid_file.write_text(json.dumps([{"pid": pid, "started": start_time(pid)} for pid in pids]))

    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, pass_on)
    while child.poll() is None:
        if parent_is_gone(lifeline, wait_seconds=0.2):
            return end(child)
    return exit_status(child.returncode)


def parent_is_gone(lifeline: int, wait_seconds: float) -> bool:
    readable, _, _ = select.select([lifeline], [], [], wait_seconds)
    return bool(readable) and os.read(lifeline, 1) == b""


def end(child: subprocess.Popen[bytes]) -> int:
    """Ask the child to stop, wait a little, then end everything in our process group, ourselves included."""
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    deadline = time.monotonic() + ORPHAN_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if os.getpgrp() == os.getpid():  # ours alone, since the parent starts us in a session of our own
        os.killpg(os.getpid(), signal.SIGKILL)
    if child.poll() is None:
        child.kill()
    return exit_status(child.wait())


def start_time(pid: int) -> str:
    """Return when that process started, as the system tells it; "" where there is none (or only its exit status)."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if after_name[0] == "Z" else after_name[19]
    except OSError:
        pass
    if sys.platform == "linux":
        return ""
    answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def exit_status(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


if __name__ == "__main__":
    sys.exit(main())
