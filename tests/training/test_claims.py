"""Claims, leases and the reaper, on the database's own clock."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Value
from django.db.models.functions import Now

from annotation.models import Membership
from tests.training.conftest import make_run
from training.models import Attempt, Run, RunState, Snapshot
from training.services.claims import (
    Fence,
    LeaseLost,
    reap_lost_leases,
    run_claim,
    run_extend_lease,
    run_hand_back,
)
from training.services.runs import run_retry

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


def claim(worker: str = "w") -> Run:
    run = run_claim(queue="gpu", worker=worker)
    assert run is not None
    return run


def let_lease_run_out(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(lease_until=Now() - Value(timedelta(seconds=1)))


def test_the_best_run_is_claimed_first(corpus: Snapshot, ada: Membership) -> None:
    old, urgent, young = (make_run(corpus, ada, name=name, priority=p) for name, p in (("a", 0), ("b", 5), ("c", 0)))
    make_run(corpus, ada, name="elsewhere", queue="gpu4")
    assert [claim().name for _ in range(3)] == [urgent.name, old.name, young.name]
    assert run_claim(queue="gpu", worker="w") is None


def test_a_claim_sets_the_lease_and_the_fence(run: Run, settings: Any) -> None:
    settings.RUN_LEASE_SECONDS = 60
    claimed = claim("gpu@here:7")
    assert (claimed.state, claimed.attempt, claimed.worker) == (RunState.RUNNING, 1, "gpu@here:7")
    now = Run.objects.annotate(now=Now()).get(pk=run.pk).now
    assert claimed.lease_until is not None
    assert timedelta(seconds=55) < claimed.lease_until - now <= timedelta(seconds=60)
    assert Attempt.objects.get(run=run).number == 1


def test_many_claimants_one_winner_each(corpus: Snapshot, ada: Membership) -> None:
    runs = [make_run(corpus, ada, name=f"r{number}") for number in range(6)]
    won: list[Any] = []
    start = threading.Barrier(12)

    def work(number: int) -> None:
        try:
            start.wait(60)
            while run := run_claim(queue="gpu", worker=f"w{number}"):
                won.append((run.pk, run.attempt))
        except BaseException as error:
            won.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Counter(won) == Counter({(run.pk, 1): 1 for run in runs})
    assert Attempt.objects.count() == 6


def test_a_lease_that_ran_out_goes_back_to_the_queue(run: Run) -> None:
    let_lease_run_out(claim())
    assert reap_lost_leases() == 1
    run.refresh_from_db()
    assert (run.state, run.lost_count, run.lease_until) == (RunState.QUEUED, 1, None)
    assert "went away without a word" in run.message
    assert Attempt.objects.get(run=run).outcome == "lost"
    assert claim().attempt == 2


def test_a_live_lease_is_left_alone(run: Run) -> None:
    claim()
    assert reap_lost_leases() == 0


def test_a_run_that_is_lost_too_often_fails(run: Run, settings: Any, ada: Membership) -> None:
    settings.RUN_MAX_LOST = 2
    for _ in range(3):
        let_lease_run_out(claim())
        reap_lost_leases()
    run.refresh_from_db()
    assert (run.state, run.reason, run.attempt) == (RunState.FAILED, "lost", 3)
    assert "the third time" in run.message
    run_retry(run=run, by=ada)
    assert claim().attempt == 4


def test_handing_back_does_not_count_as_a_loss(run: Run) -> None:
    for number in range(1, 6):
        claim()
        assert run_hand_back(fence=Fence(run.pk, number), message="a deploy") == RunState.QUEUED
    run.refresh_from_db()
    assert run.lost_count == 0


def test_an_extended_lease_is_not_reaped(run: Run) -> None:
    let_lease_run_out(claim())
    run_extend_lease(fence=Fence(run.pk, 1))
    assert reap_lost_leases() == 0


def test_a_lost_worker_cannot_extend(run: Run) -> None:
    let_lease_run_out(claim("first"))
    reap_lost_leases()
    claim("second")
    with pytest.raises(LeaseLost):
        run_extend_lease(fence=Fence(run.pk, 1))
    run_extend_lease(fence=Fence(run.pk, 2))


@pytest.mark.parametrize(("asked", "ends"), [("cancelling", "cancelled"), ("pausing", "paused")])
def test_what_people_asked_for_is_done_when_the_worker_is_gone(run: Run, asked: str, ends: str) -> None:
    claim()
    Run.objects.filter(pk=run.pk).update(state=asked)
    let_lease_run_out(run)
    reap_lost_leases()
    run.refresh_from_db()
    assert run.state == ends
