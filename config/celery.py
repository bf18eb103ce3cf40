"""The Celery app. A message only wakes a worker: what there is to do, and how far it is, stands in the database."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

SWEEP_SECONDS = 5.0
DELIVER_SECONDS = 5.0
TIDY_SECONDS = 3600.0
DEMO_SECONDS = 3.0
LAPSE_SECONDS = 900.0

app = Celery("plackett")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    # Results and progress go to our own tables: a result backend that blinks would fail the task that reports to it.
    task_ignore_result=True,
    # One message at a time, so that a long task does not sit on messages that an idle worker could take.
    worker_prefetch_multiplier=1,
    # Redis hands an unacknowledged message to a second worker after this time; above the longest job there is.
    broker_transport_options={"visibility_timeout": 7 * 24 * 3600, **getattr(settings, "BROKER_OPTIONS", {})},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Early acknowledgement (Celery's default): the sweep finds work that was lost, and no run may be started twice.
    task_acks_late=False,
    task_default_queue="default",
    task_serializer="json",
    accept_content=["json"],
    timezone="UTC",
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
)
app.autodiscover_tasks()


def periodic(task: str, seconds: float) -> dict[str, Any]:
    """Return a beat entry whose messages lapse, so that a queue nobody reads does not fill up with them.

    After so long that clocks may be minutes apart: beat writes the time by its host's, a worker reads it by its own.
    """
    return {"task": task, "schedule": seconds, "options": {"expires": LAPSE_SECONDS, "queue": "default"}}


app.conf.beat_schedule = {
    "wake workers for queued runs, reap lost leases": periodic("training.tasks.sweep", SWEEP_SECONDS),
    "wake workers for queued imports, take back lost ones": periodic("annotation.tasks.import_sweep", SWEEP_SECONDS),
    "send notices that are due": periodic("training.tasks.deliver", DELIVER_SECONDS),
    "forget old deliveries": periodic("training.tasks.tidy", TIDY_SECONDS),
    "take the demo's next step": periodic("demo.tasks.advance", DEMO_SECONDS),
}
