"""Copies of the object store's files on this host that nobody has a right to any more, or a use for.

Each host looks after its own: whoever erases a snapshot can't reach the others.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from annotation import store
from annotation.store import StoreAway
from training import cache, files
from training.models import Artifact, ArtifactKind, Job, Run, RunState, Snapshot

FRESH_SECONDS = 600.0  # what was published just now may have no row yet
EVERY_SECONDS = 60.0
NEVER_AGAIN = frozenset({RunState.SUCCEEDED, RunState.CANCELLED})  # a failed run may be tried again, here perhaps

tidied_at: list[float] = []


def tidy_copies() -> None:
    """Called every few seconds by each worker; done once a minute."""
    if not store.is_remote() or (tidied_at and time.monotonic() - tidied_at[-1] < EVERY_SECONDS):
        return
    tidied_at[:] = [time.monotonic()]
    tidy_artifacts()
    tidy_exports()
    with suppress(StoreAway):  # it is asked whether it has what a cancelled run left here
        tidy_rooms()


def tidy_artifacts() -> None:
    found = {files.key_of(path): path for kind in ArtifactKind for path in (files.root() / kind.value).glob("*")}
    known = set(Artifact.objects.filter(storage_key__in=found).values_list("storage_key", flat=True))
    snapshots = Snapshot.objects.filter(artifact__storage_key__in=found).values_list("artifact__storage_key", flat=True)
    erased = set(snapshots.exclude(erased_at=None)) - set(snapshots.filter(erased_at=None))
    for key, path in found.items():
        if key in erased or (key not in known and is_old(path)):
            cache.drop(path, path)


def tidy_exports() -> None:
    found = by_id(files.root() / "jobs")
    wanted = set(
        Job.objects.filter(pk__in=found).exclude(result={}, ended_at__isnull=False).values_list("pk", flat=True)
    )
    for job_id in set(found) - wanted:
        files.remove(found[job_id])


def tidy_rooms() -> None:
    """Of a run that is over its checkpoints and what it read may go, and all of it once its row is gone."""
    found = by_id(files.root() / "runs")
    states = dict(Run.objects.filter(pk__in=found).values_list("pk", "state"))
    for run_id, room in found.items():
        if run_id not in states:
            if is_old(room):
                files.remove(room)
        elif states[run_id] in NEVER_AGAIN:
            for copy in cache.checkpoints_in(room):
                cache.drop_copy(copy)
            for path in room.glob("attempts/*/inputs"):
                cache.drop(path, path.parent)


def by_id(folder: Path) -> dict[UUID, Path]:
    found = {}
    for path in folder.glob("*"):
        try:
            found[UUID(path.name)] = path
        except ValueError:
            continue
    return found


def is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > FRESH_SECONDS
    except FileNotFoundError:
        return False
