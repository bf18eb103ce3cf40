"""What the training side refuses, in words."""

from __future__ import annotations

from django.utils.translation import gettext

from annotation.errors import PlackettError
from training.rlhf.config import ConfigError


class RunError(PlackettError):
    """A run that can't be created or changed as asked."""


class SnapshotError(PlackettError):
    """A snapshot that can't be built or read."""


class JobError(PlackettError):
    """A job that can't be asked for or changed."""


class ModelError(PlackettError):
    """A model that can't be registered or published."""


class NoticeError(PlackettError):
    """A webhook or a choice of notices that can't be as asked."""


def config_words(problem: ConfigError) -> str:
    """The core's refusal of a setting, in the reader's language."""
    return gettext(problem.words) % problem.names
