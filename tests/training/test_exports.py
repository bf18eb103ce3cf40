"""Exports: every format there and back by what it says that it carries, every file type, the folder, and the job."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.formats import format_named, recognise
from annotation.models import AuditEvent, ImportBatch, Membership, Project
from annotation.records import DemonstrationRecord, PromptRecord, RankingRecord, Record, record_of
from annotation.selectors.rows import demonstration_rows, prompt_rows, ranking_rows
from tests.factories import PromptFactory, RankingTaskFactory, lease
from tests.training.labels import demonstrate, demonstrations, rank
from training import files, packing
from training.card import CardFacts, dataset_card, feature
from training.errors import JobError, SnapshotError
from training.exports import CANONICAL_COLUMNS, FIELDS, PAIRS, REASONS, TARGETS, Tally, Target, write_all
from training.facts import facts_of
from training.jobs import carry_out
from training.models import Job, JobState, Snapshot
from training.recipes import recipes_for
from training.services import exports as export_services
from training.services import jobs as job_services
from training.services.exports import export_create
from training.services.jobs import JobLost, job_cancel, job_claim, job_tell, jobs_sweep
from training.services.snapshots import corpus_add, snapshot_build

Row = dict[str, Any]
KINDS = ("prompts", "demonstrations", "rankings")
CASES = [(kind, target) for kind in KINDS for target in TARGETS[kind].values()]

# --- Canonical rows, any -----------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(str.strip)
WORDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=12)
UUIDS = st.uuids().map(str)


@st.composite
def conversations(draw: st.DrawFn) -> list[Row]:
    messages: list[Row] = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        messages += [{"role": "user", "content": draw(TEXTS)}, {"role": "assistant", "content": draw(TEXTS)}]
    return [*messages, {"role": "user", "content": draw(TEXTS)}]


def filing(draw: st.DrawFn) -> Row:
    return {
        "language": draw(st.sampled_from(["en", "zh"])),
        "split": draw(st.sampled_from(["train", "validation", "test"])),
        "pool": draw(st.sampled_from(["sft", "rm"])),
    }


def by_whom(draw: st.DrawFn) -> Row:
    return {
        "labeler": draw(WORDS),
        "guideline_version": draw(st.none() | st.integers(1, 9)),
        **draw(st.sampled_from([{}, {"imported_guideline": "Helpful 2.1"}])),
        "form_version": draw(st.none() | st.integers(1, 9)),
        "origin": draw(st.sampled_from(["human", "simulated", "imported"])),
        "revision": draw(st.integers(1, 9)),
    }


@st.composite
def prompts(draw: st.DrawFn) -> Row:
    return {
        "id": draw(UUIDS),
        "prompt": draw(conversations()),
        "category": "chat",
        "group": draw(WORDS),
        **filing(draw),
    }


@st.composite
def written(draw: st.DrawFn) -> Row:
    answer = [{"role": "assistant", "content": draw(TEXTS)}]
    common = {"id": draw(UUIDS), "prompt": draw(conversations()), "category": "chat"}
    return {**common, "completion": answer, **filing(draw), **by_whom(draw)}


@st.composite
def ranked(draw: st.DrawFn) -> Row:
    texts = draw(st.lists(TEXTS, min_size=2, max_size=7, unique_by=str.strip))
    number = len(texts)
    ranks = draw(st.lists(st.none() | st.integers(1, number), min_size=number, max_size=number).filter(
        lambda given: sum(rank is not None for rank in given) >= 2))  # fmt: skip
    order = {rank: place for place, rank in enumerate(sorted({rank for rank in ranks if rank}), start=1)}
    completions = [
        {
            "id": draw(UUIDS),
            "content": text,
            "author": draw(st.sampled_from(["model", "human"])),
            "model": draw(st.none() | UUIDS),
            "decoding": draw(st.sampled_from([{}, {"temperature": 0.7, "seed": 3}])),
            "ratings": draw(st.sampled_from([{}, {"overall": 5}])),
            "flags": draw(st.sampled_from([[], ["hallucination"]])),
        }
        for text in texts
    ]
    return {
        "id": draw(UUIDS),
        "prompt": draw(conversations()),
        "prompt_fields": {"category": "chat"},
        "completions": completions,
        "ranks": [order.get(rank) for rank in ranks],
        "presented_order": [item["id"] for item in reversed(completions)],
        "purpose": "train",
        "counts": True,
        "started_at": "2026-01-31T12:00:00+00:00",
        "submitted_at": "2026-01-31T12:01:00+00:00",
        "active_seconds": draw(st.sampled_from([0.0, 12.5])),
        "batch": None,
        "round": draw(st.none() | st.integers(1, 4)),
        **filing(draw),
        **by_whom(draw),
    }


ANY: dict[str, st.SearchStrategy[Row]] = {"prompts": prompts(), "demonstrations": written(), "rankings": ranked()}


# --- Every format, there and back --------------------------------------------------------------------------------

READ_AS = {"hh-rlhf", "ultrafeedback", "oasst", "argilla", "label-studio", "openai", "sharegpt", "alpaca"}


def stripped(value: Any, target: Target) -> Any:
    """As hh-rlhf gives it back: without the space around a text."""
    if target.key != "hh-rlhf":
        return value
    if isinstance(value, str):
        return value.strip()
    return [{**turn, "content": turn["content"].strip()} for turn in value]


def back(kind: str, target: Target, rows: list[Row]) -> list[Record]:
    """What our own importer makes of the exported rows."""
    name = target.key if target.key in READ_AS else "plackett"
    return [record_of(kind, read) for row in rows for read in format_named(name).read(kind, row)]


def ordered_pairs(row: Row) -> list[tuple[str, str]]:
    answers = [(item["content"], rank) for item, rank in zip(row["completions"], row["ranks"], strict=True)]
    return sorted((a, b) for a, up in answers for b, low in answers if up is not None and low is not None and up < low)


@pytest.mark.parametrize(("kind", "target"), CASES, ids=[f"{kind}-{target.key}" for kind, target in CASES])
def test_what_a_format_says_that_it_carries_comes_back(kind: str, target: Target) -> None:
    @settings(max_examples=15, deadline=None)
    @given(ANY[kind])
    def comes_back(row: Row) -> None:
        tally = Tally()
        out = list(write_all(target, [row], "drop", tally))
        json.dumps(out, allow_nan=False)
        if tally.left_out:
            assert set(tally.left_out) <= set(target.may_leave_out) and not out
            return
        if target.key == "canonical":
            assert out == [row]
            return
        if target.key == "unpaired":
            assert all(set(item) == {"prompt", "completion", "label"} for item in out)
            return
        check(back(kind, target, out), row, target)

    comes_back()


def check(records: list[Record], row: Row, target: Target) -> None:
    assert records
    for record in records:
        prompt = record if isinstance(record, PromptRecord) else record.prompt
        assert prompt.messages == stripped(row["prompt"], target)
        if "language" in target.carries:
            assert prompt.language == row["language"]
        if not isinstance(record, PromptRecord) and "labeler" in target.carries:
            assert record.work.labeler == row["labeler"]
        if not isinstance(record, PromptRecord) and "active_seconds" in target.carries:
            assert record.work.active_seconds == row["active_seconds"]
        if isinstance(record, DemonstrationRecord):
            assert record.text == row["completion"][0]["content"]
    rankings = [record for record in records if isinstance(record, RankingRecord)]
    if PAIRS in target.carries:
        found = sorted((record.answers[0].text, record.answers[1].text) for record in rankings)
        assert found == sorted((stripped(a, target), stripped(b, target)) for a, b in ordered_pairs(row))
    if "ranks" in target.carries:
        [record] = rankings
        expected = [(item["content"], rank) for item, rank in zip(row["completions"], row["ranks"], strict=True)]
        assert [(answer.text, answer.rank) for answer in record.answers] == expected


@pytest.mark.parametrize(("kind", "target"), CASES, ids=[f"{kind}-{target.key}" for kind, target in CASES])
def test_every_format_states_what_it_carries_and_what_not(kind: str, target: Target) -> None:
    statement = target.statement(kind)
    carried = {name for name in statement["carries"] if name != PAIRS}
    assert carried <= set(FIELDS[kind])
    assert not carried & set(statement["does_not_carry"])
    pairs = {"completions", "ranks"} if statement["as_pairs"] else set()
    assert carried | pairs | set(statement["does_not_carry"]) == set(FIELDS[kind])
    assert set(statement["may_leave_out"]) <= set(REASONS)
    json.dumps(statement)


SAMPLE = {
    "id": "r1",
    "prompt": [{"role": "user", "content": "Why?"}],
    "prompt_fields": {"category": "chat"},
    "completions": [
        {"id": "a", "content": "Air.", "author": "model", "model": "m", "ratings": {}, "flags": [], "decoding": {}},
        {"id": "b", "content": "Paint.", "author": "model", "model": "m", "ratings": {}, "flags": [], "decoding": {}},
    ],
    "labeler": "p1",
    "language": "en",
    "split": "train",
    "active_seconds": 3.0,
}


@pytest.mark.parametrize(
    ("key", "changes", "reason"),
    [
        ("hh-rlhf", {"prompt": [{"role": "system", "content": "Be brief."}, *SAMPLE["prompt"]]}, "system"),
        ("hh-rlhf", {"prompt": [{"role": "user", "content": "A\n\nHuman: B"}]}, "marks"),
        ("hh-rlhf", {"ranks": [1, 1]}, "no_pair"),
        ("preference", {"ranks": [1, 1]}, "no_pair"),
        ("oasst", {"prompt": [{"role": "system", "content": "Be brief."}, *SAMPLE["prompt"]]}, "system"),
        ("ultrafeedback", {"prompt": [*SAMPLE["prompt"], *SAMPLE["prompt"]]}, "turns"),
        ("ultrafeedback", {"ranks": [1, 6]}, "levels"),
        ("label-studio", {"ranks": [1, 1]}, "ties"),
        ("unpaired", {"ranks": [1, 1]}, "not_said"),
    ],
)
def test_a_row_that_would_come_out_wrong_is_left_out_and_counted(key: str, changes: Row, reason: str) -> None:
    tally = Tally()
    out = list(write_all(TARGETS["rankings"][key], [{**SAMPLE, "ranks": [1, 2], **changes}], "drop", tally))
    assert (out, dict(tally.left_out), tally.rows, tally.written) == ([], {reason: 1}, 1, 0)


@pytest.mark.parametrize("key", ["hh-rlhf", "ultrafeedback", "oasst", "argilla", "label-studio", "openai", "sharegpt"])
def test_an_exported_row_is_recognised_as_its_format(key: str) -> None:
    [row] = write_all(TARGETS["rankings"][key], [{**SAMPLE, "ranks": [1, 2]}], "drop")
    assert recognise(row).name == key


# --- Every file type, there and back -------------------------------------------------------------------------------

TABLES = [(kind, target) for kind, target in CASES if target.columns is not None]


def same(value: Any) -> Any:
    """A value with what a table can't tell apart evened out: a field that is not there, and one that is null."""
    if isinstance(value, dict):
        return {name: same(item) for name, item in value.items() if item is not None}
    return [same(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("kind", "target"), TABLES, ids=[f"{kind}-{target.key}" for kind, target in TABLES])
def test_parquet_and_csv_hold_every_column(kind: str, target: Target) -> None:
    columns = target.columns_for("drop")
    assert columns is not None

    @settings(max_examples=4, deadline=None)
    @given(st.lists(ANY[kind], min_size=1, max_size=3))
    def comes_back(rows: list[Row]) -> None:
        out = list(write_all(target, rows, "drop"))
        folder = files.fresh_folder()
        try:
            for container, read in (("parquet", packing.read_parquet), ("csv", packing.read_csv)):
                path = folder / f"rows.{container}"
                packing.write_file(path, out, container, columns)
                found = [same(row) for row in read(path, columns)]
                if container == "csv":  # where an empty text and null are one
                    found = [{name: value for name, value in row.items() if value != ""} for row in found]
                    assert found == [{k: v for k, v in same(row).items() if v != ""} for row in out]
                else:
                    assert found == [same(row) for row in out]
        finally:
            files.remove(folder)

    comes_back()


@settings(max_examples=20, deadline=None)
@given(st.lists(written(), max_size=4))
def test_packed_lines_are_the_lines(rows: list[Row]) -> None:
    folder = files.fresh_folder()
    try:
        for container in packing.LINE_PACKS:
            path = folder / f"rows.{container}"
            packing.write_file(path, rows, container, None)
            assert list(packing.read_lines(path)) == rows
            assert path.read_bytes() == b"".join(packing.stream(rows, container, None))
    finally:
        files.remove(folder)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "'quoted"])
def test_no_cell_of_a_csv_is_a_formula_and_the_text_comes_back(text: str, tmp_path: Path) -> None:
    [_head, line] = csv.reader(io.StringIO(b"".join(packing.csv_lines([{"text": text}], {"text": "str"})).decode(),
                                           newline=""))  # fmt: skip
    assert line[0].startswith("'")
    packing.write_file(tmp_path / "x.csv", [{"text": text}], "csv", {"text": "str"})
    assert list(packing.read_csv(tmp_path / "x.csv", {"text": "str"})) == [{"text": text}]


def test_a_field_that_a_table_does_not_know_is_refused_and_never_dropped() -> None:
    with pytest.raises(KeyError, match="no column for mood"):
        packing.shaped_row({"id": "1", "mood": "good"}, {"id": "str"})


def test_the_columns_are_those_of_the_rows_that_the_tables_give(
    project: Project, alice: Membership, rita: Membership
) -> None:
    demonstrations(project, alice, 1)
    RankingTaskFactory(prompt=PromptFactory(project=project, pool="rm"))
    rank(lease(alice, "ranking"), lambda response: len(response.text))
    for kind, rows in (
        ("prompts", prompt_rows(project)),
        ("demonstrations", demonstration_rows(project)),
        ("rankings", ranking_rows(project)),
    ):
        for row in rows:
            assert set(CANONICAL_COLUMNS[kind]) == set(FIELDS[kind])
            assert set(FIELDS[kind]) - set(row) <= {"imported_guideline"} and set(row) <= set(FIELDS[kind])
            packing.shaped_row(row, CANONICAL_COLUMNS[kind])


