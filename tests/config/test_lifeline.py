"""Processes kept by a lifeline end when their parent does, however it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from config import lifeline, processes
from tests.conftest import ROOT, wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def start(read: int, command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    pid_file = folder / "run" / "it.json"
    pid_file.parent.mkdir(exist_ok=True)
    kept = subprocess.Popen(
        [sys.executable, "-m", "config.lifeline", "--fd", str(read), "--pid-file", str(pid_file), "--", *command],
        cwd=ROOT,
        pass_fds=(read,),
        start_new_session=True,
    )
    wait_for(lambda: len(processes.recorded_processes(pid_file)) == 2, what="the pid file")
    return kept


def test_end_of_file_ends_the_process_and_what_it_started(tmp_path: Path) -> None:
    read, write = os.pipe()
    kept = start(read, [sys.executable, "-c", f"import subprocess; subprocess.Popen({SLEEP!r}).wait()"], tmp_path)
    assert kept.poll() is None
    os.close(write)
    kept.wait(60)
    wait_for(lambda: not group_lives(kept.pid), what="the whole session to end")
    os.close(read)


def test_one_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    read, write = os.pipe()
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    kept = start(read, until_ended(stubborn, tmp_path / "ready"), tmp_path)
    wait_for((tmp_path / "ready").exists, what="it to be deaf")
    os.close(write)
    kept.wait(60)
    wait_for(lambda: not group_lives(kept.pid), what="the whole session to end")
    os.close(read)


def test_a_parent_killed_by_force_takes_its_processes_along(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from config.processes import Processes, Service;"
            "held = Processes(Path(sys.argv[1]), print);"
            f"held.start(Service(name='it', label='it', command={SLEEP!r}, stop_seconds=5)); time.sleep(600)",
            str(tmp_path),
        ],
        cwd=ROOT,
    )
    pid_file = processes.pid_file(tmp_path, "it")
    wait_for(lambda: len(processes.recorded_processes(pid_file)) == 2, what="the process to start")
    left = processes.recorded_processes(pid_file)
    assert all(process.alive() for process in left)
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(process.alive() for process in left), what="the processes to end by themselves")


def test_signals_and_exit_statuses_pass_through(tmp_path: Path) -> None:
    read, write = os.pipe()
    graceful = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"
    kept = start(read, until_ended(graceful, tmp_path / "ready"), tmp_path)
    wait_for((tmp_path / "ready").exists, what="it to listen")
    kept.send_signal(signal.SIGTERM)
    assert kept.wait(60) == 7
    killed = start(read, [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path)
    assert processes.how(killed.wait(60)) == "killed by SIGKILL"
    os.close(read)
    os.close(write)


def test_start_time_tells_two_uses_of_an_id_apart() -> None:
    child = subprocess.Popen(SLEEP)
    assert lifeline.start_time(child.pid) not in {"", lifeline.start_time(1)}
    child.kill()
    assert wait_for(lambda: lifeline.start_time(child.pid) == "", what="a zombie to count as gone")
    child.wait()
    assert lifeline.start_time(child.pid) == ""


def until_ended(first: str, ready: Path) -> list[str]:
    """Return the command of a process that does this, says by a file that it is done, and goes on."""
    return [
        sys.executable,
        "-c",
        f"{first}; import pathlib, time; pathlib.Path({str(ready)!r}).touch(); time.sleep(600)",
    ]


def group_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
