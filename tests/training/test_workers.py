"""Who is there, why a run waits, and that a drained node takes nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from annotation.models import AuditEvent, Membership, User
from tests.factories import ModelFactory, RunFactory, UserFactory
from training import machine
from training.errors import RunError
from training.models import Drain, Run, RunInput, Worker, node_of
from training.selectors.workers import lines, waits_of, workers_there
from training.services import claims
from training.services.claims import run_claim
from training.services.workers import (
    drained_how,
    queues_to_wake,
    worker_drain,
    worker_seen,
    worker_undrain,
)
from training.tasks import Presence, handing_back


def there(name: str = "gpu@one:77", queues: tuple[str, ...] = ("gpu",), slots: int = 1) -> str:
    worker_seen(name=name, queues=queues, slots=slots)
    return name


@pytest.fixture
def owner(db: None) -> User:
    return UserFactory(username="owner", is_superuser=True)


def wait_of(run: Run) -> tuple[str, bool]:
    wait = waits_of([run])[run.pk].wait
    return wait.code, wait.stuck


def test_a_worker_tells_what_it_is(db: None) -> None:
    there("gpu@one:77", ("gpu", "gpu4"), 2)
    worker = Worker.objects.get()
    assert (worker.node, worker.queue_names, worker.slots) == ("gpu@one", ["gpu", "gpu4"], 2)
    assert worker.threads == machine.usable_cores() and worker.memory_bytes > worker.memory_used_bytes > 0
    assert worker.version == machine.version() and "+" in worker.version


def test_a_drained_node_claims_nothing_also_after_a_restart(run: Run, owner: User) -> None:
    worker_drain(node=node_of(there()), how="finish", by=owner)
    assert run_claim(queue="gpu", worker="gpu@one:77") is None
    assert run_claim(queue="gpu", worker="gpu@one:78") is None  # the same node, started again
    assert queues_to_wake() == []
    claimed = run_claim(queue="gpu", worker="gpu@two:5")
    assert claimed == run


def test_the_claims_own_update_asks_whether_the_node_is_drained(
    run: Run, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drain comes after the worker looked for one: the statement itself finds it."""
    there()
    asked = []

    def looks_before_the_drain(node: str) -> bool:
        if not asked:
            asked.append(node)
            worker_drain(node=node, how="finish", by=owner)
            return False
        return Drain.objects.filter(node=node).exists()

    monkeypatch.setattr(claims, "is_drained", looks_before_the_drain)
    assert run_claim(queue="gpu", worker="gpu@one:77") is None
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("queued", 0)


def test_a_worker_hears_of_a_drain_through_the_database(db: None, owner: User) -> None:
    presence = Presence()
    presence.name = there()
    worker_drain(node="gpu@one", how="finish", by=owner)
    presence.look_for_drain()
    assert not handing_back.is_set()  # it finishes what it has
    worker_drain(node="gpu@one", how="hand_back", by=owner, why="new disk")
    presence.look_for_drain()
    assert handing_back.is_set() and drained_how(presence.name) == "hand_back"
    worker_undrain(node="gpu@one", by=owner)
    presence.look_for_drain()
    assert not handing_back.is_set()
    verbs = list(AuditEvent.objects.order_by("id").values_list("verb", "actor_name"))
    assert verbs == [("worker.drain", "owner")] * 2 + [("worker.undrain", "owner")]
    with pytest.raises(RunError, match="No worker of this name"):
        worker_drain(node="gpu@nowhere", how="finish", by=owner)


def test_each_reason_to_wait_is_said(run: Run, owner: User, ada: Membership) -> None:
    assert wait_of(run) == ("no_worker", True)
    there()
    assert wait_of(run) == ("starting", False)
    second = RunFactory(project=ada.project)
    assert wait_of(second) == ("busy", False)  # the one free slot is the first one's
    run_claim(queue="gpu", worker="gpu@one:77")
    waiting = waits_of([second])[second.pk]
    assert (waiting.position, waiting.wait.code, waiting.wait.runs) == (1, "busy", (run,))
    worker_drain(node="gpu@one", how="finish", by=owner)
    assert wait_of(second) == ("drained", True)
    worker_undrain(node="gpu@one", by=owner)
    RunInput.objects.create(run=second, name="policy", model=ModelFactory(project=ada.project))
    assert wait_of(second) == ("no_data", True)
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    assert wait_of(second) == ("no_worker", True)
    assert not workers_there() and len(workers_there(silent_too=True)) == 1


def test_the_queues_take_the_same_queries_however_long(
    ada: Membership, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    there()
    RunFactory.create_batch(2, project=ada.project)
    with django_assert_max_num_queries(12):
        lines()
    RunFactory.create_batch(30, project=ada.project)
    with django_assert_max_num_queries(12):
        assert lines()[0].count == 32


@given(st.text(max_size=80))
def test_whatever_the_tool_prints_is_read_or_left(line: str) -> None:
    gpu = machine.parsed(line)
    assert gpu is None or (gpu.name and gpu.memory_bytes >= 0)


def test_gpus_are_read_from_the_tools_line_or_the_drivers_files(tmp_path: Path) -> None:
    assert machine.parsed("NVIDIA H200, 143771, 512") == machine.Gpu("NVIDIA H200", 143771 * 2**20, 512 * 2**20)
    assert machine.parsed("NVIDIA GB10, [N/A], [N/A]") == machine.Gpu("NVIDIA GB10", 0, 0)
    folder = tmp_path / "driver/nvidia/gpus/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text("Model: \t\t NVIDIA L4\nIRQ: 5\n")
    assert machine.told_by_driver(tmp_path) == [machine.Gpu("NVIDIA L4")]
    two = [machine.Gpu("a"), machine.Gpu("b")]
    assert (
        machine.chosen(two, "1") == [two[1]] and machine.chosen(two, "") == [] and machine.chosen(two, "GPU-x") == two
    )


def test_memory_is_the_control_groups_where_that_is_narrower(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 400 kB\n")
    assert machine.memory(tmp_path, tmp_path) == (1_024_000, 614_400)
    (tmp_path / "memory.max").write_text("512000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert machine.memory(tmp_path, tmp_path) == (512_000, 1000)
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory(tmp_path, tmp_path) == (1_024_000, 614_400)
    assert machine.memory(tmp_path / "none", tmp_path / "none") == (0, 0)
