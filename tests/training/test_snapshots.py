"""Snapshots: the same labels are the same bytes, held-out prompts stay held out, and nothing changes afterwards."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sqlite3
import tracemalloc
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import given
from hypothesis import strategies as st

from annotation.formats.trl import write_preference as preference_pairs
from annotation.formats.trl import write_prompt_completion as prompt_completion
from annotation.models import Membership, Project
from annotation.selectors.forms import form_current
from annotation.selectors.rows import QueryProblem
from annotation.services.feedback import label_comment
from annotation.services.forms import form_publish
from annotation.services.labels import RankedItem, ranking_submit
from tests.factories import ProjectFactory, PromptFactory, RankingTaskFactory, lease
from tests.training.labels import demonstrate, demonstrations, rank, submit_demonstration
from training import files
from training.documents import corpus_rows, documents_of
from training.errors import SnapshotError
from training.files import FileStoreError
from training.models import Snapshot, SnapshotLabel
from training.selectors.snapshots import export_lines, snapshot_preview, snapshot_rows
from training.services.snapshots import corpus_add, snapshot_build


def build(project: Project, by: Membership, kind: str = "demonstrations", **query: Any) -> Snapshot:
    return snapshot_build(project=project, kind=kind, query=query, by=by)


def exported(snapshot: Snapshot, **asked: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(export_lines(snapshot, **asked)).splitlines()]


def bytes_of(snapshot: Snapshot) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in files.path_of(snapshot.artifact).iterdir()}


def test_a_snapshot_is_files_a_manifest_and_its_labels(project: Project, alice: Membership, rita: Membership) -> None:
    made = demonstrations(project, alice, 3)
    held_out = demonstrations(project, alice, 1, split="validation")
    snapshot = build(project, rita)
    content = bytes_of(snapshot)
    assert set(content) == {"train.jsonl", "validation.jsonl", "test.jsonl", "manifest.json"}
    assert hashlib.sha256(content["manifest.json"]).hexdigest() == snapshot.sha256
    for name, entry in snapshot.manifest["files"].items():
        assert hashlib.sha256(content[name]).hexdigest() == entry["sha256"]
    assert snapshot.counts == {"train": 3, "validation": 1, "test": 0}
    frozen = {str(label) for label in SnapshotLabel.objects.values_list("label_id", flat=True)}
    assert frozen == {str(label.pk) for label in [*made, *held_out]}
    assert "created" not in json.dumps(snapshot.manifest) and snapshot.name not in json.dumps(snapshot.manifest)
    assert alice.user is not None and alice.user.username not in content["train.jsonl"].decode()


def test_the_same_query_on_the_same_labels_is_the_same_snapshot(
    project: Project, alice: Membership, rita: Membership
) -> None:
    demonstrations(project, alice, 3)
    first = build(project, rita, pools=["sft", "rm"])
    content = bytes_of(first)
    assert build(project, rita, pools=["rm", "sft", "rm"]) == first
    Snapshot.objects.all().delete()
    files.remove(files.path_of(first.artifact))
    first.artifact.delete()
    again = build(project, rita, pools=["rm", "sft"])
    assert (again.sha256, bytes_of(again)) == (first.sha256, content)


def test_an_edit_makes_another_snapshot_and_leaves_the_first(
    project: Project, alice: Membership, rita: Membership
) -> None:
    label = demonstrations(project, alice, 2)[0]
    first = build(project, rita)
    content = bytes_of(first)
    submit_demonstration(label.assignment, "A better answer.")
    second = build(project, rita)
    assert second.sha256 != first.sha256
    assert bytes_of(first) == content
    assert b"A better answer." in bytes_of(second)["train.jsonl"]


def test_an_empty_snapshot_is_refused(project: Project, rita: Membership) -> None:
    before = set((files.root() / "aside").glob("*"))  # what tests with killed workers have left
    with pytest.raises(SnapshotError, match="No demonstration matches"):
        build(project, rita)
    assert set((files.root() / "aside").glob("*")) == before


@pytest.mark.parametrize("query", [{"pools": ["nowhere"]}, {"colour": "red"}, {"since": "soon"}])
def test_a_query_for_what_does_not_exist_is_refused(project: Project, rita: Membership, query: dict[str, Any]) -> None:
    with pytest.raises(QueryProblem):
        build(project, rita, **query)


def test_an_unknown_tie_policy_is_refused(project: Project, rita: Membership) -> None:
    with pytest.raises(SnapshotError, match="tie policy"):
        build(project, rita, "rankings", ties="ignore")


def test_held_out_prompts_never_reach_a_train_file(project: Project, alice: Membership, rita: Membership) -> None:
    for split in ("train", "validation", "test"):
        demonstrations(project, alice, 2, split=split)
    PromptFactory(project=project, pool="eval", split="train", text="only to evaluate")
    snapshot = build(project, rita)
    for name, content in bytes_of(snapshot).items():
        rows = [json.loads(line) for line in content.splitlines()] if name.endswith(".jsonl") else []
        assert {row["split"] for row in rows} <= {name.removesuffix(".jsonl")}
    prompts = build(project, rita, "prompts")
    assert b"only to evaluate" not in bytes_of(prompts)["train.jsonl"]
    assert b"only to evaluate" in bytes_of(prompts)["test.jsonl"]


def test_a_preview_counts_what_a_build_freezes(
    project: Project, alice: Membership, rita: Membership, django_assert_max_num_queries: Any
) -> None:
    demonstrations(project, alice, 7)
    demonstrations(project, alice, 2, split="test")
    with django_assert_max_num_queries(3):
        preview = snapshot_preview(project, "demonstrations")
    assert preview["counts"] == build(project, rita).counts == {"train": 7, "validation": 0, "test": 2}
    assert (preview["total"], len(preview["rows"])) == (9, 5)


def test_building_takes_the_same_queries_however_many_labels(
    project: Project, alice: Membership, rita: Membership, django_assert_max_num_queries: Any
) -> None:
    demonstrations(project, alice, 12)
    with django_assert_max_num_queries(18):
        build(project, rita)


def test_rankings_keep_the_group_and_export_as_pairs(project: Project, alice: Membership, rita: Membership) -> None:
    task = RankingTaskFactory(prompt=PromptFactory(project=project, pool="rm"), answers=4)
    order = {response.pk: index for index, response in enumerate(task.responses.order_by("id"))}
    rank(lease(alice, "ranking"), lambda response: [3, 2, 2, 1][order[response.pk]])
    snapshot = build(project, rita, "rankings", ties="half")
    [row] = snapshot_rows(snapshot, "train")
    assert sorted(row["ranks"]) == [1, 2, 2, 3]
    assert [len(row["completions"]), row["purpose"]] == [4, "train"]
    pairs = exported(snapshot, format="preference")
    assert len(pairs) == 5 + 2  # C(4, 2) = 6 pairs, one of them a tie that is written both ways round
    assert set(pairs[0]) == {"prompt", "chosen", "rejected"}
    assert len(exported(snapshot, format="preference", ties="drop")) == 5
    margins = [row["margin"] for row in exported(snapshot, format="preference", ties="margin")]
    assert sorted(margins) == [0, 1, 1, 1, 1, 2]


def test_a_partial_order_is_frozen_as_it_is_and_pairs_leave_out_what_is_unranked(
    project: Project, alice: Membership, rita: Membership, ada: Membership
) -> None:
    fields = form_current(project).fields | {"allow_partial": True}
    form_publish(project=project, fields=fields, based_on=1, by=ada)
    RankingTaskFactory(prompt=PromptFactory(project=project, pool="rm"), answers=4)
    assignment = lease(alice, "ranking")
    items = [
        RankedItem(response_id=UUID(key), rank=rank, rating=4 if rank else None)
        for key, rank in zip(assignment.presented_order, [2, None, 1, None], strict=True)
    ]
    ranking_submit(
        assignment=assignment, items=items, submission_id=uuid4(), started_at=None, active_seconds=1, by=alice
    )
    snapshot = build(project, rita, "rankings")
    [row] = snapshot_rows(snapshot, "train")
    by_id = dict(zip([answer["id"] for answer in row["completions"]], row["ranks"], strict=True))
    assert [by_id[key] for key in assignment.presented_order] == [2, None, 1, None]
    texts = {answer["id"]: answer["content"] for answer in row["completions"]}
    [pair] = [json.loads(line) for line in export_lines(snapshot, format="preference")]
    first, __, third, __ = assignment.presented_order
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == (texts[third], texts[first])


def test_a_returned_label_is_in_no_new_snapshot_until_it_is_edited(
    project: Project, alice: Membership, rita: Membership, ada: Membership
) -> None:
    kept, returned = demonstrations(project, alice, 2)
    before = build(project, rita)
    label_comment(assignment=returned.assignment, body="Say more.", returns=True, by=ada)
    assert [row["id"] for row in snapshot_rows(build(project, rita), "train")] == [str(kept.pk)]
    with_it = build(project, rita, returned=True)
    assert len(list(snapshot_rows(with_it, "train"))) == 2
    assert len(list(snapshot_rows(before, "train"))) == 2  # what was frozen stays
    submit_demonstration(returned.assignment, "More.")
    assert len(list(snapshot_rows(build(project, rita), "train"))) == 2


def test_a_download_of_changed_files_is_refused(project: Project, alice: Membership, rita: Membership) -> None:
    demonstrations(project, alice, 2)
    snapshot = build(project, rita)
    (files.path_of(snapshot.artifact) / "train.jsonl").write_text("{}\n")
    with pytest.raises(FileStoreError, match="hash differs"):
        export_lines(snapshot)


@pytest.mark.parametrize(("values", "said"), [({"format": "xml"}, "can't be exported"), ({"split": "all"}, "no split")])
def test_a_download_of_what_does_not_exist_is_refused(
    project: Project, alice: Membership, rita: Membership, values: dict[str, str], said: str
) -> None:
    demonstrations(project, alice, 1)
    with pytest.raises(SnapshotError, match=said):
        export_lines(build(project, rita), **values)


def test_demonstrations_export_as_trl_reads_them(project: Project, alice: Membership, rita: Membership) -> None:
    demonstrate(PromptFactory(project=project, text="2 + 2?"), alice, "4")
    [row] = exported(build(project, rita), format="prompt-completion")
    assert row == {
        "prompt": [{"role": "user", "content": "2 + 2?"}],
        "completion": [{"role": "assistant", "content": "4"}],
    }


def test_two_projects_may_freeze_the_same_text(ada: Membership, project: Project) -> None:
    one = corpus_add(project=project, texts=["a text", "another"], by=ada)
    two = corpus_add(project=ProjectFactory(), texts=["another", "a text", "a text"], by=ada)
    assert one.sha256 == two.sha256 and one != two
    assert one.artifact == two.artifact


def test_a_corpus_is_uploaded(project: Project, ada: Membership) -> None:
    content = "One paragraph,\nin two lines.\n\n\nAnother — naïve 你好.\r\n\r\nThird.".encode()
    snapshot = corpus_add(project=project, file=SimpleUploadedFile("notes.txt", content), by=ada)
    assert snapshot.name == "notes.txt"
    texts = {row["text"] for split in ("train", "validation") for row in snapshot_rows(snapshot, split)}
    assert texts == {"One paragraph,\nin two lines.", "Another — naïve 你好.", "Third."}
    assert snapshot.counts["train"] and snapshot.counts["validation"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"fine\nnot \xff utf-8", "Line 2 of a.txt is not UTF-8"),
        ("a.txt", b"fine\n\nnul \x00", "Line 3 of a.txt holds a NUL"),
        ("a.jsonl", b'{"text": "x"}\nbroken\n{"text": 3}\n', "are not JSON objects .*: 2, 3"),
        ("a.jsonl", b'{"messages": [{"role": "user", "content": "no answer"}]}\n', ": 1"),
        ("a.jsonl", b'{"text": "nul \\u0000"}\n', ": 1"),
        ("a.txt", b" \n\n ", "holds no text"),
    ],
)
def test_a_broken_corpus_gets_a_sentence_and_changes_nothing(
    project: Project, ada: Membership, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(SnapshotError, match=said):
        corpus_add(project=project, file=SimpleUploadedFile(name, content), by=ada)
    assert not Snapshot.objects.exists()


@given(st.text(alphabet="ab \t\n\r", max_size=40))
def test_paragraphs_stand_between_blank_lines(text: str) -> None:
    at_once = re.split(r"\n[ \t\r]*\n+", text.replace("\r\n", "\n"))
    lines = documents_of(io.BytesIO(text.encode()), "a.txt")
    assert [plain(line) for line in lines] == [plain(part) for part in at_once if part.strip()]


def plain(text: Any) -> str:
    return re.sub(r"\r", "", str(text)).strip()


def test_a_line_ends_where_json_says() -> None:
    """Not at a separator of Unicode, which JSON may hold as it is."""
    line = json.dumps({"text": "one\u2028line\x85still"}, ensure_ascii=False)
    assert list(documents_of([line.encode()], "a.jsonl")) == ["one\u2028line\x85still"]


def test_a_disk_that_is_full_while_a_corpus_is_sorted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(_path: str) -> sqlite3.Connection:
        sorter = connect("")
        sorter.execute("PRAGMA max_page_count = 10")
        return sorter

    connect = sqlite3.connect
    monkeypatch.setattr("training.documents.sqlite3.connect", small)
    with pytest.raises(SnapshotError, match=r"database or disk is full\. Free some space"):
        list(corpus_rows(str(number) * 1000 for number in range(1000)))


def test_a_large_corpus_does_not_come_into_memory() -> None:
    lines = (f'{{"text": "{number} {"word " * 200}"}}\n'.encode() for number in range(30_000))
    tracemalloc.start()
    try:
        rows = sum(1 for _row in corpus_rows(documents_of(lines, "large.jsonl")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 30_000 and peak < 5_000_000, peak  # of 30 MB


def test_conversations_in_a_corpus_stay_conversations() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    [document] = documents_of([json.dumps({"messages": talk}).encode()], "a.jsonl")
    assert next(corpus_rows([document]))["messages"] == talk


@given(st.lists(st.text(min_size=1, max_size=10), max_size=30), st.randoms(use_true_random=False))
def test_a_corpus_is_a_set_of_documents(texts: list[str], random: Any) -> None:
    shuffled = texts * 2
    random.shuffle(shuffled)
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    rows = list(corpus_rows(text.encode("utf-8", "replace").decode() for text in shuffled))
    assert rows == list(corpus_rows(texts))
    assert {row["text"] for row in rows} == set(texts)
    if len(rows) > 1:
        assert {row["split"] for row in rows} == {"train", "validation"}


ranks = st.lists(st.none() | st.integers(1, 4), min_size=2, max_size=6)


@given(ranks, st.sampled_from(["drop", "half", "margin"]))
def test_pairs_follow_the_ranks(given_ranks: list[int | None], ties: str) -> None:
    row = {
        "prompt": [],
        "completions": [{"content": str(number)} for number in range(len(given_ranks))],
        "ranks": given_ranks,
    }
    for pair in preference_pairs([row], ties):
        chosen = given_ranks[int(pair["chosen"][0]["content"])]
        rejected = given_ranks[int(pair["rejected"][0]["content"])]
        assert chosen is not None and rejected is not None
        assert chosen < rejected or (chosen == rejected and ties != "drop")
        assert (pair.get("margin") == 0) == (ties == "margin" and chosen == rejected)


def test_prompt_completion_keeps_nothing_else() -> None:
    row = {"id": "x", "prompt": ["p"], "completion": ["c"], "labeler": "p1"}
    assert list(prompt_completion([row])) == [{"prompt": ["p"], "completion": ["c"]}]
