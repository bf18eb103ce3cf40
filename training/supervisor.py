"""One attempt at a run, from the worker's side: start the core, follow it into the database, and end it.

Three threads: this one follows `events.jsonl`; the watch extends the lease and sees what people want; the deadline
kills the core when the lease could have gone to someone else, whatever the database does.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.db import Error, connection

from annotation import store
from annotation.errors import PlackettError
from annotation.store import StoreAway
from training import cache
from training.absence import is_away, raise_unless_away
from training.events import Event, EventFile
from training.files import FileStoreError
from training.launcher import Core, Layout, lay_out, log_tail
from training.memory import MemoryWatch, processor_seconds
from training.models import Run, RunState
from training.rlhf.config import best_metric
from training.services.claims import (
    Fence,
    LeaseLost,
    run_extend_lease,
    run_hand_back,
    run_lost,
    run_state,
)
from training.services.publishing import run_cancelled, run_fail, run_succeed
from training.services.recording import config_of, run_prune_checkpoints, run_record, run_say
from training.uploads import Uploads

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1  # how often the core is looked at
WRITE_SECONDS = 1.0  # a run writes to the database at most this often
STATE_SECONDS = 1.0  # how often it is asked whether someone wants the run to stop
LARGEST_BATCH = 5000  # events held back while the database is away; more stay in the file

# Signals that end a process from outside, through no fault of the run: it is tried again.
OUTSIDE_SIGNALS = {-1: "SIGHUP", -2: "SIGINT", -9: "SIGKILL", -15: "SIGTERM"}
REASONS = frozenset({"data", "config", "numerics", "memory", "disk", "crash"})
EXIT_DISK = 74
EXIT_STOPPED = 75
EXIT_UNWATCHED = 76
STACK_SECONDS = 1.0  # for a core that hangs to write where it is, before it is killed
BUSY_SHARE = 0.1  # of a core of the machine: below that, a silent process waits for something

Returned = TypeVar("Returned")


class LeaseWatch(threading.Thread):
    """Extends the lease every third of it, and asks once a second for the run's state."""

    def __init__(self, fence: Fence) -> None:
        super().__init__(name=f"lease of {fence.run_id}", daemon=True)
        self.fence = fence
        self.state = RunState.RUNNING
        self.lost = threading.Event()
        self.finished = threading.Event()
        self.valid_until = time.monotonic() + settings.RUN_LEASE_SECONDS
        self.extend_at = 0.0
        self.extended: Callable[[], None] = lambda: None

    def run(self) -> None:
        try:
            while not self.finished.wait(min(STATE_SECONDS, settings.RUN_LEASE_SECONDS / 6)) and not self.is_lost():
                self.look()
        finally:
            connection.close()

    def look(self) -> None:
        """By our own clock the lease runs from before the question, so that it never outlasts the database's."""
        asked_at = time.monotonic()
        try:
            if asked_at >= self.extend_at:
                self.state = run_extend_lease(fence=self.fence)
                self.valid_until = asked_at + settings.RUN_LEASE_SECONDS
                self.extend_at = asked_at + settings.RUN_LEASE_SECONDS / 3
                self.extended()
            else:
                self.state = run_state(fence=self.fence)
        except LeaseLost:
            self.lost.set()
        except Error as error:
            raise_unless_away(error)
            logger.warning("run %s: the database does not answer (%s)", self.fence.run_id, type(error).__name__)
            connection.close()
        give_connection_back()

    def is_lost(self) -> bool:
        return self.lost.is_set() or time.monotonic() >= self.valid_until


class Deadline(threading.Thread):
    """Kills the core when the lease is lost, also while both other threads wait for a database that does not answer."""

    def __init__(self, watch: LeaseWatch, core: Core) -> None:
        super().__init__(name="deadline", daemon=True)
        self.watch, self.core = watch, core

    def run(self) -> None:
        while not self.watch.finished.wait(0.2):
            if self.watch.is_lost():
                self.core.kill()
                return


@dataclass
class Attempted:
    """What this attempt has come to."""

    fence: Fence
    stage: str
    layout: Layout
    core: Core
    watch: LeaseWatch
    stopping: threading.Event
    memory: MemoryWatch
    uploads: Uploads
    batch: list[Event] = field(default_factory=list)
    finished: Event | None = None
    failed: Event | None = None
    stop_asked_at: float | None = None
    silent: bool = False
    heard_at: float = field(default_factory=time.monotonic)
    busy_at_last_word: float = 0.0
    hung: str = ""
    wrote_at: float = 0.0


class Interrupted(Exception):
    """Someone wants the run to stop while its worker waits for the file store."""


