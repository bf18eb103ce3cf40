"""A snapshot's facts: counted once from its files, then stored, since the files never change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from training import files
from training.facts import facts_of
from training.leaks import rows_in
from training.models import Snapshot


def facts_for(snapshot: Snapshot) -> dict[str, Any]:
    """The mix, shares and biases of all its rows. {} for one whose files are gone."""
    if snapshot.facts or snapshot.erased_at:
        return dict(snapshot.facts)
    snapshot.facts = facts_of(rows_of(snapshot))
    Snapshot.objects.filter(pk=snapshot.pk).update(facts=snapshot.facts)
    return dict(snapshot.facts)


def rows_of(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    folder = files.path_of(snapshot.artifact)
    for name in snapshot.manifest["files"]:
        yield from rows_in(folder / name)
