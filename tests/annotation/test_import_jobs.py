"""An import as a job: claimed once, resumed wherever it was killed, seen whole or not at all, gone without a trace."""

from __future__ import annotations

import gzip
import io
import json
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from annotation import tasks
from annotation.models import (
    Assignment,
    AuditEvent,
    Demonstration,
    ImportBatch,
    ImportRejection,
    Membership,
    Project,
    Prompt,
    RankedResponse,
    Ranking,
    Response,
    Task,
    TaskResponse,
)
from annotation.selectors.imports import import_progress
from annotation.selectors.prompts import responses_of
from annotation.selectors.rows import demonstration_rows, ranking_rows
from annotation.services import import_claims, importing, imports
from annotation.services.import_claims import Fence, import_claim, import_hold, reap_lost_imports
from annotation.services.prompts import PromptRow, prompts_add
from annotation.staging import blocks_of, blocks_of_path, staged_path
from tests.conftest import LiveProcesses, wait_for
from tests.factories import ProjectFactory, lease

TABLES = (Prompt, Response, Task, TaskResponse, Assignment, Demonstration, Ranking, RankedResponse)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK", 3)
    monkeypatch.setattr(importing, "CHECKED", 3)


def judged(number: int, **fields: Any) -> dict[str, Any]:
    answers = [{"content": f"Answer {place} to {number}.", "model": f"m{place}"} for place in range(3)]
    return {"prompt": f"Question {number}?", "completions": answers, "ranks": [1, 2, 2], "labeler": "j", **fields}


def staged(project: Project, kind: str, *rows: Any, **fields: Any) -> ImportBatch:
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    return imports.import_stage(
        project=project,
        kind=kind,
        blocks=blocks_of(io.BytesIO(lines.encode())),
        **{"filename": "rows.jsonl", "pool": "rm", "source": "a set", "by": None, **fields},
    )


def queued(project: Project, kind: str, *rows: Any, **fields: Any) -> ImportBatch:
    return imports.import_start(batch=staged(project, kind, *rows, **fields), by=None)


def claim() -> Fence:
    fence = import_claim(worker="w")
    assert fence is not None
    return fence


def sizes() -> dict[str, int]:
    return {table.__name__: table._default_manager.count() for table in TABLES}


class Killed(BaseException):
    """As kill -9 leaves things: whatever was committed, and nothing after it."""


def killing(after: int) -> Callable[[ImportBatch], None]:
    steps = iter(range(after))

    def tell(batch: ImportBatch) -> None:
        if next(steps, None) is None:
            raise Killed

    return tell


# --- Killed and resumed ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rankings", "answers", "prompts"])
@pytest.mark.parametrize("after", [0, 1, 2, 4, 5, 6])
def test_an_import_that_is_killed_at_any_step_goes_on_and_adds_each_row_once(
    project: Project, kind: str, after: int
) -> None:
    rows = [*(judged(number) for number in range(7)), "{", *(judged(number) for number in range(7, 10))]
    batch = queued(project, kind, *rows, accept_bad_lines=True)
    with pytest.raises(Killed):
        importing.import_run(fence=claim(), tell=killing(after))
    assert not seen(batch)
    ImportBatch.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert reap_lost_imports() == 1
    importing.import_run(fence=claim())
    batch.refresh_from_db()
    assert (batch.state, batch.added, batch.known, batch.rejected_count) == ("succeeded", 10, 0, 1)
    assert (batch.attempt, ImportRejection.objects.count(), Prompt.objects.count()) == (2, 1, 10)
    assert Ranking.objects.count() == (10 if kind == "rankings" else 0)
    assert Task.objects.filter(state="open").count() == (10 if kind == "answers" else 0)
    assert Response.objects.count() == (0 if kind == "prompts" else 30)


def seen(batch: ImportBatch) -> int:
    """Rows of the import that anybody could see."""
    return (
        Prompt.objects.filter(batch=batch, withdrawn_at__isnull=True).count()
        + Ranking.objects.filter(batch=batch, is_current=True).count()
        + Task.objects.filter(batch=batch).exclude(state="withdrawn").count()
        + sum(responses_of(prompt.pk).count() for prompt in Prompt.objects.all())
    )


