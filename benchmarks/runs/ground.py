"""An installation of its own: servers, the product's processes, a project; made for the measuring, gone after it.

The product's default settings hold here (leases of 30 seconds, as many threads as the machine has cores), and
PostgreSQL waits for its disk as it does anywhere. The machinery is that of `manage.py faults`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.servers import PostgreSQL, Redis, Server, until
from tests.faults.stack import Stack, environment

STOP_SECONDS = 60.0
WAIT_SECONDS = 180.0
WORDS = ("the", "red", "boat", "lies", "near", "a", "small", "town", "and", "our", "old", "friend", "takes", "it")


class DurablePostgreSQL(PostgreSQL):
    settings = ()


@dataclass
class Ground:
    """Where all of it happens; imports of Django's models wait until it stands."""

    database: str
    stack: Stack
    project: Any = None
    owner: Any = None
    corpus: Any = None

    def say(self, text: str) -> None:
        print(f"  {self.database}: {text}", file=sys.stderr, flush=True)

    def only(self, *names: str) -> None:
        """Have these processes and no others: stop the rest in order, start what is missing."""
        for name in [name for name in self.stack.running if name not in names]:
            process = self.stack.running.pop(name)
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)
        for name in names:
            if name not in self.stack.running:
                self.stack.start(name)
        if "web" in names:
            until(self.stack.web_answers, "the web server")
        if "gpu" in names:
            until(lambda: self.worker_is_there(), "the worker")

    def worker_is_there(self) -> bool:
        from training.models import Worker

        return Worker.objects.filter(name__endswith=f":{self.stack.running['gpu'].pid}").exists()

    def launch(self, config: dict[str, Any]) -> Any:
        """A pretraining run, put into the queue."""
        from training.services.runs import run_create

        inputs = {"train": self.corpus}
        return run_create(project=self.project, stage="pretrain", config=config, inputs=inputs, by=self.owner, seed=7)

    def until(
        self, run: Any, condition: Callable[[Any], Any], what: str, seconds: float = WAIT_SECONDS, every: float = 0.05
    ) -> Any:
        """The run once the condition holds; whatever has died is started again meanwhile, as `up` would."""
        from tests.faults.patience import state_of

        deadline = time.monotonic() + seconds
        while True:
            self.stack.keep_alive()
            found = state_of(run)
            if condition(found):
                return found
            if found.is_over or time.monotonic() > deadline:
                raise SystemExit(f"{found.name} is {found.state}, not {what}: {found.message[:300]}")
            time.sleep(every)


@contextmanager
def ground(database: str) -> Iterator[Ground]:
    """Servers and an empty installation on `database` (postgresql or sqlite). One a process: Django knows one."""
    folder = Path(tempfile.mkdtemp(prefix=f"plackett-bench-runs-{database}-"))
    folder.chmod(0o711)  # the user postgres passes through
    data = folder / "data"
    data.mkdir()
    lifeline, held = os.pipe()
    redis = Redis(folder)
    postgresql = DurablePostgreSQL(folder) if database == "postgresql" else None
    servers: list[Server] = [redis] + ([postgresql] if postgresql else [])
    variables = with_defaults(environment(data, postgresql.url if postgresql else "", redis.url, lifeline))
    stack = Stack(data, variables, lifeline, servers)
    os.environ.pop("OMP_NUM_THREADS", None)
    os.environ.update({name: value for name, value in variables.items() if name != "FAULTS_LIFELINE_FD"})
    try:
        for server in servers:
            server.start()
        found = Ground(database, stack)
        furnish(found)
        yield found
    finally:
        stack.end()
        os.close(held)
        os.close(lifeline)
        shutil.rmtree(folder, ignore_errors=True)


def with_defaults(variables: dict[str, str]) -> dict[str, str]:
    """Without what the faults set otherwise than an installation does."""
    changed = {name for name in variables if name.startswith("RUN_")} | {"OMP_NUM_THREADS"}
    return {name: value for name, value in variables.items() if name not in changed}


def furnish(ground: Ground) -> None:
    """Tables, a project with an admin who is the owner, and a corpus."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    from annotation.services.accounts import project_create
    from annotation.services.sign_in import owner_ensure
    from training.services.snapshots import corpus_add

    ground.owner = owner_ensure()
    ground.project = project_create(name="Measured", by=ground.owner, slug="measured")
    texts = [" ".join(WORDS[(i * j + j) % len(WORDS)] for j in range(1, 60)) for i in range(3000)]
    ground.corpus = corpus_add(project=ground.project, texts=texts, by=ground.owner, name="corpus")


def processor_seconds(pid: int) -> tuple[float, float]:
    """(its own, that of the children that it has waited for), by the system's account."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    own, children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return own / ticks, children / ticks


def wait_for_children(process: subprocess.Popen[bytes]) -> float:
    """The processor seconds of a child that is waited for here, to its end."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime
