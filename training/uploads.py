"""Checkpoints on their way into the object store, beside the steps.

A checkpoint counts once it is there: its event is held back until then, so the row that registers it names files that
any host can fetch. Where the store is away, or slower than the core saves, the newest waits, and the best; what they
make superfluous is dropped. The files lie in the room of their attempt and nowhere else, so an attempt that was lost
and uploads on disturbs nobody, and nothing that it brings is registered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from annotation import store
from annotation.errors import PlackettError
from annotation.store import StoreAway
from training import files
from training.events import Event
from training.models import Checkpoint

LONGEST_PAUSE_SECONDS = 15.0


class UploadsEnded(Exception):
    """Nobody waits for them any more."""


class Uploads(threading.Thread):
    """One attempt's. `best`: whether lowest or highest is best, where one is kept for its metric."""

    def __init__(self, run_id: UUID, attempt: int, *, best: str | None, is_lost: Callable[[], bool]) -> None:
        super().__init__(name=f"uploads of {run_id}", daemon=True)
        self.run_id, self.attempt, self.best, self.is_lost = run_id, attempt, best, is_lost
        self.remote = store.is_remote()
        self.changed = threading.Condition()
        self.waiting: list[Event] = []
        self.under_way: Event | None = None
        self.told: list[Event] = []
        self.ended = False

    def start(self) -> None:
        if self.remote:
            super().start()

    def keep_back(self, events: Iterable[Event]) -> list[Event]:
        """The events to record now: all but checkpoints, where those have a way to go first."""
        if not self.remote:
            return list(events)
        events = list(events)
        with self.changed:
            self.waiting += [event for event in events if event.kind == "checkpoint"]
            self.drop_superfluous()
            self.changed.notify()
        return [event for event in events if event.kind != "checkpoint"]

    def arrived(self) -> list[Event]:
        """Checkpoints that are in the store since this was asked last, and what there is to say."""
        with self.changed:
            told, self.told = self.told, []
        return told

    @property
    def busy(self) -> bool:
        with self.changed:
            return bool(self.waiting or self.under_way or self.told)

    @property
    def late(self) -> list[int]:
        """Steps of the checkpoints that are not in the store yet."""
        with self.changed:
            return sorted(event.step for event in [*self.waiting, *([self.under_way] if self.under_way else [])])

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify()

    def drop_superfluous(self) -> None:
        for event in superfluous(self.waiting, self.best):
            self.waiting.remove(event)
            files.remove(files.checkpoint_path(self.row(event)))

    def row(self, event: Event) -> Checkpoint:
        return Checkpoint(run_id=self.run_id, attempt=self.attempt, step=event.step)

    # In the thread

    def run(self) -> None:
        pause, away_since, told = 0.5, 0.0, False
        while (event := self.next_one()) is not None:
            try:
                self.upload(event)
            except (StoreAway, OSError) as error:
                words = f"Checkpoints wait for the file store ({reason(error)}); training goes on."
                if not away_since:
                    away_since = time.monotonic()
                    self.say(words, "warning")
                elif not told and time.monotonic() - away_since >= store.LONG_OUTAGE_SECONDS:
                    told = True
                    self.say(words, "warning", problem="store")
                self.put_back(event)
                self.rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            except PlackettError as error:  # its files were changed under us
                self.say(f"The checkpoint at step {event.step} is not kept: {error.message}", "warning")
            except UploadsEnded:
                return
            else:
                self.tell(event)
            if away_since:
                self.say("The file store answers again.", "info")
            pause, away_since, told = 0.5, 0.0, False
            with self.changed:
                self.under_way = None

    def next_one(self) -> Event | None:
        """The newest that waits; None once nobody waits for any."""
        with self.changed:
            while not self.waiting and not self.ended:
                self.changed.wait()
            if self.ended:
                return None
            self.under_way = self.waiting.pop()
            return self.under_way

    def upload(self, event: Event) -> None:
        path = files.checkpoint_path(self.row(event))
        with store.patient(self.look, None):
            store.put(files.key_of(path), path, str(event.fields.get("sha256")))

    def look(self) -> None:
        if self.ended or self.is_lost():
            raise UploadsEnded

    def put_back(self, event: Event) -> None:
        with self.changed:
            self.under_way = None
            self.waiting = sorted([*self.waiting, event], key=lambda one: one.step)
            self.drop_superfluous()

    def rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.ended:
            time.sleep(0.1)

    def tell(self, event: Event) -> None:
        with self.changed:
            self.told.append(event)

    def say(self, text: str, level: str, **fields: str) -> None:
        self.tell(Event("note", {"message": text, "level": level} | fields))


def superfluous(waiting: list[Event], best: str | None) -> list[Event]:
    """All but the newest and the best."""
    kept = waiting[-1:]
    measured = [event for event in waiting if isinstance(event.fields.get("value"), (int, float))]
    if best and measured:
        kept = [*kept, (max if best == "highest" else min)(measured, key=lambda event: event.fields["value"])]
    return [event for event in waiting if event not in kept]


def reason(error: Exception) -> str:
    return error.reason if isinstance(error, StoreAway) else str(error)
