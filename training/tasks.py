"""Celery's side: a message wakes a worker, which claims runs until none is left. A message may come twice or never."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutdown, worker_shutting_down
from django.db import DatabaseError, connection

from training.files import clear_aside
from training.models import DrainHow
from training.services.claims import reap_lost_leases, run_claim
from training.services.copies import tidy_copies
from training.services.delivery import deliver_due, forget_old_deliveries
from training.services.jobs import job_claim, jobs_sweep, wake_jobs
from training.services.notices import notice_stuck_runs
from training.services.publishing import clear_finished_runs
from training.services.removals import carry_out_removals
from training.services.wake import wake
from training.services.workers import (
    DRAIN_SECONDS,
    SEEN_SECONDS,
    drained_how,
    forget_old_workers,
    queues_to_wake,
    worker_gone,
    worker_seen,
)

logger = logging.getLogger(__name__)

stopping = threading.Event()  # this worker shuts down
handing_back = threading.Event()  # what runs here is to be saved and given back: a shutdown, or a drain that says so


@shared_task(name="training.tasks.work")
def work(queue: str) -> None:
    """Claim and carry out runs of this queue until none is left, or the worker shuts down."""
    from training.supervisor import supervise

    while not stopping.is_set():
        run = run_claim(queue=queue, worker=presence.name)
        if run is None:
            return
        presence.look_for_drain()  # the claim found none: one that was undone just now must not stop this run
        supervise(run, stopping=handing_back)


@shared_task(name="training.tasks.work_jobs")
def work_jobs() -> None:
    """Claim and carry out jobs (exports, leak checks, comparisons) until none is left, or the worker shuts down."""
    from training.jobs import carry_out

    while not stopping.is_set():
        job = job_claim()
        if job is None:
            return
        carry_out(job)


@shared_task(name="training.tasks.sweep", bind=True)
def sweep(task: Any) -> None:
    """Take back runs whose worker went silent, and wake idle workers for what waits. Runs every few seconds."""
    reap_lost_leases()
    forget_old_workers()
    clear_aside()
    carry_out_removals()
    tidy_copies()
    if jobs_sweep():
        wake_jobs()
    notice_stuck_runs()
    clear_finished_runs()
    for queue in queues_to_wake():
        wake(queue)
    if task.request.hostname:
        worker_seen(name=task.request.hostname[:120], queues=["default"], slots=0)


@shared_task(name="training.tasks.deliver")
def deliver() -> None:
    """Send what is due of the outbox: webhooks and e-mails. Runs every few seconds; what fails waits in its row."""
    deliver_due()


@shared_task(name="training.tasks.tidy")
def tidy() -> None:
    """Forget deliveries that were over a month ago. Runs every hour."""
    forget_old_deliveries()


class Presence:
    """This worker process in the table of workers, kept fresh by a thread of its own."""

    def __init__(self) -> None:
        self.name = f"worker:{os.getpid()}"
        self.queues: list[str] = []
        self.slots = 1
        self.gone = threading.Event()
        self.looking = threading.Lock()

    def start(self, hostname: str, queues: list[str], slots: int) -> None:
        self.name = f"{hostname}:{os.getpid()}"[:120]
        self.queues, self.slots = queues, slots
        threading.Thread(target=self.keep_telling, name="presence", daemon=True).start()

    def keep_telling(self) -> None:
        """Tell every few seconds, and look more often whether someone drained this node."""
        told_at = 0.0
        while not self.gone.is_set():
            if time.monotonic() - told_at >= SEEN_SECONDS:
                told_at = time.monotonic()
                self.tell()
            self.tidy()
            self.look_for_drain()
            connection.close()
            self.gone.wait(DRAIN_SECONDS)

    def tell(self) -> None:
        """Presence is for people to look at: a database that is away does not disturb a run over it."""
        try:
            worker_seen(name=self.name, queues=self.queues, slots=self.slots)
        except DatabaseError as error:
            logger.warning("the workers' table can't be written (%s)", type(error).__name__)
            connection.close()

    def tidy(self) -> None:
        """What was erased goes from this host too."""
        try:
            tidy_copies()
        except (DatabaseError, OSError) as error:
            logger.warning("this host's copies were not tidied (%s)", type(error).__name__)
            connection.close()

    def look_for_drain(self) -> None:
        """One look at a time, so that what an older look saw does not count after a newer one."""
        with self.looking:
            try:
                hand_back = drained_how(self.name) == DrainHow.HAND_BACK
            except DatabaseError:
                connection.close()
                return
            if hand_back:
                handing_back.set()
            else:
                handing_back.clear()
            if stopping.is_set():  # asked after: a shutdown in between is not undone
                handing_back.set()

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
        presence.start(sender.hostname, queues, slots_of(sender))
        for queue in queues:
            wake(queue)


def slots_of(sender: Any) -> int:
    """How many runs this worker carries at a time."""
    return max(1, int(getattr(sender.controller, "concurrency", 1) or 1))


@worker_shutting_down.connect
def on_shutting_down(**_: Any) -> None:
    stopping.set()
    handing_back.set()


@worker_shutdown.connect
def on_shutdown(**_: Any) -> None:
    if presence.queues:
        presence.end()