# --- The job ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def labeled(project: Project, alice: Membership, bob: Membership) -> Project:
    batch = ImportBatch.objects.create(
        project=project, kind="prompts", source="A forum", licence="CC-BY-4.0", sha256="0" * 64
    )
    texts = ["Why is the sky blue?", "Name three rivers.", "用一句话介绍潮汐。"]
    for number, text in enumerate(texts):
        split = "validation" if number == 1 else "train"
        demonstrate(PromptFactory(project=project, text=text, split=split, batch=batch), alice, f"Answer {number}.")
        RankingTaskFactory(
            prompt=PromptFactory(project=project, pool="rm", text=f"{text} Rank.", split=split), overlap=2
        )
    for labeler in (alice, bob):
        for _ in texts:
            rank(lease(labeler, "ranking"), lambda response: int(response.text.strip("It is.")))
    return project


def built(project: Project, by: Membership, kind: str = "demonstrations", **query: Any) -> Snapshot:
    return snapshot_build(project=project, kind=kind, query=query, by=by, name=f"The {kind}")


def done(snapshot: Snapshot, by: Membership, **asked: Any) -> tuple[Job, Path]:
    """The export, carried out as a worker does it."""
    job = export_create(snapshot=snapshot, by=by, **asked)
    claimed = job_claim()
    assert claimed is not None and claimed.pk == job.pk
    carry_out(claimed)
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED, job.message
    return job, files.job_folder(job.pk) / job.result["name"]


def unzipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def test_a_split_is_one_file_and_the_job_says_what_became_of_it(labeled: Project, rita: Membership) -> None:
    snapshot = built(labeled, rita, "rankings")
    job, path = done(snapshot, rita, format="preference", container="jsonl.gz", split="train")
    assert path.name == "the-rankings-train-preference.jsonl.gz"
    rows = list(packing.read_lines(path))
    assert job.result["rows"] == {"train": len(rows)} and len(rows) == 4 * 6
    assert job.result["sha256"] == files.file_hash(path) and job.result["size"] == path.stat().st_size
    assert job.result["statement"]["as_pairs"] and "labeler" in job.result["statement"]["does_not_carry"]
    assert job.expires_at is not None and job.expires_at > timezone.now()
    assert AuditEvent.objects.filter(verb="snapshot.export", target_id=str(snapshot.pk)).count() == 1


def test_the_same_export_twice_is_one_job_with_the_same_bytes(
    labeled: Project, rita: Membership, django_capture_on_commit_callbacks: Any
) -> None:
    snapshot = built(labeled, rita)
    job, path = done(snapshot, rita, format="canonical", container="parquet")
    content = path.read_bytes()
    assert export_create(snapshot=snapshot, by=rita, format="canonical", container="parquet") == job
    with django_capture_on_commit_callbacks(execute=True):
        job_cancel(job=job, by=rita)
    assert not path.exists()
    again, path = done(snapshot, rita, format="canonical", container="parquet")
    assert again != job and path.read_bytes() == content


