"""Several threads at once on the real database, each with a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

Result = TypeVar("Result")


def together(threads: ThreadPoolExecutor, jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """Start the jobs at one moment and return what they returned; one that raises fails the test."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], Result]) -> Result:
        try:
            barrier.wait(60)
            return job()
        finally:
            connections.close_all()

    return [future.result(timeout=90) for future in [threads.submit(run, job) for job in jobs]]
