"""What a run remembers of its own metrics: the latest of each, and the best of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from training.rlhf.checkpoint import Stateful

WALL_CLOCK = ("tokens_per_second", "seconds")  # differ from run to run, so they are no result


class Record:
    """Kept in checkpoints, so that a resumed run reports what an uninterrupted one does.

    `watch` names the metric whose lowest (or, with `higher`, highest) value is the best. With `keep_weights` a copy of
    the model at that step is kept, and `restore` puts it back.
    """

    def __init__(self, model: Stateful, *, watch: str, higher: bool = False, keep_weights: bool = False) -> None:
        self.model, self.watch, self.keep_weights = model, watch, keep_weights
        self.sign = -1.0 if higher else 1.0
        self.latest: dict[str, float] = {}
        self.best: float | None = None
        self.best_step = 0
        self.weights: dict[str, torch.Tensor] = {}

    def note(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of a step, before it is yielded."""
        self.latest.update((name, value) for name, value in metrics.items() if not name.startswith(WALL_CLOCK))
        value = metrics.get(self.watch)
        if value is None or (self.best is not None and self.sign * value >= self.sign * self.best):
            return
        self.best, self.best_step = value, step
        if self.keep_weights:
            self.weights = {name: item.detach().clone() for name, item in self.model.state_dict().items()}

    def restore(self) -> None:
        """Put the best weights back into the model, where they were kept."""
        if self.weights:
            self.model.load_state_dict(self.weights)

    def result(self) -> dict[str, float]:
        """The latest metrics, and the best with its step."""
        best = {} if self.best is None else {f"best/{self.watch}": self.best, "best/step": float(self.best_step)}
        return {**self.latest, **best}

    def state_dict(self) -> dict[str, Any]:
        return {"latest": self.latest, "best": self.best, "best_step": self.best_step, "weights": self.weights}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.latest = dict(state_dict["latest"])
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.weights = dict(state_dict["weights"])
