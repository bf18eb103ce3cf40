from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import lifeline
from config.processes import (
    LARGEST_LOG_BYTES,
    Processes,
    Service,
    end_leftovers,
    pid_file,
    recorded_processes,
    rotate,
    worker_command,
)
from tests.conftest import wait_for


def service(code: str, name: str = "it", stop_seconds: float = 5) -> Service:
    return Service(name=name, label=f"{name} process", command=[sys.executable, "-c", code], stop_seconds=stop_seconds)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def held(tmp_path: Path, said: list[str]) -> Iterator[Processes]:
    processes = Processes(tmp_path, said.append)
    yield processes
    processes.stop(*list(processes.kept))


def child_of(held: Processes, name: str = "it") -> int:
    path = pid_file(held.data, name)
    wait_for(lambda: len(recorded_processes(path)) == 2, what="the pid file")
    return recorded_processes(path)[1].pid


def test_one_that_dies_is_started_again_and_said(held: Processes, said: list[str]) -> None:
    held.start(service("import time; time.sleep(600)"))
    first = child_of(held)
    os.kill(first, signal.SIGKILL)

    def started_again() -> bool:
        held.watch()
        found = recorded_processes(pid_file(held.data, "it"))
        return bool(found) and found[-1].pid != first and found[-1].alive()

    wait_for(started_again, what="the second start")
    assert len(said) == 1
    assert "The it process ended (killed by SIGKILL); it starts again in 1 s. Its log: " in said[0]


def test_the_pause_doubles_with_each_failure_in_a_row(held: Processes, said: list[str]) -> None:
    held.start(service("raise SystemExit(3)"))
    kept = held.kept["it"]
    for failures in range(1, 8):
        wait_for(lambda: kept.process.poll() is not None, what="it to fail")
        kept.restart_at = None
        held.watch()
        assert kept.failures == failures
        assert f"(exit status 3); it starts again in {min(2 ** (failures - 1), 30)} s" in said[-1]


def test_a_killed_lifeline_leaves_nothing_behind(held: Processes) -> None:
    held.start(service("import time; time.sleep(600)"))
    child = child_of(held)
    os.kill(held.kept["it"].process.pid, signal.SIGKILL)
    held.kept["it"].process.wait()
    held.watch()
    wait_for(lambda: not lifeline.start_time(child), what="its child to end")


def test_stop_waits_for_an_orderly_end(held: Processes, tmp_path: Path) -> None:
    mark = tmp_path / "stopped"
    held.start(
        service(
            "import signal, sys, time, pathlib\n"
            f"def end(*_): time.sleep(.5); pathlib.Path({str(mark)!r}).touch(); sys.exit()\n"
            "signal.signal(signal.SIGTERM, end); print('ready', flush=True); time.sleep(600)"
        )
    )
    wait_for(lambda: "ready" in held.log("it").read_text(), what="it to be ready")
    held.stop("it")
    assert mark.exists()
    assert not pid_file(held.data, "it").exists()


def test_stop_kills_what_does_not_stop_in_time(held: Processes, said: list[str]) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    held.start(service(stubborn, stop_seconds=0.5))
    child = child_of(held)
    wait_for(lambda: "ready" in held.log("it").read_text(), what="it to be ready")
    held.stop("it")
    wait_for(lambda: not lifeline.start_time(child), what="it to be gone")
    assert said == ["The it process did not stop in time and is killed."]


def test_leftovers_are_known_by_id_and_start_time(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    ours, other = (subprocess.Popen(sleep, start_new_session=True) for _ in range(2))
    rows = [{"pid": ours.pid, "started": lifeline.start_time(ours.pid)}, {"pid": other.pid, "started": "long ago"}]
    pid_file(tmp_path, "web").write_text(json.dumps(rows))
    pid_file(tmp_path, "gpu").write_text('[{"pid": 12')  # written half
    assert end_leftovers(tmp_path, wait_seconds=0.2) == 1
    assert ours.wait(60) == -signal.SIGKILL
    assert other.poll() is None, "another program that got the id is left alone"
    assert not list((tmp_path / "run").iterdir())
    other.kill()
    other.wait()


def test_a_large_log_makes_room(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("wb") as file:
        file.truncate(LARGEST_LOG_BYTES + 1)
    rotate(log)
    assert not log.exists() and (tmp_path / "web.log.1").exists()


def test_only_the_default_worker_sends_the_periodic_tasks() -> None:
    assert "--beat" not in worker_command("gpu", pool="threads", concurrency=1)
    assert "--beat" in worker_command("default", pool="prefork", concurrency=2, beat=Path("beat"))
