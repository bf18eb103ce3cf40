"""Reading snapshots: what a query would freeze, and the rows of what was frozen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any

from django.db.models import Count, Q, QuerySet, Value
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.models import Project
from annotation.selectors.rows import demonstrations_for, held_out_condition, prompts_for, query_of, rankings_for
from training import files
from training.errors import SnapshotError
from training.exports import TARGETS, write_all
from training.inputs import HELD_OUT_LABELERS
from training.models import Job, JobKind, JobState, Run, Snapshot, SnapshotKind
from training.packing import stream
from training.services.exports import order_of, target_of
from training.services.snapshots import LABELS, ROWS, check_labelers, file_of, splits_of, whole_query

PREVIEW_ROWS = 5


def snapshot_preview(project: Project, kind: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """{"counts": {split: rows}, "total": n, "rows": the first few} of what `snapshot_build` would freeze."""
    if kind not in ROWS:
        raise SnapshotError(_("Choose what to freeze: demonstrations, rankings or prompts."))
    asked = whole_query(kind, query or {})
    check_labelers(project, asked)
    labels, path = selected(project, kind, asked)
    held_out = held_out_condition(query_of(asked)) if kind in LABELS else Value(False)
    # Where one label stands for its task, tasks are counted.
    number = Count("task", distinct=True) if asked.get("overlap") == "majority" else Count("pk")
    counts = dict.fromkeys(splits_of(asked), 0)
    groups = labels.order_by().annotate(by_held_out=held_out).values_list("by_held_out", f"{path}split", f"{path}pool")
    for by_held_out, split, pool, count in groups.annotate(rows=number):
        counts[HELD_OUT_LABELERS if by_held_out else file_of({"split": split, "pool": pool})] += count
    rows = list(islice(ROWS[kind](project, asked), PREVIEW_ROWS))
    return {"counts": counts, "total": sum(counts.values()), "rows": rows, "query": asked}


def selected(project: Project, kind: str, query: Mapping[str, Any]) -> tuple[QuerySet[Any], str]:
    """(the rows in question, the way from them to their prompt)"""
    if kind == SnapshotKind.DEMONSTRATIONS:
        return demonstrations_for(project, query), "prompt__"
    if kind == SnapshotKind.RANKINGS:
        return rankings_for(project, query), "prompt__"
    return prompts_for(project, query), ""


def snapshots_of(project: Project) -> QuerySet[Snapshot]:
    return Snapshot.objects.filter(project=project).select_related("artifact", "created_by")


def builds_of(project: Project) -> QuerySet[Job]:
    """Builds that wait, run, or ended without a snapshot in the last day, newest first."""
    fresh = Q(state=JobState.FAILED, ended_at__gt=timezone.now() - timedelta(days=1))
    return Job.objects.filter(
        Q(state__in=[JobState.QUEUED, JobState.RUNNING]) | fresh, project=project, kind=JobKind.BUILD
    )


def snapshot_rows(snapshot: Snapshot, split: str) -> Iterator[dict[str, Any]]:
    """The canonical rows of one of its files, read as they are asked for. Raises FileStoreError if it was changed."""
    if snapshot.erased_at:
        raise SnapshotError(_("%(snapshot)s was erased: its files are gone.") % {"snapshot": snapshot.name})
    if split not in snapshot.counts:
        raise SnapshotError(
            _("There is no split %(split)s; a snapshot has %(known)s.")
            % {"split": f"{split!r:.40}", "known": ", ".join(snapshot.counts)}
        )
    path = files.path_of(snapshot.artifact) / f"{split}.jsonl"
    files.verify(path, snapshot.manifest["files"][path.name]["sha256"], f"The file {path.name} of {snapshot.name}")
    return read_lines(path)


def read_lines(path: Any) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def formats_of(snapshot: Snapshot) -> list[str]:
    return list(TARGETS[snapshot.kind])


def export_lines(
    snapshot: Snapshot,
    *,
    split: str = "train",
    format: str = "canonical",
    ties: str | None = None,
    container: str = "jsonl",
) -> Iterator[bytes]:
    """The bytes of a download: a file of the snapshot in one of its kind's formats. Raises SnapshotError.

    Refusals come before the first byte, so that a page can still answer with them. Parquet is a worker's work.
    """
    order = order_of(snapshot, {"format": format, "container": container, "split": split, "ties": ties})
    if container == "parquet":
        raise SnapshotError(_("Parquet is written by a worker. Ask for an export, and download its file."))
    target = target_of(snapshot, format)
    rows = write_all(target, snapshot_rows(snapshot, split), order.ties)
    return stream(rows, container, target.columns_for(order.ties))


def runs_using(snapshot: Snapshot) -> QuerySet[Run]:
    return Run.objects.filter(inputs__snapshot=snapshot).distinct()
