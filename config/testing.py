"""`manage.py test`: the whole suite on SQLite and the embedded queue server, then part of it on PostgreSQL and Redis.

With arguments, one pytest run with those: `manage.py test tests/config -k broker`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SERVICE_SETTINGS = ("TEST_DATABASE_URL", "TEST_REDIS_URL")
BOTH_CORES = ["--numprocesses", "2", "--dist", "loadgroup"]
LOCAL_REDIS = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True)
class Counts:
    """What a pytest run counted; an error in a fixture is a failure."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: tuple[tuple[str, int], ...] = ()
    """Why tests were skipped, and how many for each reason."""

    def __add__(self, other: Counts) -> Counts:
        reasons = Counter(dict(self.reasons)) + Counter(dict(other.reasons))
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            tuple(reasons.most_common()),
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def main(arguments: list[str]) -> int:
    if arguments:
        return run_pytest(arguments, {})[0]
    print("On SQLite with the embedded queue server:", flush=True)
    status, counts = run_pytest(BOTH_CORES, dict.fromkeys(SERVICE_SETTINGS, ""))
    service_status, service_counts = run_on_services()
    total = counts + service_counts
    for reason, number in total.reasons:
        print(f"Skipped {number}: {reason}")
    print(total)
    return status or service_status


def run_on_services() -> tuple[int, Counts]:
    """Run the tests marked `services` on PostgreSQL and Redis, where they are; in CI they must be."""
    services = {"TEST_DATABASE_URL": postgresql_url(), "TEST_REDIS_URL": redis_url()}
    if all(services.values()):
        print("\nTests marked `services`, on PostgreSQL and Redis:", flush=True)
        # The core's tests know no database; not to collect them saves the time to load torch.
        return run_pytest(
            ["-m", "services", "--ignore=tests/training/rlhf", *BOTH_CORES],
            {name: str(url) for name, url in services.items()},
        )
    lacking = " and ".join(name for name, url in services.items() if not url)
    print(f"\nTests on PostgreSQL and Redis were left out: no local server answers, and {lacking} is not set.")
    if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
        print("In CI they may not be left out.", file=sys.stderr)
        return 1, Counts(failed=1)
    return 0, Counts()


def run_pytest(arguments: list[str], environment: dict[str, str]) -> tuple[int, Counts]:
    """Run pytest in a process of its own; return its exit status and what it counted."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLACKETT_TEST_")}
    # Two test processes with two threads each would only wait for one another.
    variables = {"OMP_NUM_THREADS": "1"} | kept | environment
    with tempfile.TemporaryDirectory(prefix="plackett-report-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments]
        process = subprocess.Popen(command, cwd=BASE_DIR, env=variables)
        while True:
            try:
                return process.wait(), counted(report)
            except KeyboardInterrupt:
                continue  # pytest got it too, and says what it was at


def counted(report: Path) -> Counts:
    if not report.exists():
        return Counts(failed=1)
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))

    def total(name: str) -> int:
        return sum(int(suite.get(name, 0)) for suite in suites)

    failed, skipped = total("failures") + total("errors"), total("skipped")
    reasons = Counter(found.get("message", "") for suite in suites for found in suite.iter("skipped"))
    return Counts(total("tests") - failed - skipped, failed, skipped, tuple(reasons.most_common()))


def postgresql_url() -> str | None:
    """Return TEST_DATABASE_URL, or a local server that lets us make databases."""
    import psycopg

    if given := os.environ.get("TEST_DATABASE_URL"):
        return given
    for url in ("postgresql://postgres@127.0.0.1:5432/postgres", "postgresql:///postgres"):
        try:
            with psycopg.connect(url, connect_timeout=3) as connection:
                may = connection.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
                row = may.fetchone()
                if row and row[0]:
                    return url
        except psycopg.Error:
            continue
    return None


def redis_url() -> str | None:
    """Return TEST_REDIS_URL, or the local server; the tests' keys carry a prefix and are removed."""
    import redis

    if given := os.environ.get("TEST_REDIS_URL"):
        return given
    try:
        redis.from_url(LOCAL_REDIS, socket_connect_timeout=3).ping()
    except redis.RedisError:
        return None
    return LOCAL_REDIS
