"""Importing files: all of it or nothing, once, with where it is from, and undone again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.errors import ImportProblem
from annotation.models import (
    Assignment,
    AuditEvent,
    Demonstration,
    ImportBatch,
    Membership,
    Project,
    Prompt,
    RankedResponse,
    Ranking,
    Response,
    Task,
    TaskResponse,
)
from annotation.selectors.imports import Preview, import_preview
from annotation.selectors.rows import demonstration_rows, prompt_rows, ranking_rows
from annotation.services.imports import (
    BadLines,
    import_file,
    import_stage,
    import_start,
    import_undo,
    import_work_here,
    rejected_lines,
)
from annotation.services.tasks import demonstration_tasks_create
from annotation.staging import blocks_of
from tests.annotation.races import together
from tests.factories import ProjectFactory, ResponseFactory, lease

TABLES = (Prompt, Response, Task, TaskResponse, Assignment, Demonstration, Ranking, RankedResponse, ImportBatch)


def jsonl(*rows: Any) -> io.BytesIO:
    return io.BytesIO("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode())


def bring_in(project: Project, kind: str, *rows: Any, **fields: Any) -> ImportBatch:
    asked: dict[str, Any] = {"filename": "rows.jsonl", "pool": "rm", "source": "a set", "by": None}
    return import_file(project=project, kind=kind, **{"file": jsonl(*rows)} | asked | fields)


def preview_of(project: Project, kind: str, *rows: Any) -> Preview:
    file = jsonl(*rows)
    batch = import_stage(
        project=project, kind=kind, blocks=blocks_of(file), filename="x.jsonl", pool="rm", source="a set", by=None
    )
    return import_preview(batch)


def sizes() -> dict[str, int]:
    return {table.__name__: table._default_manager.count() for table in TABLES}


def judged(ranks: Sequence[int | None], labeler: str = "", prompt: str = "Why?", **fields: Any) -> dict[str, Any]:
    row = {
        "prompt": prompt,
        "completions": [{"content": f"Answer {place}.", "model": f"m{place}"} for place in range(len(ranks))],
        "ranks": list(ranks),
        **fields,
    }
    return row | ({"labeler": labeler} if labeler else {})


# --- What is kept ----------------------------------------------------------------------------------


def test_prompts_keep_where_they_are_from(project: Project, ada: Membership) -> None:
    batch = bring_in(
        project,
        "prompts",
        {"prompt": "Why?", "id": 1, "category": "chat"},
        {"instruction": "Add.", "input": "1 and 1", "pool": "ppo"},
        {"messages": [{"role": "user", "content": "Wo?"}], "language": "de"},
        {"prompt": "Why?"},
        licence="CC BY 4.0",
        consent="They agreed.",
        by=ada,
    )
    assert (batch.added, batch.known, batch.rejected_count, batch.kind) == (3, 1, 0, "prompts")
    assert (batch.licence, batch.consent, batch.source, batch.created_by) == (
        "CC BY 4.0",
        "They agreed.",
        "a set",
        ada.user,
    )
    why, add, wo = Prompt.objects.order_by("id")
    assert (why.batch, why.source, why.source_name, why.source_id, why.pool) == (batch, "import", "a set", "1", "rm")
    assert (add.text, add.pool, wo.language) == ("Add.\n\n1 and 1", "ppo", "de")
    assert AuditEvent.objects.get(verb="import.add").detail["added"] == 3


def test_demonstrations_come_with_labeler_task_and_assignment(project: Project) -> None:
    batch = bring_in(
        project,
        "demonstrations",
        {"prompt": "Why?", "completion": "Because.", "labeler": "judge 1", "submitted_at": "2024-05-05T10:00:00Z"},
        {"prompt": "Why?", "completion": "Who knows.", "labeler": "judge 2"},
    )
    assert batch.added == 2
    task = Task.objects.get()
    assert (task.kind, task.state, task.overlap, task.open_slots) == ("demonstration", "complete", 2, 0)
    label = Demonstration.objects.get(labeler__imported_name="judge 1")
    assert (label.origin, label.batch, label.task, label.revision, label.counts) == ("imported", batch, task, 1, True)
    assert label.submitted_at.isoformat() == "2024-05-05T10:00:00+00:00"
    assert (label.response.text, label.response.origin) == ("Because.", "imported")
    assert (label.assignment.status, label.assignment.labeler) == ("submitted", label.labeler)
    assert sorted(task.assignments.values_list("slot", flat=True)) == [1, 2]


def test_rankings_of_one_group_by_three_judges_share_a_task(project: Project) -> None:
    batch = bring_in(project, "rankings", *[judged([1, 2, 2], f"judge {number}") for number in range(3)])
    assert batch.added == 3
    task = Task.objects.get()
    assert (task.state, task.overlap, task.responses.count()) == ("complete", 3, 3)
    assert Response.objects.count() == 3
    label = Ranking.objects.first()
    assert label is not None
    assert [(row.response.imported_author, row.rank) for row in label.ranked_responses.order_by("position")] == [
        ("m0", 1),
        ("m1", 2),
        ("m2", 2),
    ]


def test_a_judge_in_a_later_chunk_or_file_joins_the_same_task(project: Project) -> None:
    bring_in(project, "rankings", judged([1, 2], "judge 1"))
    bring_in(project, "rankings", judged([2, 1], "judge 2"), judged([2, 1], "judge 3"))
    task = Task.objects.get()
    assert (task.overlap, task.open_slots) == (3, 0)
    assert sorted(task.assignments.values_list("slot", flat=True)) == [1, 2, 3]


def test_many_chunks_are_one_import(project: Project) -> None:
    rows = [judged([1, 2], f"judge {judge}", f"Why {number}?") for judge in range(3) for number in range(250)]
    assert bring_in(project, "rankings", *rows).added == 750
    assert Task.objects.filter(overlap=3).count() == 250 == Task.objects.count()


def test_labels_without_a_name_are_by_as_many_as_they_need(project: Project) -> None:
    batch = bring_in(project, "rankings", judged([1, 2]), judged([2, 1]), judged([1, 2]))
    assert (batch.added, batch.known) == (2, 1)
    assert set(Ranking.objects.values_list("labeler__imported_name", flat=True)) == {
        "unnamed labeler",
        "unnamed labeler 2",
    }


def test_an_import_leaves_the_slots_that_people_are_to_fill(project: Project, alice: Membership) -> None:
    bring_in(project, "prompts", {"prompt": "Why?"})
    demonstration_tasks_create(project=project, prompts=Prompt.objects.all(), by=None)
    bring_in(project, "demonstrations", {"prompt": "Why?", "completion": "Because."})
    task = Task.objects.get()
    assert (task.state, task.overlap, task.open_slots) == ("open", 2, 1)
    assert lease(alice).slot == 1


def test_csv_in_a_spreadsheets_way(project: Project) -> None:
    text = io.StringIO()
    rows = [["prompt", "chosen", "rejected", "labeler"], ['=SUM(1,"2")', "@cmd", "+1\r\nand more", "judge"]]
    csv.writer(text).writerows(rows)
    file = io.BytesIO(text.getvalue().encode("utf-8-sig"))
    bring_in(project, "rankings", file=file, filename="pairs.csv")
    assert Prompt.objects.get().text == '=SUM(1,"2")'
    assert set(Response.objects.values_list("text", flat=True)) == {"@cmd", "+1\nand more"}


# --- Once ------------------------------------------------------------------------------------------

FILES: dict[str, list[Any]] = {
    "prompts": [{"prompt": "Why?"}, {"prompt": "How?", "id": "x"}],
    "demonstrations": [{"prompt": "Why?", "completion": "Because."}, {"prompt": "Why?", "completion": "Dunno."}],
    "rankings": [judged([1, 2], "judge"), judged([2, 1, None]), judged([1, 2], prompt="How?", labeler="judge")],
}


@pytest.mark.parametrize("kind", FILES)
def test_the_same_file_twice_adds_nothing(project: Project, kind: str) -> None:
    first = bring_in(project, kind, *FILES[kind])
    before = sizes()
    again = bring_in(project, kind, *FILES[kind])
    assert (first.added, first.known) == (len(FILES[kind]), 0)
    assert (again.added, again.known, again.rejected_count) == (0, len(FILES[kind]), 0)
    assert sizes() == before | {"ImportBatch": 2}
    assert first.sha256 == again.sha256


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", FILES)
def test_two_imports_of_a_file_at_once_add_it_once(kind: str) -> None:
    project = ProjectFactory()
    with ThreadPoolExecutor(3) as threads:
        batches = together(threads, [lambda: bring_in(project, kind, *FILES[kind])] * 3)
    assert sorted(batch.added for batch in batches) == [0, 0, len(FILES[kind])]


@pytest.mark.parametrize("moment", ["before its row", "after its row"])
def test_a_file_is_kept_though_an_import_of_it_ends_while_it_is_staged(
    project: Project, monkeypatch: pytest.MonkeyPatch, moment: str, django_capture_on_commit_callbacks: Any
) -> None:
    asked: dict[str, Any] = {"project": project, "kind": "prompts", "pool": "ppo", "source": "a set", "by": None}
    asked |= {"filename": "rows.jsonl", "blocks": [jsonl(*FILES["prompts"]).getvalue()]}
    first, save = import_stage(**asked), ImportBatch.save

    def end_first() -> None:
        with django_capture_on_commit_callbacks(execute=True):
            assert import_work_here(batch=import_start(batch=first, by=None)).state == "succeeded"

    def save_meanwhile(batch: ImportBatch, **options: Any) -> None:
        steps = [lambda: save(batch, **options), end_first]
        for step in steps if moment == "after its row" else steps[::-1]:
            step()

    monkeypatch.setattr(ImportBatch, "save", save_meanwhile)
    second = import_stage(**asked)
    assert import_work_here(batch=import_start(batch=second, by=None)).known == len(FILES["prompts"])


# --- Bad lines -------------------------------------------------------------------------------------


def test_a_broken_file_changes_nothing(project: Project) -> None:
    before = sizes()
    with pytest.raises(BadLines) as caught:
        bring_in(project, "rankings", judged([1, 2]), '{"prompt": ', judged([1]), judged([2, 1]))
    assert [(bad["line"], bad["problem"][:20]) for bad in caught.value.rejected] == [
        (2, "the line is not JSON"),
        (3, "there are 1 answers;"),
    ]
    assert caught.value.count == 2
    assert "2 lines can't be imported, so nothing was. The first is line 2" in caught.value.message
    assert sizes() == before
    assert not Membership.objects.filter(project=project).exists()


def test_good_lines_come_in_where_bad_ones_are_accepted(project: Project) -> None:
    batch = bring_in(project, "rankings", judged([1, 2]), '{"prompt": ', judged([2, 1]), accept_bad_lines=True)
    assert (batch.added, batch.rejected_count) == (2, 1)
    assert rejected_lines(batch)[0]["line"] == 2


@pytest.mark.parametrize(
    ("kind", "rows", "words"),
    [
        ("prompts", [{"prompt": "Why?", "category": "poems"}], "category"),
        ("prompts", [{"prompt": "Why?", "pool": "ocean"}], "pool"),
        ("prompts", [{"prompt": "A?", "id": 1}, {"prompt": "B?", "id": 1}], "another text"),
        ("rankings", [judged([1, 2], "judge"), judged([2, 1], "judge")], "labeled this already, differently"),
        ("demonstrations", [{"prompt": "A?", "output": answer, "labeler": "j"} for answer in "ab"],
         "labeled this already, differently"),
        ("rankings", [{"prompt": "A?", "completions": [{"content": "a", "flags": ["dull"]}, "b"], "ranks": [1, 2]}],
         "no flag dull"),
        ("rankings", [judged([1, 2], "simulated labeler 1")], "taken"),
    ],
)  # fmt: skip
def test_what_the_tables_refuse_is_a_bad_line_too(project: Project, kind: str, rows: list[Any], words: str) -> None:
    Membership.objects.create(project=project, imported_name="simulated labeler 1", role="labeler", is_simulated=True)
    before = sizes()
    with pytest.raises(BadLines) as caught:
        bring_in(project, kind, *rows)
    assert words in caught.value.rejected[0]["problem"]
    assert caught.value.rejected[0]["line"] == len(rows)
    assert sizes() == before
    batch = bring_in(project, kind, *rows, accept_bad_lines=True)
    assert (batch.added, batch.rejected_count) == (len(rows) - 1, 1)
    # A row that was refused leaves no answer and no task behind.
    assert Response.objects.exclude(ranked_responses=None, demonstrations=None).count() == Response.objects.count()
    assert Task.objects.filter(assignments=None).count() == 0


def test_of_many_bad_lines_a_thousand_are_told_and_all_counted(project: Project) -> None:
    with pytest.raises(BadLines) as caught:
        bring_in(project, "prompts", *["{"] * 1500)
    assert (len(caught.value.rejected), caught.value.count) == (1000, 1500)
    assert "1,500 lines" in caught.value.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"file": io.BytesIO(b"")}, "empty"),
        ({"file": io.BytesIO(b"\n\n")}, "no rows"),
        ({"file": io.BytesIO(b"prompt\n"), "filename": "x.csv"}, "no rows"),
        ({"kind": "poems"}, "no import of poems"),
        ({"pool": "ocean"}, "no pool ocean"),
        ({"source": " "}, "give a source"),
    ],
)
def test_a_wrong_import_is_refused_in_words(project: Project, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ImportProblem, match=words):
        bring_in(project, fields.pop("kind", "prompts"), {"prompt": "Why?"}, **fields)
    assert not ImportBatch.objects.exists()


def test_a_preview_says_what_would_come_in(project: Project) -> None:
    before = sizes()
    rows = [judged([1, 2], prompt=f"Why {number}?") for number in range(9)]
    preview = preview_of(project, "rankings", *rows, "{")
    assert (preview.good, len(preview.rejected), len(preview.records)) == (9, 1, 5)
    assert preview.rejected[0][0] == 10
    ImportBatch.objects.all().delete()
    assert sizes() == before


@pytest.mark.parametrize("kind", FILES)
def test_where_a_row_cannot_be_filed_is_listed_beside_other_bad_lines(project: Project, kind: str) -> None:
    good = FILES[kind][0]
    rows = ["{", good | {"pool": "ocean"}, good | {"category": "poem"}, good | {"language": "?"}, good]
    preview = preview_of(project, kind, *rows)
    with pytest.raises(BadLines) as caught:
        bring_in(project, kind, *rows)
    for rejected in (preview.rejected, [(bad["line"], bad["problem"]) for bad in caught.value.rejected]):
        assert [line for line, _problem in rejected] == [1, 2, 3, 4]
        assert [problem.split(";")[0] for _line, problem in rejected[1:]] == [
            "the pool is 'ocean'",
            "the category is 'poem'",
            "the language is '?'",
        ]
    assert preview.good == 1


# --- Undo ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_an_undone_import_is_gone_and_comes_back(project: Project, kind: str) -> None:
    rows = {"prompts": prompt_rows, "demonstrations": demonstration_rows, "rankings": ranking_rows}[kind]
    batch = bring_in(project, kind, *FILES[kind])
    before = list(rows(project))
    import_undo(batch=batch, by=None)
    assert batch.undone_at is not None
    assert list(rows(project)) == list(prompt_rows(project)) == []
    assert not Task.objects.exclude(state="withdrawn").exists()
    with pytest.raises(ImportProblem, match="undone already"):
        import_undo(batch=batch, by=None)
    again = bring_in(project, kind, *FILES[kind])
    assert (again.added, again.rejected_count) == (len(FILES[kind]), 0)
    after = list(rows(project))
    for row in before + after:
        row.pop("batch", None)
    assert after == before
    assert not Task.objects.filter(state="withdrawn").exists()


def test_what_others_have_used_stays(project: Project, alice: Membership) -> None:
    batch = bring_in(project, "prompts", {"prompt": "Sampled?"}, {"prompt": "Written?"}, {"prompt": "Unused?"})
    prompts = {prompt.text: prompt for prompt in Prompt.objects.all()}
    ResponseFactory(prompt=prompts["Sampled?"])
    demonstration_tasks_create(project=project, prompts=[prompts["Written?"]], by=None)
    import_undo(batch=batch, by=None)
    assert {row["prompt"][0]["content"] for row in prompt_rows(project)} == {"Sampled?", "Written?"}
    event = AuditEvent.objects.get(verb="import.undo")
    assert (event.detail["prompts"], event.detail["prompts_kept"]) == (1, 2)


def test_undoing_one_judges_file_leaves_the_others(project: Project) -> None:
    first = bring_in(project, "rankings", judged([1, 2], "judge 1"))
    bring_in(project, "rankings", judged([1, 2], "judge 2"))
    import_undo(batch=first, by=None)
    assert len(list(ranking_rows(project))) == 1
    assert Task.objects.get().state == "complete"


# --- Round trip, cost, anything --------------------------------------------------------------------


def test_exported_rankings_come_in_again_as_they_were(project: Project) -> None:
    bring_in(
        project,
        "rankings",
        judged(
            [2, 1, None], "judge 1", language="zh", prompt_fields={"category": "chat", "ambiguous": True, "note": "?"}
        ),
        judged(
            [1, 1], "judge 2", prompt="How?", purpose="eval", active_seconds=3.5, submitted_at="2024-01-01T00:00:00Z"
        ),
    )
    rows = list(ranking_rows(project, {"purpose": ""}))
    other = ProjectFactory()
    bring_in(other, "rankings", *rows)

    def said(row: dict[str, Any]) -> dict[str, Any]:
        """All but the ids, by which the answers are ordered, and what each project assigns for itself."""
        ranked = zip(row["completions"], row["ranks"], strict=True)
        answers = {item["id"]: (item["content"], item["model"], rank) for item, rank in ranked}
        kept = ("prompt", "purpose", "language", "prompt_fields", "active_seconds", "submitted_at", "origin", "pool")
        return {name: row[name] for name in kept} | {"shown": [answers[key] for key in row["presented_order"]]}

    assert [said(row) for row in ranking_rows(other, {"purpose": ""})] == [said(row) for row in rows]


def test_ratings_of_another_scale_are_not_taken_for_ours(project: Project) -> None:
    row = judged([1, 2], "judge 1", rating_scale={"minimum": 1, "maximum": 5})
    bring_in(project, "rankings", row)  # no ratings in it, so no harm
    row = judged([1, 2], "judge 2", "How?", rating_scale={"minimum": 1, "maximum": 5})
    row["completions"] = [{"content": text, "rating": 4} for text in ("a", "b")]
    with pytest.raises(BadLines) as problem:
        bring_in(project, "rankings", row)
    assert "another scale than 1 to 7" in problem.value.rejected[0]["problem"]


def test_queries_grow_with_chunks_and_not_with_rows(project: Project) -> None:
    def queries(count: int, stem: str) -> int:
        rows = [judged([1, 2], "judge", f"{stem} {number}?") for number in range(count)]
        with CaptureQueriesContext(connection) as captured:
            bring_in(project, "rankings", *rows)
        return sum(not query["sql"].startswith("INSERT") for query in captured)

    queries(1, "one")  # brings the labeler in
    assert queries(200, "many") == queries(20, "few")


@pytest.fixture
def mixed_lines() -> st.SearchStrategy[bytes]:
    row = st.fixed_dictionaries(
        {"prompt": st.text(max_size=3), "chosen": st.text(max_size=3), "rejected": st.text(max_size=3)},
        optional={"labeler": st.text(max_size=2), "category": st.text(max_size=2), "id": st.text(max_size=2)},
    )
    line = row.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20)
    return st.lists(line, max_size=4).map(b"\n".join)


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(data=st.data())
def test_any_file_is_imported_or_refused_in_words(
    project: Project, mixed_lines: st.SearchStrategy[bytes], data: st.DataObject
) -> None:
    file = io.BytesIO(data.draw(mixed_lines))
    kind = data.draw(st.sampled_from(["prompts", "demonstrations", "rankings"]))
    try:
        batch = bring_in(project, kind, file=file, accept_bad_lines=True)
    except ImportProblem as problem:
        assert problem.message.endswith(".")
        return
    again = bring_in(project, kind, file=file, accept_bad_lines=True)
    assert (again.added, again.known) == (0, batch.added + batch.known)
    assert all(bad["problem"] for bad in rejected_lines(batch))


@pytest.fixture(autouse=True)
def _whole(db: None) -> Iterator[None]:
    """After each test: labels, assignments and tasks fit together."""
    yield
    for task in Task.objects.prefetch_related("assignments"):
        held = [assignment for assignment in task.assignments.all() if assignment.slot]
        assert task.open_slots == task.overlap - len(held)
