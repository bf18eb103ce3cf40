"""Tell a queue's workers that there is something to claim. Only a nudge: the sweep finds what a lost message leaves."""

from __future__ import annotations

import logging

from celery import current_app
from django.db import transaction
from kombu.exceptions import KombuError

WORK = "training.tasks.work"
EXPIRES_SECONDS = 60  # a nudge that nobody took by then is worth nothing; the sweep sends new ones

logger = logging.getLogger(__name__)


def wake(queue: str) -> None:
    """Send the message now. Redis may be away: then the sweep does it later."""
    try:
        current_app.send_task(WORK, args=[queue], queue=queue, expires=EXPIRES_SECONDS, retry=False, ignore_result=True)
    except (KombuError, OSError) as error:
        logger.warning("no worker of %s was woken (%s); the sweep will", queue, type(error).__name__)


def wake_after_commit(queue: str) -> None:
    transaction.on_commit(lambda: wake(queue))
