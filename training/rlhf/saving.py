"""Checkpoints written beside training: the step loop copies its state, a thread brings the copy to the disk.

At most one is on its way. A checkpoint that falls due meanwhile waits for a later step rather than for the disk: when a
checkpoint is written depends on the clock and the disk, and no weight or metric does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from training.rlhf.checkpoint import Saved, Snapshot, write_checkpoint


class Saver:
    """The thread that writes. `told` is called in it once the disk has a checkpoint, and never before."""

    def __init__(self, folder: Path, told: Callable[[Saved], None], failed: Callable[[Snapshot, OSError], None]):
        self.folder, self.told, self.failed = folder, told, failed
        self.thread: threading.Thread | None = None
        self.problem: BaseException | None = None

    @property
    def busy(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def start(self, snapshot: Snapshot) -> None:
        """Begin to write; the one before must be done."""
        assert not self.busy, "one checkpoint at a time"
        self.problem = None
        self.thread = threading.Thread(target=self.write, args=(snapshot,), name="checkpoint", daemon=True)
        self.thread.start()

    def write(self, snapshot: Snapshot) -> None:
        try:
            self.told(write_checkpoint(self.folder, snapshot))
        except OSError as error:  # a full disk: training goes on, and a later checkpoint may find room
            self.problem = error
            self.failed(snapshot, error)
        except BaseException as error:
            self.problem = error

    def wait(self) -> None:
        """Until nothing is on its way."""
        if self.thread is not None:
            self.thread.join()

    def check(self) -> None:
        """Raise what a finished write ended with, where training must not go on over it."""
        if not self.busy and self.problem is not None and not isinstance(self.problem, OSError):
            raise self.problem
