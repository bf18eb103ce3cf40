"""A snapshot's facts: counted once from its files, then stored, since the files never change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from training import files
from training.facts import facts_of
from training.leaks import rows_in
from training.models import Snapshot

TELL_EVERY = 1000


def facts_for(snapshot: Snapshot, tell: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """The mix, shares and biases of all its rows. {} for one whose files are gone."""
    if snapshot.facts or snapshot.erased_at:
        return dict(snapshot.facts)
    rows = rows_of(snapshot)
    snapshot.facts = facts_of(told(rows, sum(snapshot.counts.values()), tell) if tell else rows)
    Snapshot.objects.filter(pk=snapshot.pk).update(facts=snapshot.facts)
    return dict(snapshot.facts)


def told(rows: Iterator[dict[str, Any]], total: int, tell: Callable[[int, int], None]) -> Iterator[dict[str, Any]]:
    """The rows, telling now and then how many there were."""
    for number, row in enumerate(rows):
        if number % TELL_EVERY == 0:
            tell(number, total)
        yield row


def rows_of(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    folder = files.path_of(snapshot.artifact)
    for name in snapshot.manifest["files"]:
        yield from rows_in(folder / name)
