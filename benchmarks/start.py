"""How long a start takes: `manage.py up` on a new data folder, and again after kill -9, until /readyz says yes.

    python3 manage.py bench start [--runs 3] [--quick]

Prints a JSON line for each of the two. The second start finds the first one's database, its queue's file, and whatever
processes the kill left behind, which it waits out or ends. The aim is 10 s for the start after a kill. `load_before` is
the machine's load average when it began: well above 0, others slow the starts down.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from benchmarks.real_data.installation import BASE_DIR, free_port

AIM_SECONDS = 10.0
LONGEST_SECONDS = 120.0
STOP_SECONDS = 60.0


@contextmanager
def up(data: Path, port: int, log: IO[str]) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """`manage.py up --no-demo` on `data` and the seconds until it was ready; stopped in order at the end."""
    command = [sys.executable, "manage.py", "up", "--no-demo", "--data", str(data), "--port", str(port)]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=BASE_DIR, stdout=log, stderr=subprocess.STDOUT, text=True)
    try:
        while not ready(port):
            if process.poll() is not None or time.monotonic() - began > LONGEST_SECONDS:
                raise SystemExit(f"`up` did not become ready; what it said is in {log.name}")
            time.sleep(0.05)
        yield process, time.monotonic() - began
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def ready(port: int) -> bool:
    """Whether /readyz answers 200: database, queue and migrations are there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is not behind its own proxy
    try:
        with opener.open(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def one_run(folder: Path) -> tuple[float, float]:
    """Seconds of the first start, and of the start after the first was killed."""
    port = free_port()
    with (folder / "up.log").open("w") as log:
        with up(folder / "data", port, log) as (process, first):
            process.kill()
            process.wait()
        with up(folder / "data", port, log) as (_, second):
            pass
    return first, second


def line(setting: str, seconds: Sequence[float], aim: float | None) -> dict[str, Any]:
    """One line of the report; `met` where something is aimed at."""
    median = statistics.median(seconds)
    return {
        "bench": "start",
        "setting": setting,
        "ours": round(median, 2),
        "min": round(min(seconds), 2),
        "max": round(max(seconds), 2),
        "unit": "s",
        "aim": aim,
        "met": None if aim is None else median <= aim,
        "runs": len(seconds),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="manage.py bench start", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="starts of each kind, of which the median is taken (3)")
    parser.add_argument("--quick", action="store_true", help="one of each")
    options = parser.parse_args(arguments)
    found = []
    load = os.getloadavg()[0]
    for _ in range(1 if options.quick else options.runs):
        with tempfile.TemporaryDirectory(prefix="plackett-start-") as folder:
            found.append(one_run(Path(folder)))
            print(
                f"  {found[-1][0]:.1f} s on a new folder, {found[-1][1]:.1f} s after kill -9",
                file=sys.stderr,
                flush=True,
            )
    first, second = zip(*found, strict=True)
    for setting, seconds, aim in (("on a new data folder", first, None), ("after kill -9", second, AIM_SECONDS)):
        print(json.dumps(line(f"up --no-demo {setting}, to /readyz", seconds, aim) | {"load_before": round(load, 2)}))
    return 0 if statistics.median(second) <= AIM_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