def supervise(run: Run, *, stopping: threading.Event) -> None:
    """See a claimed run to an end: its own, or this worker's. `stopping` is set when the worker shuts down."""
    fence = Fence(run.pk, run.attempt)
    watch = LeaseWatch(fence)
    watch.start()
    try:
        attempt_run(run, fence, watch, stopping)
    except LeaseLost:
        logger.warning("run %s: attempt %s lost its lease; nothing more of it is written", run.pk, run.attempt)
        let_go(fence, watch)
    except Exception as error:  # whatever it was, the run must not stay in this worker's hands
        logger.exception("run %s could not be supervised", run.pk)
        give_up(fence, watch, error)
    finally:
        watch.finished.set()
        watch.join(timeout=settings.RUN_LEASE_SECONDS)


def attempt_run(run: Run, fence: Fence, watch: LeaseWatch, stopping: threading.Event) -> None:
    try:
        with store.patient(look_out(watch, stopping), say_away(fence, watch)):
            layout = lay_out(run)
    except Interrupted:
        persist(watch, lambda: run_hand_back(fence=fence, message="Stopped before it began."))
        return
    with cache.holding(layout.uses):
        carry_out(run, fence, watch, stopping, layout)
    cache.make_room()


def look_out(watch: LeaseWatch, stopping: threading.Event, grace: float = 0.0) -> Callable[[], None]:
    """What to look at while the file store is slow or away: the lease, and whether someone wants the run to stop.

    `grace`: seconds that a pause or a shutdown leaves it; who cancels waits for nothing.
    """
    asked_at: list[float] = []

    def look() -> None:
        if watch.is_lost():
            raise LeaseLost
        if watch.state == RunState.CANCELLING:
            raise Interrupted
        if watch.state == RunState.PAUSING or stopping.is_set():
            asked_at.append(time.monotonic())
            if time.monotonic() - asked_at[0] >= grace:
                raise Interrupted

    return look


def say_away(fence: Fence, watch: LeaseWatch) -> store.Away:
    """Say it in the run's log at once; where it lasts, tell people too."""
    told: set[str] = set()

    def say(reason: str, seconds: float) -> None:
        if not seconds:
            told.clear()
        problem = "store" if seconds >= store.LONG_OUTAGE_SECONDS else ""
        if problem not in told:
            told.add(problem)
            text = f"The file store does not answer ({reason}); the run waits for it."
            persist(watch, partial(run_say, fence=fence, text=text, level="warning", problem=problem))

    return say


def uploads_of(run: Run, watch: LeaseWatch) -> Uploads:
    best = best_metric(run.stage, config_of(run)) if store.is_remote() else None
    return Uploads(run.pk, run.attempt, best=best[1] if best else None, is_lost=watch.is_lost)


def carry_out(run: Run, fence: Fence, watch: LeaseWatch, stopping: threading.Event, layout: Layout) -> None:
    """The core's life, from its start to the end state that it amounts to."""
    for words in layout.unusable:
        persist(watch, partial(run_say, fence=fence, text=words, level="warning", problem="checkpoint"))
    core = Core.of(run, layout)
    uploads = uploads_of(run, watch)
    here = Attempted(fence, run.stage, layout, core, watch, stopping, MemoryWatch.of(core.process.pid), uploads)
    uploads.start()
    watch.extended = core.keep_alive
    Deadline(watch, core).start()
    give_connection_back()
    try:
        try:
            exit_code = follow(here)
        finally:
            core.end()
        settle(here)
        conclude(here, exit_code)
    finally:
        uploads.end()


def give_connection_back() -> None:
    """To the pool, until the next look or write: a worker that carries many runs has more threads than connections."""
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        connection.close()


def follow(here: Attempted) -> int:
    """Carry events into the database until the core has ended and all are in. Returns its exit code."""
    events = EventFile(here.layout.events)
    while True:
        exit_code = here.core.exit_code()
        fresh = events.read() if len(here.batch) < LARGEST_BATCH else []
        hear(here, fresh)
        ended = exit_code is not None and not fresh
        if ended or time.monotonic() - here.wrote_at >= WRITE_SECONDS:
            write(here, patiently=exit_code is not None)
        if here.watch.is_lost():
            raise LeaseLost
        if ended and not here.batch and exit_code is not None:
            return exit_code
        steer(here)
        time.sleep(LOOK_SECONDS if exit_code is None else 0)