def test_nothing_is_seen_before_all_of_it_is_there(project: Project) -> None:
    batch = queued(project, "rankings", *(judged(number) for number in range(8)))
    written, visible = [], []

    def tell(now: ImportBatch) -> None:
        written.append(Ranking.objects.count())
        visible.append(seen(batch))

    importing.import_run(fence=claim(), tell=tell)
    assert max(written) == 8 and set(visible) == {0}
    assert Ranking.objects.filter(is_current=True).count() == 8 == Prompt.objects.filter(withdrawn_at=None).count()


def test_a_worker_that_lost_its_import_writes_nothing_more(project: Project) -> None:
    batch = queued(project, "prompts", *({"prompt": f"Q{number}"} for number in range(8)))
    late = claim()
    ImportBatch.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    reap_lost_imports()
    newer = claim()
    importing.import_run(fence=late)
    assert (Prompt.objects.count(), ImportBatch.objects.get().state) == (0, "running")
    with pytest.raises(import_claims.LeaseLost):
        import_hold(fence=late, position=5)
    importing.import_run(fence=newer)
    batch.refresh_from_db()
    assert (batch.state, batch.added) == ("succeeded", 8)


def test_an_import_that_kills_its_workers_is_given_up(project: Project, settings: Any) -> None:
    settings.RUN_MAX_LOST = 1
    batch = queued(project, "prompts", {"prompt": "Q"})
    for _attempt in range(2):
        claim()
        ImportBatch.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        reap_lost_imports()
    batch.refresh_from_db()
    assert batch.state == "failed" and "went away without a word" in batch.message


def test_a_worker_that_shuts_down_gives_its_import_back(project: Project) -> None:
    batch = queued(project, "prompts", *({"prompt": f"Q{number}"} for number in range(8)))
    stopping = threading.Event()
    stopping.set()
    importing.import_run(fence=claim(), stopping=stopping)
    batch.refresh_from_db()
    assert (batch.state, batch.lost_count) == ("queued", 0) and batch.position > 0
    tasks.import_work()
    batch.refresh_from_db()
    assert (batch.state, batch.added) == ("succeeded", 8)


def test_one_import_of_a_project_runs_at_a_time_in_the_order_they_were_started(project: Project) -> None:
    second, first = (staged(project, "prompts", {"prompt": word}) for word in "ab")
    for batch in (first, second):
        imports.import_start(batch=batch, by=None)
    assert claim().batch_id == first.pk
    assert import_claim(worker="another") is None


# --- Ends --------------------------------------------------------------------------------------------


def test_a_cancelled_import_leaves_nothing(project: Project, ada: Membership) -> None:
    before = sizes()
    batch = queued(project, "rankings", *(judged(number) for number in range(9)))

    def cancel(now: ImportBatch) -> None:
        if now.phase == "write":
            imports.import_cancel(batch=batch, by=ada)

    importing.import_run(fence=claim(), tell=cancel)
    batch.refresh_from_db()
    assert (batch.state, sizes()) == ("cancelled", before)
    assert AuditEvent.objects.filter(verb="import.cancel").exists()
    assert imports.import_work_here(batch=queued(project, "rankings", judged(1))).added == 1


def test_what_was_taken_over_from_an_undone_import_survives_a_cancelled_one(project: Project) -> None:
    rows = [judged(number) for number in range(6)]
    first = imports.import_work_here(batch=queued(project, "rankings", *rows))
    imports.import_undo(batch=first, by=None)
    batch = queued(project, "rankings", *rows)
    importing.import_run(
        fence=claim(), tell=lambda now: now.phase == "write" and imports.import_cancel(batch=batch, by=None)
    )
    assert (Ranking.objects.count(), Ranking.objects.filter(is_current=True).count()) == (6, 0)
    again = imports.import_work_here(batch=queued(project, "rankings", *rows))
    assert (again.added, Ranking.objects.filter(is_current=True).count()) == (6, 6)


