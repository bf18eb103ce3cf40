"""Web and Celery processes stay light: nothing on this side of the core loads torch."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, django
django.setup()
import config.celery, training.tasks, training.supervisor, training.services.loop, training.services.models
import training.api, training.selectors.lineage
heavy = {"torch", "transformers", "numpy", "tokenizers"} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_web_and_the_workers_load_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
