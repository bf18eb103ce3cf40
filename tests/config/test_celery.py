"""How messages travel: queues, periodic tasks, and what the processes load."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from config.celery import app
from tests.conftest import ROOT, LiveProcesses

QUEUES = {"default", "gpu"}


def ours() -> dict[str, object]:
    app.loader.import_default_modules()
    return {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}


def test_every_task_goes_to_a_queue_that_up_serves() -> None:
    assert ours()
    for name, task in ours().items():
        assert (getattr(task, "queue", None) or app.conf.task_default_queue) in QUEUES, name


def test_every_periodic_task_exists_and_lapses_when_nobody_takes_it() -> None:
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in ours()
        assert 300 <= entry["options"]["expires"] <= 3600  # clocks may be minutes apart; a week of them may not pile up
        assert entry["options"]["queue"] == "default"


def test_a_message_is_not_given_out_twice_while_a_run_lasts() -> None:
    assert app.conf.broker_transport_options["visibility_timeout"] >= 7 * 24 * 3600
    assert app.conf.task_acks_late is False
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_ignore_result is True


@pytest.mark.parametrize(
    "loading",
    [
        "import config.wsgi, config.urls; from django.urls import get_resolver; get_resolver().url_patterns",
        "from config.celery import app; app.loader.import_default_modules(); app.tasks['training.tasks.sweep']",
    ],
    ids=["web", "celery"],
)
def test_web_and_celery_processes_do_not_load_torch(loading: str) -> None:
    program = (
        f"import sys; {loading}; "
        "print([name for name in ('torch', 'transformers', 'tokenizers', 'safetensors') if name in sys.modules])"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.services
def test_a_worker_answers_and_stops_in_order(live_processes: LiveProcesses) -> None:
    worker = live_processes.worker("default", pool="prefork", concurrency=1)
    replies = app.control.ping(timeout=60, limit=1)  # the first answer ends it
    assert [list(reply.values()) for reply in replies] == [[{"ok": "pong"}]]
    assert live_processes.stop(worker) == 0