def hear(here: Attempted, events: list[Event]) -> None:
    """Take note of new events."""
    for event in events:
        if event.kind == "finished":
            here.finished = event
        elif event.kind == "failed":
            here.failed = event
    here.batch += here.uploads.keep_back(events) + here.uploads.arrived()
    if events:
        here.heard_at = time.monotonic()
        here.busy_at_last_word = processor_seconds(here.core.process.pid)
    here.memory.look()


def settle(here: Attempted) -> None:
    """Give checkpoints that are on their way the time that a stop has, so that any host can go on from them."""
    began = time.monotonic()
    while here.uploads.busy and not here.finished and here.watch.state != RunState.CANCELLING:
        if here.watch.is_lost():
            raise LeaseLost
        if time.monotonic() - began >= settings.RUN_STOP_SECONDS:
            steps = ", ".join(str(step) for step in here.uploads.late)
            words = f"The checkpoint at step {steps} did not reach the file store in time; an earlier one is used."
            here.batch.append(Event("note", {"message": words, "level": "warning"}))
            break
        hear(here, [])
        write(here, patiently=True)
        time.sleep(LOOK_SECONDS)
    hear(here, [])
    write(here, patiently=True)


def write(here: Attempted, *, patiently: bool) -> None:
    """Put what has come into the database. Patiently: wait for one that is away, as long as the lease may hold."""
    if not here.batch:
        return
    here.wrote_at = time.monotonic()
    if patiently:
        persist(here.watch, lambda: run_record(fence=here.fence, events=here.batch))
    else:
        try:
            run_record(fence=here.fence, events=here.batch)
        except Error as error:
            raise_unless_away(error)
            connection.close()
            return
    saved = any(event.kind == "checkpoint" for event in here.batch)
    here.batch = []
    if saved:
        prune(here)
    give_connection_back()


def prune(here: Attempted) -> None:
    """Old checkpoints go once newer ones are registered; where the database is away, they go with the next one."""
    try:
        run_prune_checkpoints(fence=here.fence, resume=here.layout.resume)
    except Error as error:
        raise_unless_away(error)
        connection.close()


def steer(here: Attempted) -> None:
    """Do what people, the worker's shutdown or the core's silence ask for."""
    now = time.monotonic()
    if here.watch.state == RunState.CANCELLING:
        here.core.kill()
    elif here.watch.state == RunState.PAUSING or here.stopping.is_set():
        if here.stop_asked_at is None:
            here.stop_asked_at = now
            here.core.ask_to_stop()
        elif now - here.stop_asked_at >= settings.RUN_STOP_SECONDS:
            here.core.kill()
    elif now - here.heard_at >= silent_seconds(here.stage):
        end_silent(here)


def silent_seconds(stage: str) -> float:
    """How long a core of this stage may say nothing before it is taken to hang."""
    return float(settings.RUN_SILENT_STAGES.get(stage, settings.RUN_SILENT_SECONDS))


def end_silent(here: Attempted) -> None:
    """Kill a core that said nothing for too long, with what it did meanwhile for the person who reads the page.

    Only what the training loop itself says counts. A heartbeat from a thread of its own would prove that the process
    lives, which the system tells us anyway, and let one that waits for ever look alive.
    """
    if not here.silent:
        silence = time.monotonic() - here.heard_at
        busy = processor_seconds(here.core.process.pid) - here.busy_at_last_word
        here.silent, here.hung = True, silence_words(silence, busy, silent_seconds(here.stage))
        here.core.ask_where_it_is()
        time.sleep(STACK_SECONDS)
    here.core.kill()


def silence_words(silence: float, busy: float, limit: float) -> str:
    said = f"The core said nothing for {minutes(silence)}, so it was ended."
    if busy >= BUSY_SHARE * silence:
        return (
            f"{said} It was computing all the while: if its steps do take so long, give this stage more time than "
            f"{minutes(limit)} (RUN_SILENT_STAGES), or make its batches smaller."
        )
    return f"{said} It used no processor time: it hung, waiting for something. Its log says where."


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def conclude(here: Attempted, exit_code: int) -> None:
    """Write the end state that the core's end amounts to."""
    fence = here.fence
    cancelling = here.watch.state == RunState.CANCELLING
    if here.finished and not here.failed and (exit_code == 0 or not cancelling):
        persist(here.watch, lambda: publish(here))
    elif cancelling:
        persist(here.watch, lambda: run_cancelled(fence=fence))
    elif here.failed:
        reason, message = failure(here.failed)
        persist(here.watch, lambda: run_fail(fence=fence, reason=reason, message=message))
    elif exit_code == EXIT_STOPPED or here.stop_asked_at is not None:
        saved = exit_code == EXIT_STOPPED
        words = "Stopped, checkpoint saved." if saved else "Stopped after the time it had to save."
        persist(here.watch, lambda: run_hand_back(fence=fence, message=words, saved=saved))
    else:
        conclude_death(here, exit_code)


