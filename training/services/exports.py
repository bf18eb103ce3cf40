"""Writing a snapshot out in a format: asking for it, and what a worker does then.

A file, or a folder as a zip with its dataset card, configurations for trainers and a statement of what was not carried.
Each split is written aside and renamed when it is whole, so a job that is taken up again goes on behind the last one.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from django.utils.text import slugify
from django.utils.translation import gettext as _

from annotation import store
from annotation.models import Demonstration, ImportBatch, Prompt, Ranking
from annotation.services.audit import Actor
from training import files
from training.canonical import canonical_json
from training.card import CardFacts, Source, dataset_card
from training.errors import SnapshotError
from training.exports import TARGETS, Tally, Target, write_all
from training.leaks import rows_in
from training.models import Job, JobKind, LeakCheck, LeakState, Snapshot, SnapshotKind
from training.packing import CONTAINERS, TABLES, shaped_row, write_file
from training.recipes import Recipe, recipes_for
from training.services.facts import facts_for
from training.services.jobs import job_create

Tell = Callable[[int, int], None]
CHUNK = 1000
TELL_SECONDS = 1.0
EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip's time: none, so that the same rows are the same bytes


@dataclass(frozen=True, kw_only=True)
class Order:
    """What an export is to be. Without a split it is the whole folder."""

    format: str
    container: str
    split: str = ""
    ties: str = "drop"


def order_of(snapshot: Snapshot, asked: Mapping[str, Any]) -> Order:
    """The order, checked and filled in. Raises SnapshotError in words."""
    order = Order(
        format=str(asked.get("format") or "canonical"),
        container=str(asked.get("container") or "jsonl"),
        split=str(asked.get("split") or ""),
        ties=str(asked.get("ties") or snapshot.query.get("ties") or "drop"),
    )
    target = target_of(snapshot, order.format)
    if order.container not in CONTAINERS:
        raise SnapshotError(
            _("There is no file type %(type)s; choose one of %(known)s.")
            % {"type": f"{order.container!r:.40}", "known": ", ".join(CONTAINERS)}
        )
    if order.container in TABLES and target.columns is None:
        raise SnapshotError(
            _("Rows as %(format)s have no one shape, so they can't be a table. Choose JSON lines.")
            % {"format": target.label}
        )
    if order.split and order.split not in snapshot.counts:
        raise SnapshotError(
            _("There is no split %(split)s; a snapshot has %(known)s.")
            % {"split": f"{order.split!r:.40}", "known": ", ".join(snapshot.counts)}
        )
    return order


def target_of(snapshot: Snapshot, format: str) -> Target:
    known = TARGETS[snapshot.kind]
    if format not in known:
        raise SnapshotError(
            _("%(snapshot)s can't be exported as %(format)s; choose one of %(known)s.")
            % {"snapshot": snapshot.name, "format": f"{format!r:.40}", "known": ", ".join(known)}
        )
    return known[format]


def export_create(*, snapshot: Snapshot, by: Actor | None, **asked: Any) -> Job:
    """Have a worker write the snapshot in a format. The same export again is the same job. Raises SnapshotError."""
    order = order_of(snapshot, asked)
    values = {"format": order.format, "container": order.container, "split": order.split, "ties": order.ties}
    return job_create(snapshot=snapshot, kind=JobKind.EXPORT, asked=values, by=by)


def file_name(snapshot: Snapshot, order: Order) -> str:
    parts = [slugify(snapshot.name) or snapshot.kind, order.split, order.format]
    base = "-".join(part for part in parts if part)
    return f"{base}.{order.container}" if order.split else f"{base}-{order.container.replace('.', '-')}.zip"


# --- In a worker --------------------------------------------------------------------------------------------


def export_run(job: Job, tell: Tell) -> dict[str, Any]:
    """Write the export's file and say what became of the rows. Memory does not grow with them."""
    snapshot, order = job.snapshot, order_of(job.snapshot, job.asked)
    target = target_of(snapshot, order.format)
    folder = files.job_folder(job.pk)
    folder.mkdir(parents=True, exist_ok=True)
    splits = [order.split] if order.split else [split for split, rows in snapshot.counts.items() if rows]
    progress = Progress(tell, sum(snapshot.counts[split] for split in splits))
    tallies = {split: write_split(snapshot, order, target, split, folder, progress) for split in splits}
    name = file_name(snapshot, order)
    if order.split:
        part_of(folder, order, order.split).replace(folder / name)
    else:
        write_zip(folder / name, job, order, target, folder, tallies)
    sha256 = files.file_hash(folder / name)
    store.put(files.key_of(folder / name), folder / name, sha256)
    left_out: dict[str, int] = {}
    for tally in tallies.values():
        for reason, number in tally.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + number
    return {
        "name": name,
        "size": (folder / name).stat().st_size,
        "sha256": sha256,
        "rows": {split: tally.written for split, tally in tallies.items()},
        "left_out": left_out,
        "statement": target.statement(snapshot.kind),
    }


class Progress:
    """Tells how many rows are done, at most once a second."""

    def __init__(self, tell: Tell, total: int) -> None:
        self.tell, self.total = tell, total
        self.done = 0
        self.told_at = 0.0

    def counted(self, rows: Iterable[Any]) -> Iterator[Any]:
        for row in rows:
            yield row
            self.done += 1
            if self.done % 200 == 0 and time.monotonic() - self.told_at > TELL_SECONDS:
                self.now()

    def now(self) -> None:
        self.told_at = time.monotonic()
        self.tell(self.done, self.total)


def part_of(folder: Path, order: Order, split: str) -> Path:
    return folder / f"part-{split}.{order.container}"


