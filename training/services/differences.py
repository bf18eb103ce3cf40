"""Comparing two snapshots of a project, at once or in a worker."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _

from annotation.models import Demonstration, Ranking
from annotation.services.audit import Actor
from training import files
from training.differences import Keyed, difference
from training.errors import SnapshotError
from training.leaks import rows_in
from training.models import Job, JobKind, Snapshot, SnapshotKind
from training.services.jobs import job_create

CHUNK = 1000
SMALL = 20_000  # rows of both, up to which it is done while the page loads
TABLES: dict[str, Any] = {SnapshotKind.DEMONSTRATIONS: Demonstration, SnapshotKind.RANKINGS: Ranking}


def compare(*, before: Snapshot, after: Snapshot, by: Actor | None) -> dict[str, Any] | Job:
    """What changed, or the job that finds out. Raises SnapshotError for two that can't be compared."""
    if before.kind != after.kind:
        raise SnapshotError(
            _("%(one)s and %(other)s are of different kinds; compare two of one kind.")
            % {"one": before.name, "other": after.name}
        )
    for snapshot in (before, after):
        if snapshot.erased_at:
            raise SnapshotError(_("%(snapshot)s was erased: its files are gone.") % {"snapshot": snapshot.name})
    if sum(before.counts.values()) + sum(after.counts.values()) <= SMALL:
        return compare_now(before, after)
    job = job_create(snapshot=after, kind=JobKind.DIFFERENCE, asked={"before": str(before.pk)}, by=by)
    return dict(job.result) if job.result else job


def compare_now(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    scratch = files.fresh_folder()
    try:
        return difference(keyed(before), keyed(after), scratch / "rows")
    finally:
        files.remove(scratch)


def keyed(snapshot: Snapshot) -> Iterator[Keyed]:
    """Its rows, each with what stays the same when it is revised: a label's assignment, else the row's id."""
    folder = files.path_of(snapshot.artifact)
    for name in snapshot.manifest["files"]:
        rows = rows_in(folder / name)
        while chunk := list(islice(rows, CHUNK)):
            keys = assignments_of(snapshot.kind, [row["id"] for row in chunk])
            for row in chunk:
                yield Keyed(keys.get(row["id"], row["id"]), row, name)


def assignments_of(kind: str, ids: list[str]) -> dict[str, str]:
    if kind not in TABLES:
        return {}
    found = TABLES[kind].objects.filter(pk__in=ids).values_list("pk", "assignment")
    return {str(label): str(assignment) for label, assignment in found}
