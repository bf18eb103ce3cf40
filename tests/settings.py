"""Settings of the tests: the product's own, on databases and files of their own.

Real stores, as in the product: a SQLite file (not memory, since worker processes share it) and the embedded queue
server; or PostgreSQL and Redis where TEST_DATABASE_URL and TEST_REDIS_URL name them. Processes that a test starts use
this module too: the environment tells them the test's folder and database.
"""

import atexit
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path


def scratch_folder() -> Path:
    """Return the folder of this test session: the first process makes it, and the ones it starts find it."""
    found = os.environ.get("PLACKETT_TEST_SCRATCH")
    if found:
        return Path(found)
    made = Path(tempfile.mkdtemp(prefix="plackett-test-"))
    os.environ["PLACKETT_TEST_SCRATCH"] = str(made)
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(made, ignore_errors=True))
    return made


def die_with_the_session(lifeline: int) -> None:
    """End this process when the test session that started it is gone, however it went: its end of the pipe closes."""
    with suppress(OSError):  # a process further down, which was not given the pipe
        os.read(lifeline, 1)
        os._exit(1)


if given := os.environ.get("PLACKETT_TEST_LIFELINE_FD"):
    threading.Thread(target=die_with_the_session, args=(int(given),), daemon=True).start()

SCRATCH = scratch_folder()
SESSION = SCRATCH.name.replace("-", "_")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
DATA = SCRATCH / WORKER
DATA.mkdir(exist_ok=True)

for name in ("DATABASE_URL", "REDIS_URL"):
    os.environ.pop(name, None)
    if value := os.environ.get(f"TEST_{name}"):
        os.environ[name] = value
os.environ["PLACKETT_DATA"] = str(DATA)
os.environ["SECRET_KEY"] = "the tests' own key, which signs nothing that lives on"
os.environ["ALLOWED_HOSTS"] = "localhost,127.0.0.1,testserver"
for name in ("PLACKETT_FILES", "MODELS_DIR", "DEBUG", "HTTPS", "STORE_URL"):
    os.environ.pop(name, None)
for name in ("STORE_URL", "PLACKETT_FILES"):  # for processes that a test of the object store starts
    if value := os.environ.get(f"TEST_{name}"):
        os.environ[name] = value

from config.settings import *  # noqa: E402, F403
from config.settings import CACHES, DATABASES, REDIS_URL, STORAGES  # noqa: E402

SERVICES = bool(os.environ.get("TEST_DATABASE_URL"))
database = DATABASES["default"]
if not SERVICES:
    database["OPTIONS"]["init_command"] += "; PRAGMA synchronous=OFF"  # a test's rows need not outlive a power cut
    database["TEST"] = {"NAME": str(DATA / "test.sqlite3")}
else:
    database["TEST"] = {"NAME": f"test_{SESSION}"}
if child := os.environ.get("PLACKETT_TEST_CHILD_DATABASE"):
    database["NAME"] = child

# A shared Redis server may hold other people's keys, so ours carry a prefix.
KEY_PREFIX = f"{SESSION}_{WORKER}:" if REDIS_URL else ""
BROKER_OPTIONS = {"global_keyprefix": KEY_PREFIX} if KEY_PREFIX else {}
CACHES["default"]["KEY_PREFIX"] = f"{KEY_PREFIX}cache"

STORAGES["staticfiles"] = {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
STATIC_ROOT = DATA / "static"
STATIC_ROOT.mkdir(exist_ok=True)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
