"""What is to go from the object store: written down with the rows that it belonged to, carried out by the sweep.

A folder needs none of this: what is removed there is removed after the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Now

from annotation import store
from annotation.store import StoreAway
from training import files
from training.models import Artifact, ArtifactKind, Removal, Snapshot

logger = logging.getLogger(__name__)

AT_ONCE = 50  # a sweep; the rest waits for the next


def remove_from_store(paths: Iterable[Path], *, seconds: float = 0.0) -> None:
    """Have what has these places go, in so many seconds. Call it in the transaction that deletes the rows."""
    if store.is_remote():
        due_at = Now() + Value(timedelta(seconds=seconds))
        Removal.objects.bulk_create(Removal(key=files.key_of(path), due_at=due_at) for path in paths)


def carry_out_removals() -> int:
    """Remove what is due; how much that was. A store that is away is asked again by the next sweep."""
    done = 0
    while store.is_remote() and done < AT_ONCE:
        try:
            if not remove_one():
                break
        except StoreAway as error:
            logger.warning("nothing is removed from the file store: it does not answer (%s)", error.reason)
            break
        done += 1
    return done


@transaction.atomic
def remove_one() -> bool:
    """The one that is due for longest, under its row's lock; False where there is none."""
    due = Removal.objects.filter(due_at__lte=Now())
    if connection.features.has_select_for_update_skip_locked:
        due = due.select_for_update(skip_locked=True)
    removal = due.first()
    if removal is None:
        return False
    if not is_wanted(removal.key):
        store.remove(removal.key)
    removal.delete()
    return True


def is_wanted(key: str) -> bool:
    """Whether someone published the same bytes meanwhile. An erased snapshot keeps its row and not its files."""
    if key.startswith(f"{ArtifactKind.SNAPSHOT.value}/"):
        return Snapshot.objects.filter(artifact__storage_key=key, erased_at=None).exists()
    checkpoints = key.startswith("runs/")  # their rooms are never anyone else's, whatever the newest artifact says
    return not checkpoints and Artifact.objects.filter(storage_key=key).exists()
