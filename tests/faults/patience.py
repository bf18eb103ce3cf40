"""Reading from a database that may be away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error, connection

from training.absence import is_away
from training.models import Run

Returned = TypeVar("Returned")


def patiently(read: Callable[[], Returned], seconds: float = 120.0) -> Returned:
    """The answer of a database that may be away for a while."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return read()
        except Error as error:
            connection.close()
            if not is_away(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def state_of(run: Run) -> Run:
    return patiently(lambda: Run.objects.get(pk=run.pk))
