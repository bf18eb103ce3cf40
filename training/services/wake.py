"""Tell a queue's workers that there is something to claim. Only a nudge: the sweep finds what a lost message leaves."""

from __future__ import annotations

import logging

from celery import current_app
from django.db import transaction
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

WORK = "training.tasks.work"
# A nudge that nobody took by then is worth nothing. Senders write the time by their own clock and workers read it by
# theirs: shorter than the clocks may be apart, a worker that is minutes ahead would throw every nudge away.
EXPIRES_SECONDS = 3600

logger = logging.getLogger(__name__)


def wake(queue: str) -> None:
    """Send the message now. Redis may be away: then the sweep does it later."""
    try:
        current_app.send_task(WORK, args=[queue], queue=queue, expires=EXPIRES_SECONDS, retry=False, ignore_result=True)
    except (KombuError, RedisError, OSError) as error:  # RedisError: its memory is full, say
        logger.warning("no worker of %s was woken (%s); the sweep will", queue, type(error).__name__)


def wake_after_commit(queue: str) -> None:
    transaction.on_commit(lambda: wake(queue))
