"""Every way in which a run comes to need a person is told, once; what goes on by itself is not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from annotation.models import Membership
from tests.training.conftest import walk_to
from tests.training.test_claims import let_lease_run_out
from tests.training.test_supervisor import Meanwhile, carry_out
from training import files
from training.events import Event
from training.models import Checkpoint, Notice, Run, RunState, Snapshot
from training.models.notices import NEEDS_A_PERSON, NoticeKind
from training.services import transitions
from training.services.claims import Fence, reap_lost_leases, run_claim, run_hand_back
from training.services.notices import notice_stuck_runs
from training.services.publishing import run_fail
from training.services.recording import run_record
from training.services.runs import run_pause
from training.services.workers import worker_drain, worker_seen
from training.supervisor import REASONS

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


def told() -> list[tuple[str, str]]:
    """(kind, why) of each notice that is for someone to act on."""
    rows = Notice.objects.filter(kind__in=NEEDS_A_PERSON).order_by("id")
    return [(notice.kind, notice.detail["why"]) for notice in rows]


def kinds() -> list[str]:
    return [kind for kind, _ in told()]


def test_no_change_that_leaves_a_run_to_people_is_silent() -> None:
    """But for a pause that someone asked for and got."""
    silent = {transitions.PAUSE_WAITING, transitions.PAUSED}
    waits = {RunState.FAILED, RunState.PAUSED}
    left = [step for step in transitions.ALL if step.target in waits and step not in silent]
    assert left and all(step.notice in NEEDS_A_PERSON for step in left)


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_failure_for_any_reason(run: Run, reason: str) -> None:
    assert run_claim(queue="gpu", worker="w")
    run_fail(fence=Fence(run.pk, 1), reason=reason, message="It broke.")
    assert told() == [("failed", "It broke.")]


def test_a_run_that_was_lost_too_often(run: Run, settings: Any) -> None:
    settings.RUN_MAX_LOST = 1
    for _ in range(2):
        assert kinds() == []  # the first loss mends itself
        assert run_claim(queue="gpu", worker="w")
        let_lease_run_out(run)
        reap_lost_leases()
    assert kinds() == ["failed"]


def test_a_pause_in_which_the_worker_died(run: Run, ada: Membership) -> None:
    assert run_claim(queue="gpu", worker="gpu@one")
    run_pause(run=run, by=ada)
    let_lease_run_out(run)
    reap_lost_leases()
    [(kind, why)] = told()
    assert kind == "paused" and "gpu@one went away" in why


def test_a_pause_that_could_not_save_in_time(run: Run, ada: Membership, fake_core: Any, settings: Any) -> None:
    settings.RUN_STOP_SECONDS = 1
    fake_core("deaf", "started", "steps:1", "hang")
    meanwhile = Meanwhile()
    meanwhile.until_step(1)
    run_pause(run=run, by=ada)
    assert meanwhile.end().state == "paused"
    assert told() == [("paused", "Stopped after the time it had to save.")]


def test_a_pause_that_went_well_is_no_news(run: Run, ada: Membership, fake_core: Any) -> None:
    fake_core("polite", "started", "steps:1", "hang")
    meanwhile = Meanwhile()
    meanwhile.until_step(1)
    run_pause(run=run, by=ada)
    assert meanwhile.end().state == "paused"
    assert told() == []


def test_a_deploy_that_had_no_time_to_save_goes_on_by_itself(run: Run) -> None:
    walk_to(run, RunState.RUNNING)
    assert run_hand_back(fence=Fence(run.pk, 1), message="Stopped.", saved=False) == RunState.QUEUED
    assert told() == []


def long_ago() -> None:
    Run.objects.update(queued_at=timezone.now() - timedelta(hours=1))


def stuck_words() -> str:
    """What is said of the one run that waits in vain; forgotten again, since one wait is one notice."""
    notice_stuck_runs()
    [(kind, why)] = told()
    assert kind == "stuck"
    Notice.objects.all().delete()
    return why


def test_a_wait_in_vain_for_each_cause(run: Run, ada: Membership, corpus: Snapshot) -> None:
    long_ago()
    assert "No worker listens" in stuck_words()
    worker_seen(name="gpu@one:7", queues=["gpu"], slots=1)
    notice_stuck_runs()
    assert told() == []  # a worker is free
    worker_drain(node="gpu@one", how="finish", by=ada)
    assert "is drained" in stuck_words()
    folder = files.path_of(corpus.artifact)
    folder.rename(folder.with_name("elsewhere"))
    assert "waits for data" in stuck_words()


def test_a_disk_that_takes_no_checkpoint_is_told_of_once_an_attempt(run: Run) -> None:
    assert run_claim(queue="gpu", worker="w")
    full = Event("note", {"level": "warning", "message": "No space left on device.", "problem": "disk"})
    run_record(fence=Fence(run.pk, 1), events=[full, Event("note", {"message": "All is well."})])
    run_record(fence=Fence(run.pk, 1), events=[full])
    assert told() == [("trouble", "No space left on device.")]


@pytest.mark.parametrize("problem", ["everything", ["disk"], {"disk": 1}, None, 7])
def test_a_core_can_not_make_up_problems(run: Run, problem: Any) -> None:
    assert run_claim(queue="gpu", worker="w")
    run_record(fence=Fence(run.pk, 1), events=[Event("note", {"message": "x", "problem": problem})])
    assert told() == []


def test_a_damaged_checkpoint(run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:2", "checkpoint", "kill:9")
    carry_out()
    damage(Checkpoint.objects.get(run=run))
    fake_core("started", "steps:1", "model")
    assert carry_out().state == "succeeded"
    [(kind, why)] = told()
    assert kind == NoticeKind.TROUBLE and "gone or damaged" in why


def damage(checkpoint: Checkpoint) -> None:
    path: Path = files.checkpoint_path(checkpoint) / "state.json"
    path.write_text("{}")
