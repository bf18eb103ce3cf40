"""What the training side refuses, in words."""

from __future__ import annotations

from annotation.errors import PlackettError


class RunError(PlackettError):
    """A run that can't be created or changed as asked."""


class SnapshotError(PlackettError):
    """A snapshot that can't be built or read."""


class ModelError(PlackettError):
    """A model that can't be registered or published."""
