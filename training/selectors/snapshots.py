"""Reading snapshots: what a query would freeze, and the rows of what was frozen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _

from annotation.models import Project
from annotation.selectors.rows import demonstrations_for, prompts_for, rankings_for
from training import files
from training.canonical import canonical_json
from training.errors import SnapshotError
from training.exports import FORMATS
from training.inputs import SPLITS
from training.models import Run, Snapshot, SnapshotKind
from training.services.snapshots import ROWS, file_of, whole_query

PREVIEW_ROWS = 5


def snapshot_preview(project: Project, kind: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """{"counts": {split: rows}, "total": n, "rows": the first few} of what `snapshot_build` would freeze."""
    if kind not in ROWS:
        raise SnapshotError(_("Choose what to freeze: demonstrations, rankings or prompts."))
    asked = {key: value for key, value in whole_query(kind, query or {}).items() if key != "ties"}
    labels, path = selected(project, kind, asked)
    counts = dict.fromkeys(SPLITS, 0)
    for split, pool, count in labels.order_by().values_list(f"{path}split", f"{path}pool").annotate(rows=Count("pk")):
        counts[file_of({"split": split, "pool": pool})] += count
    rows = list(islice(ROWS[kind](project, asked), PREVIEW_ROWS))
    return {"counts": counts, "total": sum(counts.values()), "rows": rows}


def selected(project: Project, kind: str, query: Mapping[str, Any]) -> tuple[QuerySet[Any], str]:
    """(the rows in question, the way from them to their prompt)"""
    if kind == SnapshotKind.DEMONSTRATIONS:
        return demonstrations_for(project, query), "prompt__"
    if kind == SnapshotKind.RANKINGS:
        return rankings_for(project, query), "prompt__"
    return prompts_for(project, query), ""


def snapshots_of(project: Project) -> QuerySet[Snapshot]:
    return Snapshot.objects.filter(project=project).select_related("artifact", "created_by")


def snapshot_rows(snapshot: Snapshot, split: str) -> Iterator[dict[str, Any]]:
    """The canonical rows of one of its files, read as they are asked for. Raises FileStoreError if it was changed."""
    if split not in SPLITS:
        raise SnapshotError(
            _("There is no split %(split)s; a snapshot has %(known)s.")
            % {"split": f"{split!r:.40}", "known": ", ".join(SPLITS)}
        )
    path = files.path_of(snapshot.artifact) / f"{split}.jsonl"
    files.verify(path, snapshot.manifest["files"][path.name]["sha256"], f"The file {path.name} of {snapshot.name}")
    return read_lines(path)


def read_lines(path: Any) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def formats_of(snapshot: Snapshot) -> list[str]:
    return list(FORMATS[snapshot.kind])


def export_lines(
    snapshot: Snapshot, *, split: str = "train", format: str = "canonical", ties: str | None = None
) -> Iterator[bytes]:
    """The lines of a download: a file of the snapshot in one of its kind's formats. Raises SnapshotError.

    Refusals come before the first line, so that a page can still answer with them.
    """
    if format not in FORMATS[snapshot.kind]:
        raise SnapshotError(
            _("%(snapshot)s can't be exported as %(format)s; choose one of %(known)s.")
            % {"snapshot": snapshot.name, "format": f"{format!r:.40}", "known": ", ".join(formats_of(snapshot))}
        )
    policy = ties or snapshot.query.get("ties") or "drop"
    rows = FORMATS[snapshot.kind][format](snapshot_rows(snapshot, split), policy)
    return (canonical_json(row).encode() + b"\n" for row in rows)


def runs_using(snapshot: Snapshot) -> QuerySet[Run]:
    return Run.objects.filter(inputs__snapshot=snapshot).distinct()
