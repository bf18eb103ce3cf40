"""Settings of the processes that `manage.py faults` starts: the product's own, which end with whoever started them."""

import os
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo


def die_with_the_command(lifeline: int) -> None:
    """End this process when the command is gone, however it went: its end of the pipe closes."""
    with suppress(OSError):  # a process further down, which was not given the pipe
        os.read(lifeline, 1)
        os._exit(1)


if given := os.environ.get("FAULTS_LIFELINE_FD"):
    threading.Thread(target=die_with_the_command, args=(int(given),), daemon=True).start()


def set_clock_wrong(seconds: int) -> None:
    """Have this process read a clock that is so far off, as Celery, Django and Python ask for it."""
    from celery.worker import request
    from django.utils import timezone

    true_time, true_now, off = time.time, timezone.now, timedelta(seconds=seconds)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + off

    time.time = lambda: true_time() + seconds
    timezone.now = lambda: true_now() + off
    request.datetime = Wrong


if clock := os.environ.get("FAULTS_CLOCK_SECONDS"):
    set_clock_wrong(int(clock))

from config.settings import *  # noqa: E402, F403
from config.settings import DATA_DIR, STORAGES  # noqa: E402

STORAGES["staticfiles"] = {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"}
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
