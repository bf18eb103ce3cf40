"""What can go wrong in a way that a person can put right; each message is a sentence that says how."""

from __future__ import annotations


class DataError(ValueError):
    """An input that cannot be trained on."""


class ModelError(DataError):
    """A model folder that cannot be used."""


class RowError(ValueError):
    """One row that is left out; the message is the reason that the data event counts it under."""


class NumericsError(ArithmeticError):
    """A loss, gradient or weight that is not a finite number."""


class Stopped(Exception):
    """The run was asked to stop before its first step."""
