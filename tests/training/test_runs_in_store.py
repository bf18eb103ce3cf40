"""Runs whose files are in an object store: fetched by hash, uploaded beside the steps, gone on from on another host."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection

from annotation import store
from annotation.models import Membership
from tests.conftest import LiveProcesses, wait_for
from tests.s3 import ObjectStore
from tests.training.conftest import make_run, taken_by_another
from tests.training.test_claims import let_lease_run_out
from tests.training.test_supervisor import Meanwhile, carry_out
from training import files
from training.launcher import newest_checkpoint
from training.models import Artifact, Checkpoint, Notice, NoticeKind, Removal, Run, RunLine, Snapshot
from training.selectors.checkpoints import checkpoints_of
from training.selectors.models import files_in
from training.selectors.stored import forget_answers
from training.selectors.workers import waits_of
from training.services.checkpoints import run_copy_from, run_go_on_from
from training.services.copies import tidied_at, tidy_copies
from training.services.deletion import run_delete
from training.services.erasure import snapshot_erase
from training.services.removals import carry_out_removals
from training.services.runs import run_cancel, run_pause, run_resume
from training.services.snapshots import corpus_add
from training.tasks import Presence

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(s3: ObjectStore, corpus: Snapshot, ada: Membership) -> Run:
    """Queued by the web's host; what follows happens on another."""
    run = make_run(corpus, ada)
    s3.another_host("worker")
    return run


@pytest.fixture
def corpus(s3: ObjectStore, project: Any, ada: Membership) -> Snapshot:
    return corpus_add(project=project, texts=[f"a text of number {number}" for number in range(40)], by=ada)


def lines(run: Run) -> str:
    return "\n".join(RunLine.objects.filter(run=run).order_by("pk").values_list("text", flat=True))


def told(run: Run) -> list[str]:
    """The troubles that people were told of."""
    found = Notice.objects.filter(run=run, kind=NoticeKind.TROUBLE).order_by("created_at")
    return [notice.detail["reason"] for notice in found]


def registered(run: Run) -> list[tuple[int, int]]:
    return list(Checkpoint.objects.filter(run=run).order_by("step").values_list("attempt", "step"))


def test_a_run_goes_from_host_to_host(s3: ObjectStore, run: Run, fake_core: Any) -> None:
    """Nothing but the store and the database is common to the three hosts here."""
    fake_core("started", "steps:3", "checkpoint", "steps:1", "kill:9")
    assert carry_out().state == "queued"
    assert registered(run) == [(1, 3)]
    assert store.has(f"runs/{run.pk}/attempts/1/checkpoints/step_00000003")
    s3.another_host()
    fake_core("started", "steps:2", "model")
    after = carry_out()
    assert (after.state, after.attempt, after.step) == ("succeeded", 2, 5)
    given = json.loads((files.attempt_folder(run.pk, 2) / "run.json").read_text())
    assert given["resume"]["path"].endswith("attempts/1/checkpoints/step_00000003")
    s3.another_host("third")
    assert [each["name"] for each in files_in(after.model.artifact)] == [
        *("config.json", "model.safetensors", "plackett.json")
    ]
    assert not files.place_of(after.model.artifact).exists()  # a page needs the list alone
    assert files.folder_hash(files.path_of(after.model.artifact)) == after.model.artifact.sha256