# One of each file type; rankings, whose rows are the hardest, both as lines and as a table.
@pytest.mark.parametrize(
    ("kind", "container"),
    [
        ("rankings", "jsonl"),
        ("rankings", "parquet"),
        ("demonstrations", "jsonl.gz"),
        ("demonstrations", "jsonl.zst"),
        ("prompts", "csv"),
    ],
)
def test_the_folder_opens_with_datasets(
    labeled: Project, rita: Membership, kind: str, container: str, tmp_path: Path
) -> None:
    """With the real library: its splits, its features and every row."""
    from datasets import load_dataset

    snapshot = built(labeled, rita, kind)
    _job, path = done(snapshot, rita, format="canonical", container=container)
    folder = unzipped(path, tmp_path / "data")
    found = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: len(found[split]) for split in found} == {k: n for k, n in snapshot.counts.items() if n}
    columns = CANONICAL_COLUMNS[kind]
    assert list(found["train"].features) == list(columns)
    rows = list(packing.read_lines(files.path_of(snapshot.artifact) / "train.jsonl"))
    if container != "csv":
        assert [same(packing.unshaped(row, columns)) for row in found["train"]] == [same(row) for row in rows]


def test_the_folder_says_what_it_is(labeled: Project, rita: Membership, tmp_path: Path) -> None:
    snapshot = built(labeled, rita, "rankings", ties="half", held_out_labelers=[])
    _job, path = done(snapshot, rita, format="preference", container="jsonl")
    folder = unzipped(path, tmp_path)
    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train.jsonl"},
        {"split": "validation", "path": "data/validation.jsonl"},
    ]
    assert (head["license"], head["size_categories"]) == ("cc-by-4.0" if "CC-BY" in card else "other", ["n<1K"])
    assert [item["name"] for item in head["dataset_info"]["features"]] == ["prompt", "chosen", "rejected"]
    for said in ("Position:", "Ties:", "Labelers: 2 in all", "does not carry", "`labeler`", snapshot.sha256):
        assert said in card
    statement = json.loads((folder / "export.json").read_text())
    assert statement["snapshot"] == snapshot.sha256 and statement["does_not_carry"]
    assert json.loads((folder / "manifest.json").read_text()) == snapshot.manifest
    assert {"trl/reward.yaml", "trl/dpo.yaml", "openrlhf/train_rm.sh", "openrlhf/train_dpo.sh"} <= {
        item.relative_to(folder).as_posix() for item in folder.rglob("*") if item.is_file()
    }
    assert "alice" not in card and "alice" not in (folder / "data/train.jsonl").read_text()


