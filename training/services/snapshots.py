"""Freezing datasets: the tables' rows as files that never change, under the hash of their manifest.

The manifest holds the query, the counts and each file's hash, and neither time nor name: the same query on the same
label revisions is the same bytes, and so the same snapshot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils.translation import gettext as _

from annotation.models import Membership, Pool, Project, Purpose
from annotation.rankings import TIES
from annotation.selectors.rows import demonstration_rows, prompt_rows, query_of, ranking_rows
from annotation.services import audit
from annotation.services.audit import Actor, account_of
from annotation.services.bulk_rows import insert_rows
from training import files
from training.canonical import canonical_json
from training.documents import VALIDATION_PERCENT, Document, corpus_rows, documents_of
from training.errors import SnapshotError
from training.inputs import HELD_OUT_LABELERS, SPLITS, TEST, TRAIN
from training.leaks import rows_in, verdicts
from training.models import ArtifactKind, LeakCheck, LeakState, Snapshot, SnapshotKind, SnapshotLabel
from training.services.facts import facts_for
from training.services.leaks import SMALL, check_create, check_run, decide

SCHEMA_VERSION = 2  # 2: every filter is written out, labelers and flags among them; leaks
CHUNK = 1000
LEAKS = ("keep", "leave_out")
LABELS = frozenset({SnapshotKind.DEMONSTRATIONS, SnapshotKind.RANKINGS})
# Filters that only labels have, and of those the ones that only rankings have.
OF_LABELS = frozenset(
    {
        *("origins", "purpose", "overlap", "extras", "returned"),
        *("labelers", "labelers_out", "held_out_labelers", "flags_out", "flagged"),
    }
)
OF_RANKINGS = frozenset({"flags_out", "flagged"})

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
    left_out: int = 0
    """Rows that leaked and were taken out of train."""
    manifest: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, files.HashedFile] = field(default_factory=dict)
    ids: dict[str, bytearray] = field(default_factory=dict)
    """The rows' ids by their files, 16 bytes each, so that no file is read again for them."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(manifest_bytes(self.manifest)).hexdigest()


def snapshot_build(
    *, project: Project, kind: str, query: Mapping[str, Any] | None = None, by: Actor | None, name: str = ""
) -> Snapshot:
    """Freeze the labels or prompts that the query selects. The same rows again are the same snapshot.

    Raises SnapshotError if there are none, QueryProblem for a query that asks for what does not exist.
    """
    asked = asked_of(project, kind, query)
    written = write_aside(kind, asked, ROWS[kind](project, asked))
    return checked(keep(project, kind, written, name=name, by=by))


def asked_of(project: Project, kind: str, query: Mapping[str, Any] | None) -> dict[str, Any]:
    """The whole query, checked. Raises SnapshotError, or QueryProblem."""
    if kind not in ROWS:
        raise SnapshotError(
            _("Choose what to freeze: demonstrations, rankings or prompts. A corpus is uploaded instead.")
        )
    asked = whole_query(kind, query or {})
    check_labelers(project, asked)
    return asked


def checked(snapshot: Snapshot) -> Snapshot:
    """Look for leaks at once where that takes a moment; for a large one a worker does."""
    if sum(snapshot.counts.values()) <= SMALL:
        check_run(snapshot)
        facts_for(snapshot)
    return snapshot


def snapshot_without_leaks(*, snapshot: Snapshot, by: Actor | None) -> Snapshot:
    """Freeze the same rows again, those out of train whose prompts are held out too. Raises SnapshotError.

    The one with the leaks stays as it is, and from then on names the other as its replacement.
    """
    written = write_aside(snapshot.kind, without_leaks_query(snapshot), rows_with_leaks(snapshot))
    return keep_without_leaks(snapshot, written, by=by)


def without_leaks_query(snapshot: Snapshot) -> dict[str, Any]:
    """The query of the snapshot that replaces it. Raises SnapshotError where there is nothing to leave out."""
    check = LeakCheck.objects.get(snapshot=snapshot)
    if check.state not in {LeakState.FOUND, LeakState.ACCEPTED}:
        raise SnapshotError(_("There is no leak to leave out of %(snapshot)s.") % {"snapshot": snapshot.name})
    return {**snapshot.query, "leaks": "leave_out"}


