"""Run pip so that a person sees what it does, and say what went wrong in one sentence. Standard library only."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from config.requirements import pinned_version

CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_INDEX_SECONDS = 5  # to connect; where it can't be reached, the ordinary index has the larger build
SAY_EVERY_SECONDS = 5.0

# What pip prints, and what a person can do about it; the first match is the cause.
CAUSES = [
    (
        re.compile(r"No space left on device|Disk quota exceeded", re.I),
        "The disk is full: make room (Plackett's packages take 2 GB, 7 GB with CUDA) and start again.",
    ),
    (
        re.compile(
            r"NewConnectionError|NameResolutionError|Failed to establish a new connection|name resolution"
            r"|ConnectTimeout"
            r"|Network is unreachable|ReadTimeoutError|ProxyError|Max retries exceeded|Connection (refused|reset)",
            re.I,
        ),
        "The package index can't be reached: connect this machine to the network, or point pip at an index that it "
        "reaches (PIP_INDEX_URL), and start again; what is downloaded already is kept.",
    ),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLError", re.I),
        "The package index's certificate is not trusted: name your network's certificates in PIP_CERT and start again.",
    ),
    (
        re.compile(r"No matching distribution found for (?P<what>\S+)", re.I),
        "There is no build of {what} for this machine and Python in the package index: use Python 3.11 to 3.14 from "
        "python.org or your system, and an index that has it.",
    ),
    (
        re.compile(r"Permission denied|Read-only file system", re.I),
        "The environment can't be written to: remove .venv, or start as the user that owns this folder.",
    ),
]


def install(python: Path, requirements: Path, log: Path, *, prefer_cpu_torch: bool) -> str | None:
    """Install the requirements there, showing progress; return a sentence where that failed."""
    started = time.monotonic()
    print(f"Installing {requirements.name} (once; a few minutes on a slow line)", flush=True)
    log.write_text("")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    if prefer_cpu_torch:
        install_cpu_torch(pip, requirements, log, started)
    # Half the time without compiling; Python compiles each module at its first import.
    lines, status = run([*pip, "--no-compile", "--requirement", str(requirements)], log, started)
    if status:
        return explain(lines) or f"pip failed: {last_error(lines)} (all that it said: {log})"
    print(f"Installed in {time.monotonic() - started:.0f} s", flush=True)
    return None


def install_cpu_torch(pip: list[str], requirements: Path, log: Path, started: float) -> None:
    """Take torch's CPU build from its own index where that answers: some GB less than the build with CUDA."""
    version = pinned_version(requirements, "torch")
    index = os.environ.get("PLACKETT_TORCH_INDEX", CPU_TORCH_INDEX)
    if not version or own_index(pip):
        return
    print(f"No NVIDIA driver here: trying torch's smaller CPU build from {index}", flush=True)
    quickly = ["--retries", "0", "--timeout", str(CPU_INDEX_SECONDS)]
    _, status = run(
        [*pip, *quickly, "--no-compile", "--no-deps", f"torch=={version}", "--index-url", index], log, started
    )
    if status:
        print("It can't be had from there; taking the build of the ordinary index instead", flush=True)


def own_index(pip: list[str]) -> bool:
    """Say whether pip is set up with an index of the person's own, or none: then nothing is asked of another."""
    if os.environ.get("PIP_INDEX_URL") or os.environ.get("PIP_NO_INDEX"):
        return True
    command = [*pip[:3], "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    return bool(re.search(r"^\S*\.(index-url|no-index)=", listed, re.M))


def run(command: list[str], log: Path, started: float) -> tuple[list[str], int]:
    """Run pip, showing what it is at; return its lines and exit status."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    lines: list[str] = []
    progress = Progress(started)
    try:
        with log.open("a") as file:
            for line in lines_or_ticks(process):
                if line is not None:
                    file.write(line)
                    lines.append(line.strip())
                    progress.note(line.strip())
                progress.show()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        progress.end()
        print("Stopped; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    progress.end()
    return lines, process.wait()


def lines_or_ticks(process: subprocess.Popen[str]) -> Iterator[str | None]:
    """Give each line as it comes, and None once a second in between: pip says nothing while it unpacks."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=1)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


class Progress:
    """One line that says what pip is at and for how long: rewritten on a terminal, now and then a new one elsewhere."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.doing = "asking the package index"
        self.terminal = sys.stdout.isatty()
        self.said_at = time.monotonic()

    def note(self, line: str) -> None:
        if found := re.match(r"Collecting (\S+)", line):
            self.doing = f"looking up {found[1]}"
        elif found := re.match(r"(?:Downloading|Using cached) (\S+?)(?:\.metadata)? \((.+)\)", line):
            self.doing = f"downloading {found[1].split('/')[-1].rsplit('-', 3)[0]} ({found[2]})"
        elif line.startswith("Installing collected packages:"):
            names = line.partition(":")[2].strip()
            self.doing = f"unpacking {names.count(',') + 1} packages" if "," in names else f"unpacking {names}"
        elif line.startswith("Building wheel"):
            self.doing = line

    def show(self) -> None:
        now = time.monotonic()
        text = f"  {now - self.started:3.0f} s  {self.doing}"
        if self.terminal:
            print(f"\r\x1b[K{text[:100]}", end="", flush=True)
        elif now - self.said_at >= SAY_EVERY_SECONDS:
            print(text, flush=True)
            self.said_at = now

    def end(self) -> None:
        if self.terminal:
            print("\r\x1b[K", end="", flush=True)


def explain(lines: list[str]) -> str | None:
    """Return the sentence for a known cause in what pip said, or None."""
    said = "\n".join(lines)
    for pattern, sentence in CAUSES:
        if found := pattern.search(said):
            return sentence.format(**found.groupdict())
    return None


def last_error(lines: list[str]) -> str:
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or [line for line in lines if line] or ["it said nothing"])[-1]