def test_the_licence_of_what_was_imported_is_on_the_card(labeled: Project, rita: Membership, tmp_path: Path) -> None:
    _job, path = done(built(labeled, rita), rita, format="openai", container="parquet")
    folder = unzipped(path, tmp_path)
    head = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert (head["license"], head.get("license_name"), head["language"]) == ("cc-by-4.0", None, ["en"])
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info["plackett_train"]["file_name"] == "data/train.parquet" and info["plackett_train"]["tags"]
    assert yaml.safe_load((folder / "verl/sft.yaml").read_text())["data"]["messages_key"] == "messages"


def test_a_killed_export_goes_on_behind_the_split_that_was_finished(
    labeled: Project, rita: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = built(labeled, rita)
    export_create(snapshot=snapshot, by=rita, format="canonical", container="jsonl")
    first = job_claim()
    assert first is not None
    written: list[str] = []
    real = export_services.write_file

    def dies_at_the_second(path: Path, *args: Any) -> None:
        written.append(path.name)
        if len(written) == 2:
            raise KeyboardInterrupt
        real(path, *args)

    monkeypatch.setattr(export_services, "write_file", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        carry_out(first)
    assert job_claim() is None  # its lease holds still
    Job.objects.update(lease_until=timezone.now() - job_services.LEASE)
    assert jobs_sweep()
    second = job_claim()
    assert second is not None and (second.pk, second.attempt) == (first.pk, 2)
    carry_out(second)
    assert written == ["part-train.jsonl", "part-validation.jsonl", "part-validation.jsonl"]
    second.refresh_from_db()
    assert second.state == JobState.SUCCEEDED and second.result["rows"] == {"train": 2, "validation": 1}
    with pytest.raises(JobLost):
        job_tell(first, 1, 1)  # the dead worker's number opens nothing


def test_a_job_that_loses_every_worker_ends_in_words(labeled: Project, rita: Membership) -> None:
    export_create(snapshot=built(labeled, rita), by=rita)
    for _ in range(job_services.MOST_ATTEMPTS):
        assert job_claim() is not None
        Job.objects.update(lease_until=timezone.now() - job_services.LEASE)
    assert job_claim() is None
    assert Job.objects.get().state == JobState.FAILED and "lost" in Job.objects.get().message


def test_a_cancelled_job_stops_and_leaves_nothing(labeled: Project, rita: Membership) -> None:
    job = export_create(snapshot=built(labeled, rita), by=rita)
    claimed = job_claim()
    assert claimed is not None
    job_cancel(job=job, by=rita)
    carry_out(claimed)
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED and not files.job_folder(job.pk).exists()


def test_a_damaged_snapshot_fails_the_export_in_words(labeled: Project, rita: Membership) -> None:
    snapshot = built(labeled, rita)
    (files.path_of(snapshot.artifact) / "train.jsonl").write_text("{}\n")
    export_create(snapshot=snapshot, by=rita)
    claimed = job_claim()
    assert claimed is not None
    carry_out(claimed)
    assert "hash differs" in Job.objects.get().message


def test_an_old_file_is_removed(labeled: Project, rita: Membership) -> None:
    job, path = done(built(labeled, rita), rita)
    Job.objects.update(expires_at=timezone.now() - job_services.KEPT)
    jobs_sweep()
    assert not path.exists()
    assert export_create(snapshot=job.snapshot, by=rita) != job


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"format": "xml"}, "can't be exported"),
        ({"container": "xlsx"}, "no file type"),
        ({"split": "moon"}, "no split"),
        ({"format": "argilla", "container": "parquet"}, "can't be a table"),
    ],
)
def test_an_export_that_does_not_exist_is_refused_in_words(
    labeled: Project, rita: Membership, asked: Row, said: str
) -> None:
    with pytest.raises(SnapshotError, match=said):
        export_create(snapshot=built(labeled, rita), by=rita, **asked)


