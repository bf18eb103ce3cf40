"""A moving average of a model's weights, which is published in place of the last ones (InstructGPT, appendix C.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class MovingAverage:
    """average = decay * average + (1 - decay) * weights at each `update`, starting from the weights as they are.

    A decay of 0 follows the weights, costs no memory, and is how it is switched off.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.weights = {name: weight.detach().clone() for name, weight in self._trained()} if decay else {}

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What is averaged: the weights that are trained. Of an adapter that is its factors, not their product."""
        return ((name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad)

    @torch.no_grad()
    def update(self) -> None:
        if self.decay:
            for name, weight in self._trained():
                self.weights[name].lerp_(weight, 1.0 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the average weights; outside, its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        if self.decay:
            for name, weight in self._trained():
                own = weight.detach().clone()
                weight.copy_(self.weights[name])
                self.weights[name] = own

    def state_dict(self) -> dict[str, torch.Tensor]:
        return dict(self.weights)

    def load_state_dict(self, state_dict: Mapping[str, torch.Tensor]) -> None:
        if set(state_dict) != set(self.weights):
            raise ValueError("it averages other weights, or none")
        for name, weight in state_dict.items():
            self.weights[name].copy_(weight)
