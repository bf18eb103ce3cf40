"""Settings of the processes that `manage.py faults` starts: the product's own, which end with whoever started them."""

import os
import threading
from contextlib import suppress


def die_with_the_command(lifeline: int) -> None:
    """End this process when the command is gone, however it went: its end of the pipe closes."""
    with suppress(OSError):  # a process further down, which was not given the pipe
        os.read(lifeline, 1)
        os._exit(1)


if given := os.environ.get("FAULTS_LIFELINE_FD"):
    threading.Thread(target=die_with_the_command, args=(int(given),), daemon=True).start()

from config.settings import *  # noqa: E402, F403
from config.settings import DATA_DIR, STORAGES  # noqa: E402

STORAGES["staticfiles"] = {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"}
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
