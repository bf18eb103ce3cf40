"""The database watches over the lifecycle by itself, whatever the services forget."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from annotation.models import AuditEvent, Membership
from tests.training.conftest import step_to, walk_to
from training import guard, lifecycle
from training.models import STORIES, TRANSITIONS, Run, RunState
from training.services import transitions
from training.services.claims import Fence, lease_end, run_claim, run_hand_back, run_lost
from training.services.publishing import run_fail
from training.services.runs import run_cancel, run_pause, run_resume, run_retry

DOCS = Path(guard.__file__).resolve().parent.parent / "docs"


@pytest.mark.parametrize("source", RunState.values)
def test_the_database_allows_the_declared_changes_and_no_other(run: Run, source: str) -> None:
    """With plain UPDATEs, all sixty-four pairs: what goes through is what is declared."""
    walk_to(run, source)
    went = set()
    for target in RunState.values:
        try:
            with transaction.atomic():
                step_to(run, target)
                went.add(target)
                transaction.set_rollback(True)
        except IntegrityError as refusal:
            assert guard.STATE_TRIGGER in str(refusal)
        run.refresh_from_db()
    assert went == {*TRANSITIONS[source], source}


def test_only_a_claim_changes_the_attempt_and_adds_one(run: Run) -> None:
    row = Run.objects.filter(pk=run.pk)
    for attempt in (1, F("attempt") + 1):
        with pytest.raises(IntegrityError, match=guard.ATTEMPT_TRIGGER), transaction.atomic():
            row.update(attempt=attempt)
    for attempt in (F("attempt"), F("attempt") + 2):
        with pytest.raises(IntegrityError, match=guard.ATTEMPT_TRIGGER), transaction.atomic():
            row.update(state="running", attempt=attempt, lease_until=lease_end())
    row.update(state="running", attempt=F("attempt") + 1, lease_until=lease_end())
    with pytest.raises(IntegrityError, match=guard.ATTEMPT_TRIGGER), transaction.atomic():
        row.update(state="queued", attempt=0, lease_until=None)


def test_a_service_that_forgets_its_condition_is_stopped_by_the_database(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fencing taken out: a transition that claims to start anywhere. Without the trigger, a cancelled run lives."""
    walk_to(run, "cancelled")
    careless = transitions.Transition(verb="run.claim", sources=frozenset(RunState), target=RunState.RUNNING)
    monkeypatch.setattr(transitions, "CLAIM", careless)
    monkeypatch.setattr("training.services.claims.best_waiting", lambda queue: run.pk)
    with pytest.raises(IntegrityError, match=f"{guard.STATE_TRIGGER}|{guard.ATTEMPT_TRIGGER}"), transaction.atomic():
        run_claim(queue="gpu", worker="w")
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("cancelled", 1)


def test_a_table_that_a_migration_rebuilt_gets_its_triggers_back(run: Run) -> None:
    guard.remove(connection)
    assert guard.installed(connection) == {}
    guard.after_migrate(using="default")
    assert set(guard.installed(connection)) == {guard.STATE_TRIGGER, guard.ATTEMPT_TRIGGER}
    assert not guard.install(connection)  # as declared already


def test_another_declaration_is_put_in_place_of_the_one_before(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STORIES", {**STORIES, (RunState.CANCELLED, RunState.QUEUED): "a test"})
    assert guard.install(connection)
    walk_to(run, "cancelled")
    step_to(run, "queued")
    monkeypatch.undo()
    assert guard.install(connection)


def test_each_change_of_state_says_who_and_why(run: Run, ada: Membership) -> None:
    """Every row that Plackett wrote by itself has a why; every other one has a person."""
    assert run_claim(queue="gpu", worker="host:1")
    run_hand_back(fence=Fence(run.pk, 1), message="A deploy.")
    run_claim(queue="gpu", worker="host:2")
    run_lost(fence=Fence(run.pk, 2), message="It went away.")
    run_claim(queue="gpu", worker="host:3")
    run_pause(run=run, by=ada)
    run_hand_back(fence=Fence(run.pk, 3), message="Saved.")
    run_resume(run=run, by=ada)
    run_claim(queue="gpu", worker="host:4")
    run_fail(fence=Fence(run.pk, 4), reason="data", message="Too short.")
    run_retry(run=run, by=ada)
    run_claim(queue="gpu", worker="host:5")
    run_cancel(run=run, by=ada)
    run_hand_back(fence=Fence(run.pk, 5), message="Stopped.")
    rows = AuditEvent.objects.filter(target_id=str(run.pk)).exclude(verb="run.create").order_by("id")
    assert [row.verb for row in rows] == [
        *("run.claim", "run.hand_back", "run.claim", "run.lose", "run.claim", "run.pause", "run.paused", "run.resume"),
        *("run.claim", "run.fail", "run.retry", "run.claim", "run.cancel", "run.cancelled"),
    ]
    assert [row.verb for row in rows if not (row.actor_name == "ada" or row.detail.get("why"))] == []


def test_the_drawing_in_the_documentation_is_of_the_declared_table() -> None:
    text = (DOCS / "runs.md").read_text()
    assert lifecycle.drawing() in text
    drawn = set(re.findall(r"^    (\w+) --> (\w+): ", lifecycle.drawing(), re.M))
    assert drawn == {(source.value, target.value) for source, target in STORIES}
