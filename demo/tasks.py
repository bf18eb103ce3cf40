"""The demo on the clock."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from demo.driver import advance as take_next_step


@shared_task(name="demo.tasks.advance")
def advance() -> None:
    if not settings.DEMO_HEADLESS:  # there the command itself drives, without waiting for the clock
        take_next_step()
