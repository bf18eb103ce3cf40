"""Freezing datasets: the tables' rows as files that never change, under the hash of their manifest.

The manifest holds the query, the counts and each file's hash, and neither time nor name: the same query on the same
label revisions is the same bytes, and so the same snapshot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils.translation import gettext as _

from annotation.models import Pool, Project, Purpose
from annotation.rankings import TIES
from annotation.selectors.rows import demonstration_rows, prompt_rows, query_of, ranking_rows
from annotation.services import audit
from annotation.services.audit import Actor, account_of
from training import files
from training.canonical import canonical_json
from training.documents import VALIDATION_PERCENT, Document, corpus_rows, documents_of
from training.errors import SnapshotError
from training.inputs import SPLITS, TEST, TRAIN
from training.models import ArtifactKind, Snapshot, SnapshotKind, SnapshotLabel

SCHEMA_VERSION = 1
LABELS_ONLY = frozenset({"origins", "purpose", "overlap", "extras", "returned"})  # filters that prompts do not have
CHUNK = 1000

Row = Mapping[str, Any]
ROWS: dict[str, Callable[[Project, Any], Iterator[dict[str, Any]]]] = {
    SnapshotKind.DEMONSTRATIONS: demonstration_rows,
    SnapshotKind.RANKINGS: ranking_rows,
    SnapshotKind.PROMPTS: prompt_rows,
}
NOTHING = {
    SnapshotKind.DEMONSTRATIONS: "No demonstration matches. Write or import some, or ask for less.",
    SnapshotKind.RANKINGS: "No ranking matches. Rank or import some, or ask for less.",
    SnapshotKind.PROMPTS: "No prompt matches. Add or import some, or ask for less.",
    SnapshotKind.CORPUS: "The corpus holds no text.",
}


@dataclass
class Written:
    """A snapshot's files, written aside."""

    folder: Path
    counts: dict[str, int] = field(default_factory=dict)
    label_ids: list[str] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(manifest_bytes(self.manifest)).hexdigest()


def snapshot_build(
    *, project: Project, kind: str, query: Mapping[str, Any] | None = None, by: Actor | None, name: str = ""
) -> Snapshot:
    """Freeze the labels or prompts that the query selects. The same rows again are the same snapshot.

    Raises SnapshotError if there are none, QueryProblem for a query that asks for what does not exist.
    """
    if kind not in ROWS:
        raise SnapshotError(
            _("Choose what to freeze: demonstrations, rankings or prompts. A corpus is uploaded instead.")
        )
    asked = whole_query(kind, query or {})
    rows = ROWS[kind](project, {key: value for key, value in asked.items() if key != "ties"})
    written = write_aside(kind, asked, rows)
    return keep(project, kind, written, name=name, by=by)


def corpus_add(
    *,
    project: Project,
    by: Actor | None,
    file: UploadedFile | None = None,
    texts: Iterable[Document] = (),
    name: str = "",
    validation_percent: int = VALIDATION_PERCENT,
) -> Snapshot:
    """Freeze a text to pretrain on, from an uploaded file (plain text or JSONL) or from texts. Raises SnapshotError."""
    if file is not None:
        name = name or file.name or ""
        texts = documents_of(file.read(), file.name or "the file")
    if not 0 <= validation_percent <= 50:
        raise SnapshotError(
            _("The validation share must be from 0 to 50 percent, got %(validation_percent)s.")
            % {"validation_percent": validation_percent}
        )
    rows = corpus_rows(texts, validation_percent)
    written = write_aside(SnapshotKind.CORPUS, {"validation_percent": validation_percent}, iter(rows))
    return keep(project, SnapshotKind.CORPUS, written, name=name, by=by)


