"""Celery's side: a message wakes a worker, which claims runs until none is left. A message may come twice or never."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any
from uuid import UUID

from celery import shared_task
from celery.signals import worker_ready, worker_shutdown, worker_shutting_down
from django.db import DatabaseError, connection

from training.files import clear_aside
from training.services.claims import reap_lost_leases, run_claim
from training.services.publishing import clear_finished_runs
from training.services.wake import wake
from training.services.workers import (
    SEEN_SECONDS,
    forget_old_workers,
    queues_to_wake,
    worker_gone,
    worker_seen,
)

logger = logging.getLogger(__name__)

stopping = threading.Event()


@shared_task(name="training.tasks.work")
def work(queue: str) -> None:
    """Claim and carry out runs of this queue until none is left, or the worker shuts down."""
    from training.supervisor import supervise

    while not stopping.is_set():
        run = run_claim(queue=queue, worker=presence.name)
        if run is None:
            return
        presence.tell(run.pk)
        try:
            supervise(run, stopping=stopping)
        finally:
            presence.tell(None)


@shared_task(name="training.tasks.sweep")
def sweep() -> None:
    """Take back runs whose worker went silent, and wake idle workers for what waits. Runs every few seconds."""
    reap_lost_leases()
    forget_old_workers()
    clear_aside()
    clear_finished_runs()
    for queue in queues_to_wake():
        wake(queue)


class Presence:
    """This worker process in the table of workers, kept fresh by a thread of its own."""

    def __init__(self) -> None:
        self.name = f"worker:{os.getpid()}"
        self.queues: list[str] = []
        self.run_id: UUID | None = None
        self.gone = threading.Event()

    def start(self, hostname: str, queues: list[str]) -> None:
        self.name = f"{hostname}:{os.getpid()}"[:120]
        self.queues = queues
        threading.Thread(target=self.keep_telling, name="presence", daemon=True).start()

    def keep_telling(self) -> None:
        while not self.gone.is_set():
            self.tell(self.run_id)
            connection.close()
            self.gone.wait(SEEN_SECONDS)

    def tell(self, run_id: UUID | None) -> None:
        """Presence is for people to look at: a database that is away does not disturb a run over it."""
        self.run_id = run_id
        try:
            for queue in self.queues:
                worker_seen(name=self.name, queue=queue, run_id=run_id)
        except DatabaseError as error:
            logger.warning("the workers' table can't be written (%s)", type(error).__name__)
            connection.close()

    def end(self) -> None:
        self.gone.set()
        try:
            worker_gone(name=self.name)
        except DatabaseError:
            connection.close()


presence = Presence()


@worker_ready.connect
def on_ready(sender: Any = None, **_: Any) -> None:
    """A worker of runs looks for work as soon as it is there: what waited while no worker was here needs no message."""
    queues = [name for name in sender.app.amqp.queues.consume_from if name != "default"]
    if queues:
        presence.start(sender.hostname, queues)
        for queue in queues:
            wake(queue)


@worker_shutting_down.connect
def on_shutting_down(**_: Any) -> None:
    stopping.set()


@worker_shutdown.connect
def on_shutdown(**_: Any) -> None:
    if presence.queues:
        presence.end()
