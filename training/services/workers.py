"""Workers tell of themselves here: who they are, when they were last seen, what they run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from datetime import timedelta
from functools import cache
from uuid import UUID

from django.db.models import Value
from django.db.models.functions import Now

from training.models import Run, RunState, Worker

SEEN_SECONDS = 10.0  # how often a worker says that it is there
IDLE_SECONDS = 45  # silent for longer: not counted on
FORGET_DAYS = 2


def worker_seen(*, name: str, queue: str, run_id: UUID | None) -> None:
    """Say that this worker is there, and what it runs."""
    Worker.objects.update_or_create(
        name=name,
        defaults={"seen_at": Now(), "run_id": run_id},
        create_defaults={
            "host": socket.gethostname()[:120],
            "queue": queue,
            "device": device_name()[:120],
            "version": version(),
            "started_at": Now(),
            "seen_at": Now(),
            "run_id": run_id,
        },
    )


def worker_gone(*, name: str) -> None:
    Worker.objects.filter(name=name).delete()


def forget_old_workers() -> None:
    Worker.objects.filter(seen_at__lt=Now() - Value(timedelta(days=FORGET_DAYS))).delete()


def queues_to_wake() -> list[str]:
    """Queues with waiting runs and a worker that is there and idle."""
    waiting = set(Run.objects.filter(state=RunState.QUEUED).values_list("queue", flat=True).distinct())
    lately = Now() - Value(timedelta(seconds=IDLE_SECONDS))
    idle = set(Worker.objects.filter(run=None, seen_at__gte=lately).values_list("queue", flat=True).distinct())
    return sorted(waiting & idle)


@cache
def device_name() -> str:
    """The GPU's name if the driver's own tool finds one, else cpu. Asked without torch, which workers do not load."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return "cpu"
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "cpu"
    names = [line.strip() for line in found.splitlines() if line.strip()]
    return f"{len(names)} x {names[0]}" if len(names) > 1 else (names[0] if names else "cpu")


@cache
def version() -> str:
    """What is installed here, so that the workers page shows one that was not deployed."""
    return os.environ.get("PLACKETT_VERSION", "0.1.0")[:40]
