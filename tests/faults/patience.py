"""Reading from a database that may be away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

from training.models import Run

Returned = TypeVar("Returned")


def patiently(read: Callable[[], Returned], seconds: float = 120.0) -> Returned:
    """The answer of a database that may be away for a while."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return read()
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def state_of(run: Run) -> Run:
    return patiently(lambda: Run.objects.get(pk=run.pk))