def test_lines_that_the_tables_refuse_take_back_what_was_written(project: Project) -> None:
    before = sizes()
    rows = [judged(number) for number in range(7)]
    batch = imports.import_work_here(batch=queued(project, "rankings", *rows, judged(3, ranks=[2, 1, 1])))
    assert (batch.state, batch.rejected_count, sizes()) == ("refused", 1, before)
    again = imports.import_work_here(batch=imports.import_again(batch=batch, by=None))
    assert (again.state, again.added, again.rejected_count) == ("succeeded", 7, 1)


def test_a_label_on_a_task_of_people_goes_without_a_trace(project: Project) -> None:
    imports.import_work_here(batch=queued(project, "rankings", judged(1)))
    task = Task.objects.get()
    other = [judged(1, labeler="k"), "{broken", judged(1, labeler="k", ranks=[2, 1, 1])]
    batch = imports.import_work_here(batch=queued(project, "rankings", other[0], other[2]))
    assert batch.state == "refused"
    task.refresh_from_db()
    assert (task.overlap, task.open_slots, task.state, task.assignments.count()) == (1, 0, "complete", 1)


def test_a_prompt_that_a_person_adds_meanwhile_stays_when_the_import_goes(project: Project) -> None:
    batch = queued(project, "prompts", *({"prompt": f"Q{number}"} for number in range(9)))

    def tell(now: ImportBatch) -> None:
        if now.phase == "write" and now.position:
            row = PromptRow(messages=[{"role": "user", "content": "Q0"}])
            prompts_add(project=project, rows=[row], pool="sft", source="labeler", by=None)
            imports.import_cancel(batch=batch, by=None)

    importing.import_run(fence=claim(), tell=tell)
    assert [prompt.text for prompt in Prompt.objects.filter(withdrawn_at=None)] == ["Q0"]


def test_a_file_that_was_changed_or_lost_in_the_store_is_refused(project: Project) -> None:
    for harm, words in ((b"{}", "its hash differs"), (None, "no longer kept")):
        batch = queued(project, "prompts", {"prompt": f"Q{words}"})
        path = staged_path(batch.sha256)
        path.write_bytes(harm) if harm else path.unlink()
        batch = imports.import_work_here(batch=batch)
        assert batch.state == "failed" and words in batch.message