def whole_query(kind: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """The query with everything that it leaves open filled in, as JSON; lists are sets, so their order is not kept."""
    ties = query.get("ties") or query.get("tie_policy") or "drop"
    if ties not in TIES:
        raise SnapshotError(
            _("The tie policy is %(ties)s; it must be one of %(known)s.")
            % {"ties": f"{ties!r:.40}", "known": ", ".join(TIES)}
        )
    asked: dict[str, Any] = {}
    for key, value in asdict(query_of(query)).items():
        if isinstance(value, (list, tuple)):
            asked[key] = sorted(set(value))
        else:
            asked[key] = value.isoformat() if hasattr(value, "isoformat") else value
    if kind == SnapshotKind.PROMPTS:  # only labels have these
        asked = {key: value for key, value in asked.items() if key not in LABELS_ONLY}
    return asked | ({"ties": ties} if kind == SnapshotKind.RANKINGS else {})


def write_aside(kind: str, query: dict[str, Any], rows: Iterator[Mapping[str, Any]]) -> Written:
    """Stream the rows into files in a folder of their own. Raises SnapshotError if there are none."""
    written = Written(files.fresh_folder())
    try:
        write_files(written, rows, keep_ids=kind in {SnapshotKind.DEMONSTRATIONS, SnapshotKind.RANKINGS})
        if not any(written.counts.values()):
            raise SnapshotError(NOTHING[SnapshotKind(kind)])
    except BaseException:
        files.remove(written.folder)
        raise
    written.manifest = {
        "schema": SCHEMA_VERSION,
        "kind": str(kind),
        "query": query,
        "counts": written.counts,
        "files": {f"{split}.jsonl": describe(written, split) for split in SPLITS},
    }
    (written.folder / "manifest.json").write_bytes(manifest_bytes(written.manifest))
    return written


def write_files(written: Written, rows: Iterable[Row], *, keep_ids: bool) -> None:
    written.counts = dict.fromkeys(SPLITS, 0)
    with ExitStack() as stack:
        targets: dict[str, BinaryIO] = {
            split: stack.enter_context((written.folder / f"{split}.jsonl").open("wb")) for split in SPLITS
        }
        for row in rows:
            split = file_of(row)
            targets[split].write(canonical_json(row).encode() + b"\n")
            written.counts[split] += 1
            if keep_ids:
                written.label_ids.append(row["id"])


def file_of(row: Row) -> str:
    """Which file a row goes to. Held-out prompts, and the pool that is for evaluation, never reach a train file."""
    split = row["split"]
    if split not in SPLITS:
        raise SnapshotError(
            _("The row %(row)s is in the split %(split)s, which does not exist.")
            % {"row": row.get("id"), "split": repr(split)}
        )
    return TEST if split == TRAIN and row.get("pool") == Pool.EVAL else split


def describe(written: Written, split: str) -> dict[str, Any]:
    path = written.folder / f"{split}.jsonl"
    return {"rows": written.counts[split], "bytes": path.stat().st_size, "sha256": files.file_hash(path)}


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    return canonical_json(manifest).encode() + b"\n"


@transaction.atomic
def keep(project: Project, kind: str, written: Written, *, name: str, by: Actor | None) -> Snapshot:
    """Give the files their place and their rows; if this project has the same snapshot already, that one."""
    Project.objects.select_for_update().get(pk=project.pk)  # two people who freeze the same at once make one
    known = Snapshot.objects.filter(project=project, sha256=written.sha256).first()
    if known:
        files.remove(written.folder)
        return known
    sha256 = files.folder_hash(written.folder)
    snapshot = Snapshot.objects.create(
        project=project,
        kind=kind,
        name=name.strip()[:120] or free_name(project, kind),
        query=written.manifest["query"],
        manifest=written.manifest,
        sha256=written.sha256,
        counts=written.counts,
        artifact=files.publish(path=written.folder, kind=ArtifactKind.SNAPSHOT, sha256=sha256),
        created_by=account_of(by),
    )
    SnapshotLabel.objects.bulk_create(
        (SnapshotLabel(snapshot=snapshot, label_id=label_id) for label_id in written.label_ids), batch_size=CHUNK
    )
    audit.record(project=project, by=by, verb="snapshot.build", target=snapshot, kind=kind, counts=written.counts)
    return snapshot


def free_name(project: Project, kind: str) -> str:
    return f"{kind}-{Snapshot.objects.filter(project=project, kind=kind).count() + 1}"


def is_for_evaluation(snapshot: Snapshot) -> bool:
    """Whether labels made for blind evaluation are in it: nothing may train on those."""
    return "purpose" in snapshot.query and snapshot.query["purpose"] != Purpose.TRAIN