def conclude_death(here: Attempted, exit_code: int) -> None:
    """The core ended without a word of its own."""
    fence = here.fence
    if here.silent:  # a second try from the last checkpoint costs little, and a night less than a person's sleep
        persist(here.watch, lambda: run_lost(fence=fence, message=here.hung))
    elif exit_code == EXIT_UNWATCHED:
        message = "The core ended by itself, because this worker had not extended its lease in time."
        persist(here.watch, lambda: run_lost(fence=fence, message=message))
    elif exit_code == EXIT_DISK:
        message = "The disk is full; free some space where the runs' files are, and retry from the last checkpoint."
        persist(here.watch, lambda: run_fail(fence=fence, reason="disk", message=message))
    elif words := here.memory.evidence(exit_code):
        persist(here.watch, lambda: run_fail(fence=fence, reason="memory", message=words))
    elif name := OUTSIDE_SIGNALS.get(exit_code):
        message = f"The core was killed from outside ({name}). If this repeats, memory may be short."
        persist(here.watch, lambda: run_lost(fence=fence, message=message))
    else:
        message = crash_words(exit_code, log_tail(here.layout.log))
        persist(here.watch, lambda: run_fail(fence=fence, reason="crash", message=message))


def publish(here: Attempted) -> None:
    """Publish the result; one that can't be is the run's failure, in words."""
    assert here.finished is not None
    fields = here.finished.fields
    look = look_out(here.watch, here.stopping, grace=settings.RUN_STOP_SECONDS)
    try:
        with store.patient(look, say_away(here.fence, here.watch)):
            run_succeed(
                fence=here.fence,
                stage=here.stage,
                sha256=str(fields.get("sha256") or ""),
                result=fields.get("result"),
            )
    except Interrupted:
        words = "Its result did not reach the file store in time; the run goes on from its last checkpoint."
        run_hand_back(fence=here.fence, message=words, saved=False)
    except StoreAway:  # in the transaction, after it had answered
        raise
    except PlackettError as error:
        run_fail(fence=here.fence, reason="crash", message=f"The result could not be published: {error.message}")


def failure(event: Event) -> tuple[str, str]:
    reason = event.fields.get("reason")
    message = str(event.fields.get("message") or "It failed without saying why; its log may tell.")
    return (reason if reason in REASONS else "crash"), message


def crash_words(exit_code: int, tail: str) -> str:
    how = f"ended with exit code {exit_code}" if exit_code >= 0 else f"was ended by signal {-exit_code}"
    how = "ended without a result" if exit_code == 0 else how
    return f"The core {how}. " + (f"The end of its log:\n{tail}" if tail else "Its log is empty.")


def persist(watch: LeaseWatch, write: Callable[[], Returned]) -> Returned:
    """Do a write, again and again while the database is away and the lease may still be ours. Raises LeaseLost."""
    while True:
        try:
            return write()
        except (Error, StoreAway) as error:
            if isinstance(error, Error):
                raise_unless_away(error)
            what = "the file store" if isinstance(error, StoreAway) else "the database"
            logger.warning("%s does not answer (%s); trying again", what, type(error).__name__)
            connection.close()
            if watch.is_lost():
                raise LeaseLost from error
            time.sleep(0.5)


def let_go(fence: Fence, watch: LeaseWatch) -> None:
    """No core runs. Where nobody else has taken the run, say so now, rather than leave it to the reaper."""
    if watch.lost.is_set():
        return
    try:
        run_lost(fence=fence, message="The database did not answer in time for this worker to keep its lease.")
    except (LeaseLost, Error):
        connection.close()


def give_up(fence: Fence, watch: LeaseWatch, error: Exception) -> None:
    if isinstance(error, Error) and is_away(error):  # before its core had started: nothing is wrong with the run
        connection.close()
        let_go(fence, watch)
        return
    if isinstance(error, FileStoreError):
        reason, message = "data", error.message
    elif isinstance(error, PlackettError):
        reason, message = "crash", error.message
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        reason, message = "disk", "The disk is full; free some space where the runs' files are, and retry."
    else:
        reason, message = "crash", f"Plackett could not carry out the run: {type(error).__name__}: {error}"
    try:
        persist(watch, lambda: run_fail(fence=fence, reason=reason, message=message.replace("\x00", "")))
    except LeaseLost:
        logger.warning("run %s: attempt %s had lost its lease", fence.run_id, fence.attempt)