def rows_with_leaks(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    if snapshot.erased_at:
        raise SnapshotError(_("%(snapshot)s was erased: its files are gone.") % {"snapshot": snapshot.name})
    folder = files.path_of(snapshot.artifact)
    return chain.from_iterable(rows_in(folder / name) for name in snapshot.manifest["files"])


@transaction.atomic
def keep_without_leaks(snapshot: Snapshot, written: Written, *, by: Actor | None) -> Snapshot:
    """Keep what was written as the snapshot that replaces this one, and write the decision down."""
    name = _("%(snapshot)s without leaks") % {"snapshot": snapshot.name[:100]}
    made = keep(snapshot.project, snapshot.kind, written, name=name, by=by)
    decide(check=LeakCheck.objects.get(snapshot=snapshot), state=LeakState.LEFT_OUT, by=by, replaced_by=made)
    return made


def check_labelers(project: Project, asked: Mapping[str, Any]) -> None:
    """Refuse pseudonyms that nobody here has: a slip of the pen must not widen a dataset. Raises SnapshotError."""
    named = {name for key in ("labelers", "labelers_out", "held_out_labelers") for name in asked.get(key, ())}
    known = set(Membership.objects.filter(project=project, pseudonym__in=named).values_list("pseudonym", flat=True))
    if unknown := sorted(named - known):
        raise SnapshotError(
            _("Nobody in this project has the pseudonym %(names)s.") % {"names": ", ".join(unknown)[:200]}
        )


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
        lines = file.open("rb").file  # by \n alone: Django's own lines end at each \r too
        assert lines is not None
        texts = documents_of(lines, file.name or "the file")
    if not 0 <= validation_percent <= 50:
        raise SnapshotError(
            _("The validation share must be from 0 to 50 percent, got %(validation_percent)s.")
            % {"validation_percent": validation_percent}
        )
    rows = corpus_rows(texts, validation_percent)
    written = write_aside(SnapshotKind.CORPUS, {"validation_percent": validation_percent}, rows)
    return keep(project, SnapshotKind.CORPUS, written, name=name, by=by)


def whole_query(kind: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """The query with everything that it leaves open filled in, as JSON; lists are sets, so their order is not kept."""
    ties = one_of(_("The tie policy is %(value)s; it must be one of %(known)s."), TIES, ties_of(query))
    leaks = one_of(_("Leaks is %(value)s; it must be one of %(known)s."), LEAKS, query.get("leaks") or "keep")
    asked: dict[str, Any] = {}
    for key, value in asdict(query_of(query)).items():
        if isinstance(value, (list, tuple)):
            asked[key] = sorted(set(value))
        else:
            asked[key] = value.isoformat() if hasattr(value, "isoformat") else value
    unasked: frozenset[str] = frozenset()
    if kind not in LABELS:
        unasked = OF_LABELS
    elif kind != SnapshotKind.RANKINGS and not asked["flags_out"]:
        unasked = OF_RANKINGS
    asked = {key: value for key, value in asked.items() if key not in unasked} | {"leaks": leaks}
    return asked | ({"ties": ties} if kind == SnapshotKind.RANKINGS else {})


def ties_of(query: Mapping[str, Any]) -> Any:
    return query.get("ties") or query.get("tie_policy") or "drop"


def one_of(refusal: str, known: tuple[str, ...], value: Any) -> str:
    if value not in known:
        raise SnapshotError(refusal % {"value": f"{value!r:.40}", "known": ", ".join(known)})
    return str(value)


def splits_of(query: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of a snapshot with this query."""
    return (*SPLITS, HELD_OUT_LABELERS) if query.get("held_out_labelers") else SPLITS


def write_aside(kind: str, query: dict[str, Any], rows: Iterator[Mapping[str, Any]]) -> Written:
    """Stream the rows into files in a folder of their own. Raises SnapshotError if there are none."""
    written = Written(files.fresh_folder())
    try:
        write_files(written, rows, query)
        if query.get("leaks") == "leave_out":
            leave_out_leaks(written)
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
        "files": {f"{split}.jsonl": describe(written, split) for split in written.counts},
    }
    if query.get("leaks") == "leave_out":
        written.manifest["left_out"] = {"leaks": written.left_out}
    (written.folder / "manifest.json").write_bytes(manifest_bytes(written.manifest))
    return written


def write_files(written: Written, rows: Iterable[Row], query: Mapping[str, Any]) -> None:
    held_out = frozenset(query.get("held_out_labelers") or ())
    written.counts = dict.fromkeys(splits_of(query), 0)
    written.ids = {split: bytearray() for split in written.counts}
    with ExitStack() as stack:
        written.targets = {
            split: stack.enter_context(files.HashedFile(written.folder / f"{split}.jsonl")) for split in written.counts
        }
        for row in rows:
            split = file_of(row, held_out)
            written.targets[split].write(canonical_json(row).encode() + b"\n")
            written.ids[split] += id_bytes(row)
            written.counts[split] += 1


def id_bytes(row: Row) -> bytes:
    return bytes.fromhex(row["id"].replace("-", ""))


def leave_out_leaks(written: Written) -> None:
    """Take the rows out of train whose prompts are held out too, word for word or nearly."""
    train, kept = written.folder / f"{TRAIN}.jsonl", written.folder / "kept"
    scratch = files.fresh_folder()
    held_out = {split: rows_in(written.folder / f"{split}.jsonl") for split in SPLITS if split != TRAIN}
    written.ids[TRAIN].clear()
    try:
        with files.HashedFile(kept) as target:
            for row, leaks, _leak in verdicts(rows_in(train), held_out, scratch / "bands"):
                if leaks:
                    written.left_out += 1
                else:
                    target.write(canonical_json(row).encode() + b"\n")
                    written.ids[TRAIN] += id_bytes(row)
    finally:
        files.remove(scratch)
    kept.replace(train)
    written.targets[TRAIN] = target
    written.counts[TRAIN] -= written.left_out


def file_of(row: Row, held_out: frozenset[str] = frozenset()) -> str:
    """Which file a row goes to.

    Held-out prompts, the pool that is for evaluation, and labels by people who are held out never reach a train file.
    """
    split = row["split"]
    if split not in SPLITS:
        raise SnapshotError(
            _("The row %(row)s is in the split %(split)s, which does not exist.")
            % {"row": row.get("id"), "split": repr(split)}
        )
    if held_out and row["labeler"] in held_out:
        return HELD_OUT_LABELERS
    return TEST if split == TRAIN and row.get("pool") == Pool.EVAL else str(split)


def describe(written: Written, split: str) -> dict[str, Any]:
    file = written.targets[split]
    return {"rows": written.counts[split], "bytes": file.size, "sha256": file.sha256}


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    return canonical_json(manifest).encode() + b"\n"


def keep(project: Project, kind: str, written: Written, *, name: str, by: Actor | None) -> Snapshot:
    """Give the files their place and their rows; if this project has the same snapshot already, that one."""
    if not Snapshot.objects.filter(project=project, sha256=written.sha256).exists():
        files.send(written.folder, ArtifactKind.SNAPSHOT, files.folder_hash(written.folder))
    return keep_rows(project, kind, written, name=name, by=by)


@transaction.atomic
def keep_rows(project: Project, kind: str, written: Written, *, name: str, by: Actor | None) -> Snapshot:
    Project.objects.select_for_update().get(pk=project.pk)  # two people who freeze the same at once make one
    known = Snapshot.objects.filter(project=project, sha256=written.sha256).first()
    if known:
        files.remove(written.folder)
        if known.erased_at:
            raise SnapshotError(_("These very rows were frozen as %(snapshot)s and erased.") % {"snapshot": known.name})
        return known
    known_hashes = {name: entry["sha256"] for name, entry in written.manifest["files"].items()}
    sha256 = files.folder_hash(written.folder, known_hashes)
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
    if kind in LABELS:
        name_labels(snapshot, written.ids.values())
    check_create(snapshot)
    audit.record(project=project, by=by, verb="snapshot.build", target=snapshot, kind=kind, counts=written.counts)
    return snapshot


def name_labels(snapshot: Snapshot, ids: Iterable[bytearray]) -> None:
    """A row for each label that was frozen, a chunk of rows in memory at a time."""
    for of_file in ids:
        for start in range(0, len(of_file), 16 * CHUNK):
            chunk = of_file[start : start + 16 * CHUNK].hex()
            keys = (chunk[at : at + 32] for at in range(0, len(chunk), 32))
            insert_rows(SnapshotLabel, [{"snapshot_id": snapshot.pk, "label_id": key} for key in keys])


def free_name(project: Project, kind: str) -> str:
    return f"{kind}-{Snapshot.objects.filter(project=project, kind=kind).count() + 1}"


def is_for_evaluation(snapshot: Snapshot) -> bool:
    """Whether labels made for blind evaluation are in it: nothing may train on those."""
    return "purpose" in snapshot.query and snapshot.query["purpose"] != Purpose.TRAIN
