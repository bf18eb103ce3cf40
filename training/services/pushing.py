"""Bringing what a folder holds into an object store. What is there already is left alone, so it may be done again."""

from __future__ import annotations

from collections.abc import Iterator

from annotation import staging, store
from training import files
from training.models import Artifact, ArtifactKind, Checkpoint, Job, JobKind, JobState


def push_everything() -> tuple[int, list[str]]:
    """How many things are in the store now, and the keys of those that are nowhere.

    Raises FileStoreError, StoreAway.
    """
    done, missing = 0, []
    for key, sha256 in things():
        path = files.root() / key
        if path.exists():
            store.put(key, path, sha256)
            done += 1
        elif store.has(key):
            done += 1
        else:
            missing.append(key)
    return done, missing


def things() -> Iterator[tuple[str, str]]:
    """(key, hash) of all that the store should hold. Erased snapshots have a row and no files."""
    erased = Artifact.objects.filter(snapshots__isnull=False).exclude(snapshots__erased_at=None)
    kept = Artifact.objects.exclude(kind=ArtifactKind.CHECKPOINT).exclude(pk__in=erased)
    yield from kept.values_list("storage_key", "sha256").iterator()
    for checkpoint in Checkpoint.objects.select_related("artifact").iterator():
        yield files.key_of(files.checkpoint_path(checkpoint)), checkpoint.artifact.sha256
    for job in Job.objects.filter(kind=JobKind.EXPORT, state=JobState.SUCCEEDED).iterator():
        yield files.key_of(files.job_folder(job.pk) / job.result["name"]), job.result["sha256"]
    for path in staging.folder().glob("*"):
        yield staging.key_of(path.name), path.name
