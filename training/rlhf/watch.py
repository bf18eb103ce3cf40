"""What a run keeps an eye on: numbers that run away, and the best value of one metric.

Its state is part of every checkpoint, so that a resumed run stops where an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.rlhf.config import StageConfig, best_metric
from training.rlhf.errors import NumericsError

FIRST_STEPS = 3  # whose mean is the loss that a run began with
IN_A_ROW = 3  # one bad batch is no explosion
SMALLEST_LOSS = 1.0  # nats: a run that begins near 0 may rise tenfold and be well


class Watch:
    """Looks at each step's metrics."""

    def __init__(self, stage: str, config: StageConfig) -> None:
        self.loss_limit = float(getattr(config, "max_loss_rise", 0.0))
        self.kl_limit = float(getattr(config, "max_token_kl", 0.0))
        self.best = best_metric(stage, config)
        self.first: list[float] = []
        self.high_losses = 0
        self.high_kls = 0
        self.best_value: float | None = None

    def look(self, step: int, values: Mapping[str, float]) -> None:
        """Raise NumericsError, with advice, where the loss or the KL has run away."""
        if (loss := values.get("loss/train")) is not None:
            self.look_at_loss(step, loss)
        if (kl := values.get("objective/kl")) is not None:
            self.look_at_kl(step, kl / max(values.get("response/length", 1.0), 1.0))

    def look_at_loss(self, step: int, loss: float) -> None:
        if len(self.first) < FIRST_STEPS:
            self.first.append(loss)
        began = sum(self.first) / len(self.first)
        limit = self.loss_limit * max(began, SMALLEST_LOSS)
        self.high_losses = self.high_losses + 1 if self.loss_limit and loss > limit else 0
        if self.high_losses >= IN_A_ROW:
            raise NumericsError(
                f"the loss exploded: {loss:.3g} at step {step}, and {began:.3g} when the run began; lower the learning "
                "rate or warm it up for longer, and retry from the last checkpoint (max_loss_rise sets this limit)"
            )

    def look_at_kl(self, step: int, kl: float) -> None:
        self.high_kls = self.high_kls + 1 if self.kl_limit and kl > self.kl_limit else 0
        if self.high_kls >= IN_A_ROW:
            raise NumericsError(
                f"the KL to the reference exploded: {kl:.3g} nats a token at step {step}; raise kl_coef or lower the "
                "learning rate, and retry from the last checkpoint (max_token_kl sets this limit)"
            )

    def value_of(self, values: Mapping[str, float]) -> float | None:
        """The metric whose best checkpoint is kept, where this step has it."""
        return values.get(self.best[0]) if self.best else None

    def is_best(self, value: float | None) -> bool:
        """Whether it is better than at every checkpoint that was saved so far."""
        if value is None or self.best is None:
            return False
        higher = self.best[1] == "highest"
        return self.best_value is None or (value > self.best_value if higher else value < self.best_value)

    def saved(self, value: float | None) -> None:
        if self.is_best(value):
            self.best_value = value

    def unsaved(self, value: float | None) -> None:
        """That checkpoint did not come to be: the next good one counts as the best."""
        if value == self.best_value:
            self.best_value = None

    def state_dict(self) -> dict[str, Any]:
        """Without the best value: which checkpoints were saved hangs on the clock; a checkpoint's bytes must not."""
        return {"first": self.first, "high_losses": self.high_losses, "high_kls": self.high_kls}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.first = list(state_dict["first"])
        self.high_losses, self.high_kls = state_dict["high_losses"], state_dict["high_kls"]
