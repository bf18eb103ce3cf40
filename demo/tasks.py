"""The demo on the clock."""

from __future__ import annotations

from celery import shared_task

from demo.driver import advance as take_next_step


@shared_task(name="demo.tasks.advance")
def advance() -> None:
    take_next_step()
