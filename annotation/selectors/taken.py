"""How many labels each kind and category of task has got: what quotas are held against."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from django.core.cache import cache
from django.db.models import F, Sum
from redis.exceptions import RedisError

from annotation.models import Project, Task, TaskState

COUNTED_AFRESH_UP_TO = 2000
"""Below so many slots counting takes a millisecond, and every task is chosen by counts that are exact."""
SECONDS_KEPT = 10
"""Beyond that, quotas may be held against counts so old: they say which way to steer, not who gets what."""
SECONDS_USED = 600
"""Older counts serve whoever asks while somebody counts anew, so that not everyone counts at once."""
log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """Slots of tasks: held by labels or leases, and free to be taken."""

    taken: int = 0
    waiting: int = 0


Counts = Mapping[str, Mapping[str, Taken]]


def labels_taken(project: Project) -> Counts:
    """Return {kind: {category: counts}} of the project's tasks, in a large project as it was some seconds ago."""
    key = f"labels-taken:{project.pk}"
    try:
        counted_at, kept = cache.get(key, (0.0, None))
        is_fresh = time.time() - counted_at < SECONDS_KEPT
        if kept is not None and (is_fresh or not cache.add(f"{key}:counting", True, SECONDS_KEPT)):
            return with_every_kind(kept)
        counted = count_taken(project)
        if sum(sum(count) for kind in counted.values() for count in kind.values()) > COUNTED_AFRESH_UP_TO:
            cache.set(key, (time.time(), counted), SECONDS_USED)
        elif kept is not None:
            cache.delete(key)
    except (RedisError, OSError):
        log.warning("the cache is away: labels are counted for each task anew")
        counted = count_taken(project)
    return with_every_kind(counted)


def count_taken(project: Project) -> dict[str, dict[str, Taken]]:
    """Count in the tables, in one query. Free slots of tasks that nobody can get are not waiting."""
    rows = Task.objects.filter(project=project).order_by().values_list("kind", "category", "state")
    counts: dict[str, dict[str, Taken]] = defaultdict(dict)
    for kind, category, state, held, free in rows.annotate(
        held=Sum(F("overlap") - F("open_slots")), free=Sum("open_slots")
    ):
        before = counts[kind].get(category, Taken())
        waiting = free if state == TaskState.OPEN else 0
        counts[kind][category] = Taken(before.taken + held, before.waiting + waiting)
    return dict(counts)


def with_every_kind(counts: Counts) -> Counts:
    return defaultdict(dict, counts)