def test_a_finished_runs_checkpoints_leave_the_store(s3: ObjectStore, run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:3", "checkpoint", "steps:1", "model")
    assert carry_out().state == "succeeded"
    carry_out_removals()
    assert not [name for name in s3.names() if name.startswith("runs/")]
    assert not Removal.objects.exists() and [name for name in s3.names() if name.startswith("model/")]


def test_a_store_that_is_away_holds_up_no_step(
    s3: ObjectStore, run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints wait, the newest first; the run's log says so, and where it lasts, a notice; all of it is made good
    when the store is back."""
    monkeypatch.setattr("annotation.store.LONG_OUTAGE_SECONDS", 1.0)
    fake_core("started", "steps:1", "sleep:3", "checkpoint", "steps:3", "checkpoint", "steps:4", "checkpoint", "hang")
    there = Meanwhile()
    there.until_step(1)
    s3.server.kill()
    there.until_step(8)
    wait_for(lambda: "Checkpoints wait for the file store" in lines(run), what="the outage to be told")
    assert registered(run) == []
    wait_for(lambda: told(run) == ["store"], what="people to be told")
    s3.server.start()
    wait_for(lambda: registered(run), what="the checkpoint to be registered")
    assert registered(run)[-1] == (1, 8)
    wait_for(lambda: "The file store answers again." in lines(run), what="the end of the outage to be told")
    run_cancel(run=run, by=None)
    assert there.end().state == "cancelled"


def test_the_result_waits_for_the_store_and_is_not_lost(
    s3: ObjectStore, run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.store.LONG_OUTAGE_SECONDS", 1.0)
    fake_core("started", "steps:2", "sleep:3", "model")
    there = Meanwhile()
    there.until_step(2)
    s3.server.kill()
    wait_for(lambda: "the run waits for it" in lines(run), what="the outage to be told")
    run.refresh_from_db()
    assert run.state == "running" and not Artifact.objects.filter(kind="model").exists()
    wait_for(lambda: told(run) == ["store"], what="people to be told")
    s3.server.start()
    assert there.end().state == "succeeded"


def test_a_run_that_waits_for_the_store_to_begin_can_be_stopped(s3: ObjectStore, run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:1", "model")
    s3.server.kill()
    there = Meanwhile()
    wait_for(lambda: "the run waits for it" in lines(run), what="the outage to be told")
    run_pause(run=run, by=None)
    assert there.end().state == "paused"
    s3.server.start()
    run_resume(run=Run.objects.get(pk=run.pk), by=None)
    assert carry_out().state == "succeeded"


def test_a_stop_gives_the_checkpoint_time_to_arrive(s3: ObjectStore, run: Run, fake_core: Any) -> None:
    fake_core("polite", "started", "steps:4", "hang")
    there = Meanwhile()
    there.until_step(4)
    there.stopping.set()
    assert there.end().state == "queued"
    assert registered(run) == [(1, 4)]
    assert store.has(f"runs/{run.pk}/attempts/1/checkpoints/step_00000004")


def test_a_stop_does_not_wait_for_ever(s3: ObjectStore, run: Run, fake_core: Any) -> None:
    s3.settings.RUN_STOP_SECONDS = 2
    fake_core("polite", "started", "steps:4", "hang")
    there = Meanwhile()
    there.until_step(4)
    s3.server.kill()
    there.stopping.set()
    assert there.end().state == "queued"
    assert registered(run) == []
    assert "The checkpoint at step 4 did not reach the file store in time" in lines(run)


def test_what_a_lost_attempt_uploads_is_not_used(s3: ObjectStore, run: Run, fake_core: Any) -> None:
    """Its checkpoint is in the store before it learns that the run is no longer its own; no row names it."""
    fake_core("started", "steps:1", "sleep:2", "steps:3", "checkpoint", "hang")
    there = Meanwhile()
    there.until_step(1)
    taken_by_another(run)
    there.end()
    folder = files.attempt_folder(run.pk, 1) / "checkpoints" / "step_00000004"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text("late")
    store.put(files.key_of(folder), folder, files.folder_hash(folder))
    run.refresh_from_db()
    assert newest_checkpoint(run) == (None, [])
    assert registered(run) == []


def test_a_checkpoint_that_is_damaged_in_the_store_is_passed_over(s3: ObjectStore, run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:2", "checkpoint", "sleep:1", "steps:2", "checkpoint", "sleep:1", "kill:9")
    carry_out()
    assert registered(run) == [(1, 2), (1, 4)]
    s3.put(f"runs/{run.pk}/attempts/1/checkpoints/step_00000004/state.json", b'{"step": 5}')
    s3.another_host()
    fake_core("started", "steps:1", "model")
    after = carry_out()
    assert (after.state, after.step) == ("succeeded", 3)
    assert "The checkpoint at step 4 is gone or damaged; the one at step 2 is used." in lines(run)


def test_an_input_that_was_damaged_in_the_store_is_refused(s3: ObjectStore, run: Run, fake_core: Any) -> None:
    key = Artifact.objects.get(kind="snapshot").storage_key
    s3.put(f"{key}/train.jsonl", b"{}\n")
    fake_core("started", "model")
    after = carry_out()
    assert (after.state, after.reason) == ("failed", "data")
    assert "its hash differs" in after.message


def test_going_on_from_a_checkpoint_and_a_copy_ask_the_store(
    s3: ObjectStore, run: Run, fake_core: Any, ada: Membership
) -> None:
    fake_core("started", "steps:2", "checkpoint", "sleep:1", "steps:2", "checkpoint", "sleep:1", "fail:data")
    assert carry_out().state == "failed"
    s3.another_host("web")
    rows = {row.checkpoint.step: row.checkpoint for row in checkpoints_of(run)}
    run_go_on_from(run=Run.objects.get(pk=run.pk), checkpoint=rows[2], by=ada)
    run_cancel(run=Run.objects.get(pk=run.pk), by=ada)
    copy = run_copy_from(run=Run.objects.get(pk=run.pk), checkpoint=rows[2], by=ada)
    s3.another_host()
    fake_core("started", "steps:1", "model")
    assert carry_out().step == 3
    found = Run.objects.get(pk=copy.pk)
    assert (found.state, found.attempts.get().resumed_from) == ("succeeded", 2)


def test_why_a_run_waits_is_asked_of_the_store(s3: ObjectStore, run: Run) -> None:
    def code() -> str:
        forget_answers()
        return waits_of([run])[run.pk].wait.code

    presence = Presence()
    presence.name, presence.queues = "gpu@host:1", ["gpu"]
    presence.tell()
    assert code() == "starting"
    key = Artifact.objects.get(kind="snapshot").storage_key
    s3.lose(f"{key}.list")
    assert code() == "no_data"
    s3.server.kill()
    assert code() == "no_store"


def test_an_erased_snapshot_leaves_the_store_and_every_host(s3: ObjectStore, corpus: Snapshot, ada: Membership) -> None:
    """Also where the store is away when it is erased: the row of the removal waits."""
    s3.another_host()
    place = files.path_of(corpus.artifact)
    s3.another_host("web")
    s3.server.kill()
    snapshot_erase(snapshot=corpus, why="a person asked for it", by=ada)
    assert carry_out_removals() == 0
    s3.server.start()
    assert carry_out_removals() == 1
    assert not [name for name in s3.names() if name.startswith("snapshot/")]
    s3.another_host()
    assert place.exists()
    tidied_at.clear()
    tidy_copies()
    assert not place.exists()


def test_a_deleted_runs_files_stay_for_a_day_and_what_another_run_made_too_stays(
    s3: ObjectStore, run: Run, fake_core: Any, ada: Membership, corpus: Snapshot
) -> None:
    fake_core("started", "steps:2", "model")
    carry_out()
    carry_out_removals()
    run_delete(run=Run.objects.get(pk=run.pk), name=run.name, by=ada)
    assert carry_out_removals() == 0
    assert [name for name in s3.names() if name.startswith("model/")]
    Removal.objects.update(due_at="2026-01-01T00:00:00Z")
    again = make_run(corpus, ada)  # the fake core makes the same bytes again
    assert carry_out().pk == again.pk
    Removal.objects.update(due_at="2026-01-01T00:00:00Z")
    carry_out_removals()
    assert [name for name in s3.names() if name.startswith("model/")]
    run_delete(run=Run.objects.get(pk=again.pk), name=again.name, by=ada)
    Removal.objects.update(due_at="2026-01-01T00:00:00Z")
    carry_out_removals()
    assert not [name for name in s3.names() if name.startswith(("model/", "runs/"))]


@pytest.mark.services
@pytest.mark.skipif(connection.vendor == "sqlite", reason="hosts share a database server; SQLite is a file of one")
@pytest.mark.timeout(600)
def test_two_hosts_end_in_the_weights_of_one(
    s3: ObjectStore, corpus: Snapshot, ada: Membership, live_processes: LiveProcesses
) -> None:
    """The real core and real workers, each with a folder of its own; the first is killed in the middle."""
    config = {"epochs": 1000, "max_steps": 480, "checkpoint_every_steps": 10, "sample_every": 0, "eval_every": 100}
    untouched, disturbed = make_run(corpus, ada, config=config), None
    first = live_processes.worker("gpu", **s3.variables, TEST_PLACKETT_FILES=str(s3.folder / "one"))
    wait_for(lambda: Run.objects.get(pk=untouched.pk).is_over, what="the first run")
    disturbed = make_run(corpus, ada, config=config)
    wait_for(lambda: Checkpoint.objects.filter(run=disturbed, step__gte=20).exists(), what="a checkpoint in the store")
    live_processes.kill(first)
    let_lease_run_out(Run.objects.get(pk=disturbed.pk))
    live_processes.worker("gpu", **s3.variables, TEST_PLACKETT_FILES=str(s3.folder / "two"))
    from training.tasks import sweep

    wait_for(lambda: (sweep(), Run.objects.get(pk=disturbed.pk).is_over)[1], what="the second run")
    ends = [Run.objects.select_related("output").get(pk=each.pk) for each in (untouched, disturbed)]
    assert [each.state for each in ends] == ["succeeded", "succeeded"], [each.message for each in ends]
    assert ends[1].attempt == 2 and ends[1].attempts.get(number=2).resumed_from >= 20
    assert ends[0].output.sha256 == ends[1].output.sha256