def write_split(
    snapshot: Snapshot, order: Order, target: Target, split: str, folder: Path, progress: Progress
) -> Tally:
    """One split's file; an attempt before this one may have finished it."""
    part, counted = part_of(folder, order, split), folder / f"part-{split}.tally"
    if part.exists() and counted.exists():
        progress.done += snapshot.counts[split]
        known = json.loads(counted.read_text())
        tally = Tally(rows=known["rows"], written=known["written"])
        tally.left_out.update(known["left_out"])
        return tally
    source = files.path_of(snapshot.artifact) / f"{split}.jsonl"
    files.verify(
        source, snapshot.manifest["files"][source.name]["sha256"], f"The file {source.name} of {snapshot.name}"
    )
    progress.now()
    tally = Tally()
    columns = target.columns_for(order.ties)
    rows = write_all(target, progress.counted(rows_in(source)), order.ties, tally)
    if not order.split and columns is not None and order.container not in TABLES:
        rows = (shaped_row(row, columns) for row in rows)  # `datasets` wants one shape in all files of a folder
    counted.unlink(missing_ok=True)
    write_file(part, rows, order.container, columns)
    counted.write_text(canonical_json({"rows": tally.rows, "written": tally.written, "left_out": dict(tally.left_out)}))
    return tally


def write_zip(path: Path, job: Job, order: Order, target: Target, folder: Path, tallies: Mapping[str, Tally]) -> None:
    """The folder as one file: data, card, configurations, statement and manifest; then the parts are removed."""
    snapshot = job.snapshot
    data = {split: f"data/{split}.{order.container}" for split, tally in tallies.items() if tally.written}
    aside = path.with_name(f"{path.name}.part")
    recipes = list(recipes_for(snapshot.kind, order.format, order.container, data))
    with zipfile.ZipFile(aside, "w") as archive:
        for name, text in papers(snapshot, order, target, data, tallies, recipes):
            archive.writestr(member(name), text, zipfile.ZIP_DEFLATED)
        for split, name in data.items():
            info = member(name, packed=order.container in {"jsonl.gz", "jsonl.zst", "parquet"})
            with part_of(folder, order, split).open("rb") as source, archive.open(info, "w", force_zip64=True) as into:
                while piece := source.read(1 << 20):
                    into.write(piece)
    aside.replace(path)
    for split in tallies:
        part_of(folder, order, split).unlink(missing_ok=True)


def member(name: str, *, packed: bool = False) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EARLIEST)
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    return info


def papers(
    snapshot: Snapshot,
    order: Order,
    target: Target,
    data: Mapping[str, str],
    tallies: Mapping[str, Tally],
    recipes: Iterable[Recipe],
) -> Iterator[tuple[str, str]]:
    """(name, text) of all that stands beside the data."""
    left_out: dict[str, int] = {}
    for tally in tallies.values():
        for reason, number in tally.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + number
    recipes = list(recipes)
    card = CardFacts(
        name=snapshot.name,
        kind=snapshot.kind,
        sha256=snapshot.sha256,
        query=[(name, words_of(value)) for name, value in snapshot.query.items() if value not in ("", [], None)],
        files=data,
        counts={split: tally.written for split, tally in tallies.items()},
        columns=target.described(order.ties, order.container),
        target=target,
        facts=facts_for(snapshot),
        left_out=left_out,
        sources=sources_of(snapshot),
        leaks=leak_words(snapshot),
        configurations=[(recipe.path, recipe.about) for recipe in recipes],
    )
    yield "README.md", dataset_card(card)
    yield "manifest.json", canonical_json(snapshot.manifest) + "\n"
    statement = {
        **target.statement(snapshot.kind),
        "snapshot": snapshot.sha256,
        "ties": order.ties,
        "files": dict(data),
        "rows": {split: tally.written for split, tally in tallies.items()},
        "rows_left_out": left_out,
    }
    yield "export.json", json.dumps(statement, indent=2, ensure_ascii=False) + "\n"
    for recipe in recipes:
        yield recipe.path, recipe.content


def words_of(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def leak_words(snapshot: Snapshot) -> str:
    check = LeakCheck.objects.filter(snapshot=snapshot).first()
    if check is None or check.state in {LeakState.WAITING, LeakState.CLEAN}:
        return ""
    found = f"{check.exact:,} prompts in train are held out word for word, {check.near:,} nearly."
    if check.state == LeakState.ACCEPTED:
        return f"{found} They were accepted: {check.reason}"
    return f"{found} Nobody has accepted them: train on a snapshot without them."


def sources_of(snapshot: Snapshot) -> list[Source]:
    """The imports that rows came from, by the prompts' and the labels' batches."""
    if snapshot.kind == SnapshotKind.CORPUS:
        return []
    batches: set[Any] = set()
    folder = files.path_of(snapshot.artifact)
    ids = (row["id"] for name in snapshot.manifest["files"] for row in rows_in(folder / name))
    while chunk := list(islice(ids, CHUNK)):
        for values in batch_ids(snapshot.kind, chunk):
            batches.update(values)
    found = ImportBatch.objects.filter(pk__in=batches - {None}).order_by("source", "licence")
    pairs = {(batch.source, batch.licence, batch.consent) for batch in found}
    return [Source(name=name, licence=licence, consent=consent[:200]) for name, licence, consent in sorted(pairs)]


def batch_ids(kind: str, ids: list[str]) -> Iterable[tuple[Any, ...]]:
    if kind == SnapshotKind.PROMPTS:
        return Prompt.objects.filter(pk__in=ids).order_by().values_list("batch").distinct()
    labels: Any = Demonstration if kind == SnapshotKind.DEMONSTRATIONS else Ranking
    return labels.objects.filter(pk__in=ids).order_by().values_list("batch", "prompt__batch").distinct()