def test_an_erased_snapshot_is_not_exported(labeled: Project, rita: Membership) -> None:
    snapshot = built(labeled, rita)
    Snapshot.objects.update(erased_at=timezone.now(), erased_why="asked for")
    snapshot.refresh_from_db()
    with pytest.raises(JobError, match="was erased"):
        export_create(snapshot=snapshot, by=rita)


def test_a_corpus_is_exported_too(project: Project, ada: Membership) -> None:
    talk = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    snapshot = corpus_add(project=project, texts=["a text", "another", talk], by=ada, validation_percent=0)
    job, path = done(snapshot, ada, format="text", container="csv", split="train")
    assert job.result["left_out"] == {"no_text": 1}
    assert {row["text"] for row in packing.read_csv(path, {"text": "str"})} == {"a text", "another"}


def test_a_worker_holds_a_chunk_of_rows_and_not_the_file(tmp_path: Path) -> None:
    import tracemalloc

    columns = CANONICAL_COLUMNS["demonstrations"]

    def rows(number: int) -> Iterator[Row]:
        for n in range(number):
            yield {"id": str(n), "prompt": [{"role": "user", "content": f"{n} " * 50}], "completion": []}

    def peak(number: int, container: str) -> int:
        tracemalloc.start()
        packing.write_file(tmp_path / "x", rows(number), container, columns)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    packing.write_file(tmp_path / "x", rows(1), "parquet", columns)  # loads what it needs
    for container in ("jsonl.zst", "csv"):
        assert peak(2000, container) < 1.5 * peak(500, container) + 200_000, container


# --- Beside the data -------------------------------------------------------------------------------------------------


def test_facts_are_what_a_person_would_count() -> None:
    """By hand: r1 puts the answer shown second first, and the longer one; r2 ties."""
    one = {**SAMPLE, "ranks": [2, 1], "presented_order": ["a", "b"], "origin": "human", "guideline_version": 2}
    two = {**SAMPLE, "ranks": [1, 1], "presented_order": ["b", "a"], "origin": "human", "labeler": "p2"}
    facts = facts_of([one, two])
    assert (facts["rows"], facts["labelers"], facts["k"]) == (2, 2, {"2": 2})
    assert (facts["pairs"], facts["tied_pairs"], facts["rankings_with_ties"]) == (1, 1, 1)
    assert (facts["longer_wins"], facts["pairs_of_unequal_length"]) == (1, 1)
    assert (facts["first_position"], facts["shown_position"]) == ({"2": 1}, {"1": 1, "2": 1})
    assert facts["guideline"] == {"2": 1} and facts["mean_seconds"] == 3.0


def test_the_features_on_the_card_are_those_of_the_library() -> None:
    from datasets import Features

    for kind, columns in CANONICAL_COLUMNS.items():
        described = [feature(name, column) for name, column in columns.items()]
        found = Features._from_yaml_list(described)
        import pyarrow as pa

        schema = pa.schema([(name, packing.arrow_type(column)) for name, column in columns.items()])
        assert found.arrow_schema.remove_metadata() == schema, kind


def test_a_name_can_not_break_out_of_the_card() -> None:
    card = CardFacts(
        name='x"\n---\n# <script> | {}', kind="prompts", sha256="0", query=[], files={"train": "data/train.jsonl"},
        counts={"train": 1}, columns=None, target=TARGETS["prompts"]["prompt"], facts={},
    )  # fmt: skip
    text = dataset_card(card)
    assert yaml.safe_load(text.split("\n---\n")[0][4:])["pretty_name"] == card.name


def test_no_configuration_without_something_to_train_on() -> None:
    assert not list(recipes_for("rankings", "preference", "jsonl", {"test": "data/test.jsonl"}))
