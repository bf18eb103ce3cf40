"""How many labels a task wants: the usual number of its kind, or for a sampled share of the tasks another one.

InstructGPT had most comparisons labeled once, for cost (arXiv:2203.02155, section 5.3); a share labeled several times
still says how far labelers agree. Pure: no table, no settings.
"""

from __future__ import annotations

from typing import NamedTuple

from annotation.fractions import fraction_of


class Overlap(NamedTuple):
    """`usual` labels a task, and `sampled` labels for about `percent` in a hundred of them."""

    usual: int = 1
    percent: int = 0
    sampled: int = 1


def overlap_of(overlap: Overlap, *, salt: str, kind: str, key: str) -> int:
    """Return how many labels a task wants, the same at every call.

    key: what the task is about (its prompt's or its group's hash), so that making the same task again, on another day
    or in another process, draws the same. salt: the project's own. Raising `percent` only adds tasks to the sample.
    """
    is_sampled = fraction_of("overlap", salt, kind, key) < overlap.percent / 100
    return overlap.sampled if is_sampled else overlap.usual
