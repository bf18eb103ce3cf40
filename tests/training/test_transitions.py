"""The declared lifecycle, and the one place that writes it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from annotation.models import AuditEvent, Membership
from tests.training.conftest import walk_to
from training.errors import RunError
from training.models import HELD, TRANSITIONS, Run, RunState
from training.services import runs, transitions
from training.services.claims import Fence, lease_end, run_claim, run_hand_back, run_lost
from training.services.publishing import run_cancelled, run_fail
from training.services.transitions import change

ROOT = Path(transitions.__file__).resolve().parent.parent.parent


def put_in(run: Run, state: RunState) -> Run:
    """Write a state past the services, as a test may."""
    return walk_to(run, state)


def test_the_transitions_are_those_declared() -> None:
    named = {(source, step.target) for step in transitions.ALL for source in step.sources}
    declared = {(source, target) for source, targets in TRANSITIONS.items() for target in targets}
    assert named == declared


@pytest.mark.parametrize("state", RunState.values)
@pytest.mark.parametrize("step", transitions.ALL, ids=lambda step: f"{step.verb}-{step.target}")
def test_a_change_is_made_from_its_sources_only(run: Run, step: transitions.Transition, state: str) -> None:
    put_in(run, RunState(state))
    values: dict[str, Any] = {"lease_until": lease_end()} if step.target in HELD else {}
    values |= {"ended_at": None} if step is transitions.RETRY else {}
    values |= {"attempt": F("attempt") + 1} if step is transitions.CLAIM else {}
    made = change(run.pk, step, of_attempt=1, **values)
    run.refresh_from_db()
    assert made == (RunState(state) in step.sources)
    assert run.state == (step.target if made else state)


def test_a_change_is_made_for_the_attempt_that_holds_the_run_only(run: Run) -> None:
    put_in(run, RunState.RUNNING)
    assert not change(run.pk, transitions.SUCCEED, of_attempt=2)
    assert change(run.pk, transitions.SUCCEED, of_attempt=1)


PEOPLES = {
    "cancel": (runs.run_cancel, {"queued", "paused", "running", "pausing", "cancelling", "cancelled"}),
    "pause": (runs.run_pause, {"queued", "running", "pausing", "paused"}),
    "resume": (runs.run_resume, {"paused", "queued", "running"}),
    "retry": (runs.run_retry, {"failed", "queued", "running"}),
}


@pytest.mark.parametrize("state", RunState.values)
@pytest.mark.parametrize("name", PEOPLES)
def test_people_may_ask_where_it_makes_sense_and_are_told_where_not(
    run: Run, ada: Membership, name: str, state: str
) -> None:
    put_in(run, RunState(state))
    service, fine = PEOPLES[name]
    if state in fine:
        after = service(run=run, by=ada)
        assert after.state == state or RunState(after.state) in TRANSITIONS[state]
    else:
        with pytest.raises(RunError, match="can't be"):
            service(run=run, by=ada)
        run.refresh_from_db()
        assert run.state == state


WORKERS = {
    "hand back": (
        lambda fence: run_hand_back(fence=fence, message=""),
        {"running": "queued", "pausing": "paused", "cancelling": "cancelled"},
    ),
    "lost": (
        lambda fence: run_lost(fence=fence, message=""),
        {"running": "queued", "pausing": "paused", "cancelling": "cancelled"},
    ),
    "fail": (
        lambda fence: run_fail(fence=fence, reason="crash", message="x"),
        {"running": "failed", "pausing": "failed", "cancelling": "failed"},
    ),
    "cancelled": (lambda fence: run_cancelled(fence=fence), {"cancelling": "cancelled"}),
}


@pytest.mark.parametrize("state", RunState.values)
@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_ends_what_it_holds_only(run: Run, name: str, state: str) -> None:
    from training.services.claims import LeaseLost

    put_in(run, RunState(state))
    service, ends = WORKERS[name]
    if state in ends:
        service(Fence(run.pk, 1))
    else:
        with pytest.raises(LeaseLost):
            service(Fence(run.pk, 1))
    run.refresh_from_db()
    assert run.state == ends.get(state, state)


def test_each_change_leaves_a_line_in_the_audit_log(run: Run, ada: Membership) -> None:
    claimed = run_claim(queue="gpu", worker="w")
    assert claimed is not None
    runs.run_pause(run=run, by=ada)
    run_hand_back(fence=Fence(run.pk, 1), message="saved")
    runs.run_resume(run=run, by=ada)
    events = AuditEvent.objects.filter(target_id=str(run.pk)).order_by("id")
    assert list(events.values_list("verb", "actor_name")) == [
        ("run.create", "ada"),
        ("run.claim", "system"),
        ("run.pause", "ada"),
        ("run.paused", "system"),
        ("run.resume", "ada"),
    ]


def test_a_retry_forgets_what_went_wrong(run: Run, ada: Membership) -> None:
    put_in(run, RunState.FAILED)
    Run.objects.filter(pk=run.pk).update(reason="lost", message="gone", lost_count=F("lost_count") + 4)
    after = runs.run_retry(run=run, by=ada)
    assert (after.state, after.reason, after.message, after.lost_count, after.ended_at) == ("queued", "", "", 0, None)


def test_nothing_else_writes_a_runs_state() -> None:
    """No `.update(state=...)` on runs, no `run.state = ...`, in the product outside of services/transitions.py.

    The outbox of notices, jobs and what is erased have states of their own.
    """
    others = {"transitions.py", "delivery.py", "jobs.py", "builds.py", "erasure.py"}
    found = []
    for path in [*ROOT.glob("training/**/*.py"), *ROOT.glob("frontend/**/*.py"), *ROOT.glob("demo/**/*.py")]:
        if "migrations" in path.parts or "rlhf" in path.parts or path.name in others:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update":
                found += [f"{path.name}:{node.lineno}" for keyword in node.keywords if keyword.arg == "state"]
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and target.attr == "state" and is_run(target.value):
                        found.append(f"{path.name}:{node.lineno}")
    assert not found


def is_run(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"run", "found", "row"}
