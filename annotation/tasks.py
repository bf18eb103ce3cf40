"""Celery's side of imports: a message wakes a worker, which claims until nothing waits. It may come twice or never."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.db.models import Q

from annotation.models import ImportBatch, ImportState
from annotation.services.import_claims import import_claim, reap_lost_imports, wake
from annotation.services.import_clearing import UNCLEARED, clear_ended_imports
from annotation.services.importing import import_run
from annotation.services.imports import forget_staged_files

FORGET_SECONDS = 3600.0

stopping = threading.Event()
forgotten_at = 0.0


@shared_task(name="annotation.tasks.import_work")
def import_work() -> None:
    """Claim and carry out imports until none waits, or the worker shuts down; remove what ended ones left."""
    clear_ended_imports()
    while not stopping.is_set():
        fence = import_claim(worker=f"{socket.gethostname()}:{os.getpid()}")
        if fence is None:
            return
        import_run(fence=fence, stopping=stopping)


@shared_task(name="annotation.tasks.import_sweep")
def import_sweep() -> None:
    """Take back imports whose worker went silent, and wake a worker for what waits. Runs every few seconds."""
    global forgotten_at
    reap_lost_imports()
    uncleared = Q(state__in=UNCLEARED, undone_at__isnull=False, cleared_at__isnull=True)
    if ImportBatch.objects.filter(uncleared | Q(state=ImportState.QUEUED)).exists():
        wake()
    if time.monotonic() - forgotten_at > FORGET_SECONDS:
        forgotten_at = time.monotonic()
        forget_staged_files()


@worker_shutting_down.connect
def on_shutting_down(**_: Any) -> None:
    stopping.set()