DEEP = b"[" * 10_000 + b"]" * 10_000
HOSTILE = [
    ("bomb.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' + b" " * (64 << 20)), "failed", "more than 200 times"),
    ("two.jsonl", '{"prompt": "Ä"}'.encode("utf-16"), "failed", "UTF-16"),
    ("list.json", b'[{"prompt": "a"}, ' + DEEP + b"]", "failed", "nested too deeply"),
    ("deep.jsonl", b'{"prompt": "a"}\n{"prompt": ' + DEEP + b"}", "refused", "nested too deeply"),
    ("latin.jsonl", '{"prompt": "a"}\n{"prompt": "é"}'.encode("latin-1"), "refused", "not UTF-8"),
    ("nul.jsonl", b'{"prompt": "a"}\n{"prompt": "b\\u0000"}', "refused", "NUL"),
    ("half.jsonl", b'{"prompt": "a"}\n{"prompt": "\\ud800"}', "refused", "surrogate"),
    ("nan.jsonl", b'{"prompt": "a"}\n{"prompt": NaN}', "refused", "NaN"),
    ("digits.jsonl", b'{"prompt": "a"}\n{"prompt": ' + b"9" * 10_000 + b"}", "refused", "too long"),
    ("long.jsonl", b'{"prompt": "a"}\n{"prompt": "' + b"x" * 2_000_001 + b'"}', "refused", "longer than 2 MB"),
    ("cut.parquet", b"PAR1" + b"x" * 50, "failed", "Parquet"),
]


@pytest.mark.parametrize(("name", "data", "state", "words"), HOSTILE, ids=[name for name, *_rest in HOSTILE])
def test_a_hostile_file_gets_a_sentence_and_leaves_nothing(
    project: Project, name: str, data: bytes, state: str, words: str
) -> None:
    before = sizes()
    batch = imports.import_stage(
        project=project, kind="prompts", blocks=[data], filename=name, pool="sft", source="a foe", by=None
    )
    batch = imports.import_work_here(batch=imports.import_start(batch=batch, by=None))
    told = batch.message or imports.rejected_lines(batch)[0]["problem"]
    assert (batch.state, words in told, sizes()) == (state, True, before), told


def test_answers_to_be_ranked_are_undone_where_nobody_has_begun(project: Project, alice: Membership) -> None:
    batch = imports.import_work_here(batch=queued(project, "answers", judged(1), judged(2)))
    lease(alice)
    imports.import_undo(batch=batch, by=None)
    assert sorted(Task.objects.values_list("state", flat=True)) == ["open", "withdrawn"]
    assert Prompt.objects.filter(withdrawn_at=None).count() == 1
    again = imports.import_work_here(batch=queued(project, "answers", judged(1), judged(2)))
    assert (again.added, again.known) == (1, 1)
    assert list(Task.objects.values_list("state", flat=True)) == ["open", "open"]


def test_an_upload_beyond_the_limit_is_not_kept(project: Project) -> None:
    with pytest.raises(imports.ImportProblem, match="larger than 1 MB"):
        staged(project, "prompts", "x" * (2 << 20), limit=1 << 20)
    assert not ImportBatch.objects.exists()


def test_the_time_left_is_that_of_the_rows_to_come() -> None:
    begun = timezone.now()
    batch = ImportBatch(state="running", phase="write", rows=100, position=40, phase_from=20, phase_at=begun)
    progress = import_progress(batch, begun + timedelta(seconds=10))
    assert (progress.fraction, progress.rows_a_second) == (0.4, 2)
    assert progress.seconds_left == pytest.approx(30)
    assert import_progress(ImportBatch(state="queued")).fraction is None


def test_guideline_time_and_labeler_come_along(project: Project) -> None:
    row = judged(1, guideline="Helpful 2.1", submitted_at="2024-05-05T10:00:00Z")
    imports.import_work_here(batch=queued(project, "rankings", row, judged(2, guideline_version=7)))
    assert sorted(Ranking.objects.values_list("imported_guideline", flat=True)) == ["7", "Helpful 2.1"]
    label = Ranking.objects.get(imported_guideline="Helpful 2.1")
    assert label.origin == "imported" and label.submitted_at.year == 2024 and label.labeler.pseudonym


@pytest.mark.parametrize("kind", ["rankings", "demonstrations"])
def test_a_guideline_that_came_with_a_label_goes_on_with_it(project: Project, kind: str) -> None:
    """There, back, and there again: into another project by our own rows."""
    row = {"prompt": "Why?", "completion": "So.", "labeler": "j"} if kind == "demonstrations" else judged(1)
    imports.import_work_here(batch=queued(project, kind, {**row, "guideline": "Helpful 2.1"}))
    rows_of = ranking_rows if kind == "rankings" else demonstration_rows
    [ours] = rows_of(project)
    assert ours["imported_guideline"] == "Helpful 2.1" and ours["guideline_version"] is None
    other = ProjectFactory()
    imports.import_work_here(batch=queued(other, kind, ours))
    [theirs] = rows_of(other)
    assert theirs["imported_guideline"] == "Helpful 2.1"


# --- The command --------------------------------------------------------------------------------------


def command(project: Project, path: Path, *more: str, kind: str = "prompts") -> str:
    out = io.StringIO()
    call_command(
        "import_data", str(path), "--project", project.slug, "--kind", kind, "--source", "a file", *more, stdout=out
    )
    return out.getvalue()


def test_the_command_imports_a_file_and_says_so(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frage,id\nWarum?,1\nWo?,2\n")
    preview = command(project, path, "--map", "prompt=frage", "--preview")
    assert "Warum?" in preview and not ImportBatch.objects.exists()
    assert "Done: 2 added, 0 here already, 0 bad lines." in command(project, path, "--map", "prompt=frage")
    assert "Done: 0 added, 2 here already" in command(project, path, "--map", "prompt=frage")


def test_the_command_ends_with_one_where_nothing_came_in(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Q"}\n{\n')
    with pytest.raises(SystemExit) as ended:
        command(project, path)
    assert ended.value.code == 1 and not Prompt.objects.exists()
    assert "1 added" in command(project, path, "--good-lines")
    for more, words in ((("--map", "prompt"), "FIELD=COLUMN"), (("--by", "nobody"), "nobody named")):
        with pytest.raises(CommandError, match=words):
            command(project, path, *more)


def test_a_file_that_grows_while_it_is_read_is_refused(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "Q"}\n')
    blocks = blocks_of_path(path)
    next(blocks)
    with path.open("ab") as file:
        file.write(b'{"prompt": "R"}\n')
    with pytest.raises(imports.ImportProblem, match="changed while it was read"):
        list(blocks)


# --- Real workers --------------------------------------------------------------------------------------


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_kill_9_of_the_process_loses_no_row_and_doubles_none(
    live_processes: LiveProcesses, project: Project, tmp_path: Path
) -> None:
    """A real process is killed while it writes; a Celery worker, woken by the sweep, brings the rest."""
    count = 6_000
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Question {number}?"}) + "\n" for number in range(count)))
    arguments = ["import_data", str(path), "--project", project.slug, "--kind", "prompts", "--source", "a file"]
    importer = live_processes.start(
        [sys.executable, "manage.py", *arguments], tmp_path / "importer.log", RUN_LEASE_SECONDS="3"
    )

    def writing() -> bool:
        assert importer.poll() is None, (tmp_path / "importer.log").read_text()
        return ImportBatch.objects.filter(phase="write", position__gt=0).exists()

    wait_for(writing, what="the import to write")
    live_processes.kill(importer)
    batch = ImportBatch.objects.get()
    assert batch.state == "running" and not Prompt.objects.filter(withdrawn_at=None).exists()
    live_processes.worker("default", beat=True, RUN_LEASE_SECONDS="3")
    wait_for(lambda: ImportBatch.objects.get().is_over, what="the worker to finish it")
    batch.refresh_from_db()
    assert (batch.state, batch.added, batch.known, batch.attempt) == ("succeeded", count, 0, 2)
    assert Prompt.objects.filter(withdrawn_at=None).count() == count
    wait_for(lambda: not staged_path(batch.sha256).exists(), what="the staged file to go")


# --- Between the two passes --------------------------------------------------------------------------


def test_what_the_check_read_is_written_without_reading_the_file_again(project: Project) -> None:
    batch = queued(project, "rankings", *(judged(number) for number in range(8)), "{", accept_bad_lines=True)

    def tell(now: ImportBatch) -> None:
        if now.phase == "write" and not now.position:
            staged_path(now.sha256).write_bytes(b"")

    importing.import_run(fence=claim(), tell=tell)
    batch.refresh_from_db()
    assert (batch.state, batch.added, batch.rejected_count, batch.position) == ("succeeded", 8, 1, 9)


def test_a_file_that_says_too_much_to_be_kept_is_read_twice(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotation.spool.MOST_BYTES", 500)
    batch = queued(project, "rankings", *(judged(number) for number in range(8)))
    importing.import_run(fence=claim())
    batch.refresh_from_db()
    assert (batch.state, batch.added, batch.position) == ("succeeded", 8, 8)


def test_nothing_lies_in_the_file_store_between_the_passes_that_a_killed_process_would_leave(project: Project) -> None:
    batch = queued(project, "prompts", *({"prompt": f"Q{number}"} for number in range(8)))
    aside = staged_path("x").parent.parent / "aside"
    before, seen_aside = set(aside.iterdir()), []
    importing.import_run(fence=claim(), tell=lambda now: seen_aside.append(set(aside.iterdir())))
    batch.refresh_from_db()
    assert batch.state == "succeeded" and len(seen_aside) > 3 and all(seen == before for seen in seen_aside)


# --- After many rows -----------------------------------------------------------------------------------


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_the_database_plans_for_what_a_large_import_brought(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MANY", 8)
    queued(project, "rankings", *(judged(number) for number in range(8)))
    importing.import_run(fence=claim())
    assert Ranking.objects.count() == 8
    if connection.vendor == "postgresql":
        assert (rows_planned_for(Ranking), rows_planned_for(RankedResponse)) == (8, 24)


def rows_planned_for(table: type[Model]) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", [table._meta.db_table])
        return int(cursor.fetchone()[0])
