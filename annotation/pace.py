"""How fast labeling goes, from plain numbers: what a day brings, how long a label takes, when it will be done.

Pure: no table, no settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

PACE_DAYS = 7


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which `share` of the values lie, between neighbours linearly; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def pace(a_day: Sequence[int]) -> float:
    """Return the labels a day of the last week, today included; of a project begun within it, since its first day."""
    week = list(a_day[-PACE_DAYS:])
    begun = next((place for place, labels in enumerate(week) if labels), len(week))
    if begun and any(a_day[:-PACE_DAYS]):
        begun = 0  # days without labels in the midst of the work count
    return sum(week) / (len(week) - begun) if begun < len(week) else 0.0


def days_left(labels_wanted: int, labels_a_day: float) -> int | None:
    """Return in how many days the labels will be there; None: never at this pace."""
    if labels_wanted <= 0:
        return 0
    return math.ceil(labels_wanted / labels_a_day) if labels_a_day else None
