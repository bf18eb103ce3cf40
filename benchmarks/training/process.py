"""A measurement in a process of its own: its input, its clock, its memory, its answer. Standard library only.

A child is started with one JSON object, the spec, and prints one, the record, as its last line.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent.parent
LONGEST_SECONDS = 1200.0


class ChildFailed(RuntimeError):
    """A measurement that did not end in a record; the message has the last of what it said."""


class PeakMemory:
    """What a process takes over what its imports took, in MiB; made between the two. Of the GPU, where there is one."""

    def __init__(self, device: str) -> None:
        self.device = device
        with suppress(OSError):  # the kernel forgets the highest so far; elsewhere the imports' peak stays in it
            Path("/proc/self/clear_refs").write_text("5")
        self.before = resident("VmRSS")

    def mib(self) -> float:
        if self.device == "cuda":
            import torch

            return float(torch.cuda.max_memory_allocated()) / 2**20
        return resident("VmHWM") - self.before


def resident(name: str) -> float:
    """VmRSS (now) or VmHWM (highest so far) of this process in MiB; macOS knows the highest alone."""
    with suppress(OSError):
        for text in Path("/proc/self/status").read_text().splitlines():
            if text.startswith(name + ":"):
                return int(text.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run_child(python: Path | str, module: str, spec: Mapping[str, Any], log: Path) -> dict[str, Any]:
    """Measure in a child of that interpreter; what it says besides goes to `log`. Raises ChildFailed."""
    command = [str(python), "-m", module, json.dumps(spec)]
    environment = os.environ | {
        "PYTHONPATH": str(BASE_DIR),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(spec["threads"]),
        **spec.get("environment", {}),
    }
    load = OtherLoad()
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"\n$ {' '.join(command)}\n")
        stream.flush()
        try:
            done = subprocess.run(
                command,
                cwd=BASE_DIR,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                timeout=LONGEST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"{module} took over {LONGEST_SECONDS:.0f} s") from None
        stream.write(done.stdout)
    if done.returncode:
        raise ChildFailed(f"{module} ended with {done.returncode}: {last_line(log)} (all that it said: {log})")
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**record, "other_load": load.share()}


class OtherLoad:
    """What other processes take of this machine while a child runs; above some percent a timing means little."""

    def __init__(self) -> None:
        self.began, self.busy, self.own = time.monotonic(), busy_seconds(), child_seconds()

    def share(self) -> float | None:
        """Of all cores, 0 to 1; None where the system does not say."""
        busy = busy_seconds()
        if self.busy is None or busy is None:
            return None
        others = busy - self.busy - (child_seconds() - self.own)
        return round(max(0.0, others) / ((time.monotonic() - self.began) * (os.cpu_count() or 1)), 3)


def busy_seconds() -> float | None:
    """Seconds that all cores have worked since the machine started, those stolen by its neighbours too."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, soft, steal = (int(field) for field in fields)
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def child_seconds() -> float:
    """Processor seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def last_line(log: Path) -> str:
    lines = [text.strip() for text in log.read_text(encoding="utf-8").splitlines() if text.strip()]
    return lines[-1] if lines else "it said nothing"


def child_main(measure: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The main of a child: the spec from the command line, the record to standard output."""
    began = time.perf_counter()
    record = measure(json.loads(sys.argv[1]))
    print(json.dumps({**record, "wall_seconds": round(time.perf_counter() - began, 2)}), flush=True)
