"""A worker's side of many runs at once: `python -m benchmarks.runs.supervisors SLOTS STEPS RATE`.

Claims and carries out what waits with the product's own code, in SLOTS threads, with a core that only writes
(`stub_core.py`). Prints the processor seconds that it used itself.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from pathlib import Path

STUB = Path(__file__).with_name("stub_core.py")


def main(slots: int, steps: str, rate: str) -> None:
    import django

    django.setup()
    from django.db import connection

    from training import launcher
    from training.services.claims import run_claim
    from training.supervisor import supervise

    launcher.core_command = lambda stage, run_json: [sys.executable, "-S", str(STUB), str(run_json), steps, rate]

    def work(name: str) -> None:
        while run := run_claim(queue="gpu", worker=name):
            supervise(run, stopping=threading.Event())
        connection.close()

    threads = [threading.Thread(target=work, args=(f"bench@here:{os.getpid()}/{n}",)) for n in range(slots)]
    before = processor_seconds()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"processor_seconds": processor_seconds() - before}))


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
