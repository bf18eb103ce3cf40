"""A core that hangs, a worker that is frozen, memory that runs out: told apart, and said in words."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from config.env import BadSetting, env_seconds_by_name
from tests.training.test_claims import let_lease_run_out
from tests.training.test_supervisor import carry_out
from training import memory, supervisor
from training.models import Attempt, Run, RunLine
from training.rlhf.__main__ import EXIT_UNWATCHED, explain
from training.rlhf.config import config_from_dict
from training.selectors.runs import metric_series
from training.services.claims import reap_lost_leases, run_claim
from training.supervisor import silence_words

services = [pytest.mark.services, pytest.mark.django_db(transaction=True)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_time_for_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STACK_SECONDS", 0.1)


def marked(test: Any) -> Any:
    for mark in services:
        test = mark(test)
    return test


# A core that hangs


@marked
def test_a_core_that_hangs_is_ended_and_tried_again_from_its_checkpoint(
    run: Run, fake_core: Any, settings: Any
) -> None:
    settings.RUN_SILENT_SECONDS = 2
    fake_core("started", "steps:2", "checkpoint", "hang")
    after = carry_out()
    assert (after.state, after.lost_count) == ("queued", 1)
    assert "said nothing for" in after.message and "it hung, waiting for something" in after.message
    fake_core("started", "steps:1", "model")
    assert carry_out().state == "succeeded"
    assert Attempt.objects.get(run=run, number=2).resumed_from == 2


@marked
def test_a_core_that_hangs_each_time_fails_in_words(run: Run, fake_core: Any, settings: Any) -> None:
    settings.RUN_SILENT_SECONDS, settings.RUN_MAX_LOST = 1, 1
    fake_core("started", "hang")
    assert carry_out().state == "queued"
    after = carry_out()
    assert (after.state, after.reason) == ("failed", "lost")
    assert "it hung" in after.message and "the second time" in after.message


@marked
def test_a_stage_with_long_steps_has_a_time_of_its_own(run: Run, fake_core: Any, settings: Any) -> None:
    settings.RUN_SILENT_SECONDS, settings.RUN_SILENT_STAGES = 1, {"pretrain": 60}
    fake_core("started", "sleep:2", "steps:1", "model")
    assert carry_out().state == "succeeded"


def test_a_long_step_is_told_from_a_hang_by_what_it_computed() -> None:
    assert "it hung, waiting for something" in silence_words(900, busy=1.0, limit=900)
    assert "It was computing all the while" in silence_words(900, busy=700.0, limit=900)
    assert "15 minutes (RUN_SILENT_STAGES)" in silence_words(900, busy=700.0, limit=900)


def test_the_times_of_stages_are_read_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME", "ppo=1800, sample=600")
    assert env_seconds_by_name("SOME", ("ppo", "sample")) == {"ppo": 1800, "sample": 600}
    for wrong in ("ppo", "ppo=soon", "dance=5", "ppo=0"):
        monkeypatch.setenv("SOME", wrong)
        with pytest.raises(BadSetting):
            env_seconds_by_name("SOME", ("ppo", "sample"))


def test_a_process_s_computing_is_measured() -> None:
    before = memory.processor_seconds(os.getpid())
    deadline = time.process_time() + 0.2
    while time.process_time() < deadline:
        pass
    assert memory.processor_seconds(os.getpid()) - before >= 0.15
    assert memory.processor_seconds(2**22 + 1) == 0.0


# A worker that is frozen: its core ends by itself, since nothing comes through the pipe any more

WATCHED = """
import time
from training.rlhf.__main__ import watch_lifeline
watch_lifeline()
print("up", flush=True)
time.sleep(60)
"""


def watched(seconds: str) -> tuple[subprocess.Popen[str], int]:
    read_end, write_end = os.pipe()
    environment = {**os.environ, "PLACKETT_LIFELINE_FD": str(read_end), "PLACKETT_LIFELINE_SECONDS": seconds}
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED], cwd=ROOT, env=environment, pass_fds=(read_end,), stdout=-1, text=True
    )
    os.close(read_end)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    return process, write_end


def test_a_core_whose_watcher_falls_silent_ends_by_itself() -> None:
    process, write_end = watched("1.5")
    longest, heard = 0.0, time.monotonic()
    for _ in range(4):
        os.write(write_end, b".")
        time.sleep(0.5)
        longest, heard = max(longest, time.monotonic() - heard), time.monotonic()
    assert process.poll() is None or longest > 1.4, "as long as it hears something it lives"
    assert process.wait(10) == EXIT_UNWATCHED
    os.close(write_end)


def test_a_core_whose_watcher_died_ends_at_once() -> None:
    process, write_end = watched("60")
    os.close(write_end)
    assert process.wait(10) == 1


@marked
def test_the_worker_keeps_its_core_alive(run: Run, fake_core: Any, settings: Any, monkeypatch: Any) -> None:
    """With each extension of the lease; a core that ended for want of that is tried again."""
    settings.RUN_LEASE_SECONDS = 3
    told: list[float] = []
    monkeypatch.setattr(supervisor.Core, "keep_alive", lambda core: told.append(time.monotonic()))
    fake_core("started", "sleep:2.5", f"exit:{EXIT_UNWATCHED}")
    after = carry_out()
    assert len(told) >= 2
    assert (after.state, after.lost_count) == ("queued", 1)
    assert "had not extended its lease in time" in after.message


@marked
def test_a_worker_frozen_in_the_middle_of_a_transaction_does_not_keep_its_run(run: Run) -> None:
    """It holds the run's row; PostgreSQL ends its transaction, and the reaper, which waits for the row, goes on."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no rows to lock")
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("1min",), "twice the lease"
    assert run_claim(queue="gpu", worker="frozen") is not None
    let_lease_run_out(run)
    known = connection.settings_dict
    frozen = psycopg.connect(
        host=known["HOST"], port=known["PORT"], user=known["USER"], password=known["PASSWORD"], dbname=known["NAME"]
    )
    frozen.execute("SET idle_in_transaction_session_timeout = '300ms'")
    frozen.execute("UPDATE training_run SET seed = 1 WHERE id = %s", [run.pk])
    assert reap_lost_leases() == 1
    run.refresh_from_db()
    assert (run.state, run.seed) == ("queued", 0)
    with pytest.raises(psycopg.Error):
        frozen.commit()
    frozen.close()


@marked
def test_a_transaction_that_the_database_ended_for_its_silence_is_done_again(
    run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the server itself stood still for a minute: it takes its own standstill for ours."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite ends no transactions")
    real, silences = supervisor.run_record, iter(range(2))

    def silent(**values: Any) -> None:
        with transaction.atomic():
            if next(silences, None) is not None:
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '50ms'")
                time.sleep(0.3)
            real(**values)

    monkeypatch.setattr(supervisor, "run_record", silent)
    fake_core("started", "steps:3", "sleep:1.5", "steps:3", "model")
    after = carry_out()
    assert (after.state, after.message, after.lost_count) == ("succeeded", "", 0)
    assert metric_series(after)["step"] == [1, 2, 3, 4, 5, 6]


@marked
def test_a_database_that_is_away_before_the_core_starts_fails_no_run(
    run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, absences = supervisor.lay_out, iter(range(1))

    def away(claimed: Run) -> Any:
        if next(absences, None) is not None:
            raise OperationalError("the database is away")
        return real(claimed)

    monkeypatch.setattr(supervisor, "lay_out", away)
    fake_core("started", "steps:1", "model")
    after = carry_out()
    assert (after.state, after.lost_count) == ("queued", 1)
    assert carry_out().state == "succeeded"


# Memory


@marked
def test_a_core_that_had_nearly_all_the_memory_was_killed_for_it(
    run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process of that size; only the machine is made smaller."""
    monkeypatch.setattr(memory, "memory_limit", lambda: 320 * 2**20)
    monkeypatch.setattr(memory, "LOOK_SECONDS", 0.05)
    fake_core("started", "grow:300", "sleep:1", "kill:9")
    after = carry_out()
    assert (after.state, after.reason) == ("failed", "memory")
    assert "micro_batch_tokens" in after.message and "0.3 GiB of 0.3 GiB" in after.message


@marked
def test_a_small_core_that_is_killed_is_tried_again(run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: 320 * 2**20)
    fake_core("started", "sleep:1.2", "kill:9")
    assert carry_out().state == "queued"


GROW = "import os; open('{folder}/cgroup.procs', 'w').write(str(os.getpid())); x = bytearray(300 * 2**20)"


def test_the_kernel_s_own_count_of_kills_is_read() -> None:
    """A real kill for memory, in a control group of our own, where we may make one."""
    folder = next((one for one in memory.cgroup_folders() if os.access(one, os.W_OK)), None)
    if os.getuid() or folder is None:
        pytest.skip("only root may make a control group")
    group = folder / f"plackett-test-{os.getpid()}"
    limit = "memory.max" if (folder / "cgroup.controllers").exists() else "memory.limit_in_bytes"
    try:
        group.mkdir()
        (group / limit).write_text(str(64 * 2**20))
    except OSError:
        group.rmdir() if group.exists() else None
        pytest.skip("this machine gives no control group for memory")
    try:
        swap = group / "memory.swappiness"
        if swap.exists():
            swap.write_text("0")
        before = memory.count_in(group)
        ended = subprocess.run([sys.executable, "-c", GROW.format(folder=group)])
        assert ended.returncode == -9
        assert memory.count_in(group) == (before or 0) + 1
    finally:
        group.rmdir()


def test_running_out_of_memory_says_which_settings_to_change() -> None:
    import torch

    ppo = config_from_dict("ppo", {"micro_batch_tokens": 4096})
    reason, words = explain(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ppo)
    assert reason == "memory"
    assert "the GPU ran out of memory" in words
    assert "micro_batch_tokens (now 4096) or generation_batch_tokens (now 16384)" in words
    assert "turn on gradient_checkpointing" in words
    cpu = RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried")
    assert explain(cpu, ppo)[0] == "memory"
    assert "batch_tokens (now 512)" in explain(MemoryError(), config_from_dict("sample", {"batch_tokens": 512}))[1]


def test_a_real_allocation_that_cannot_be_had_is_told_as_memory() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert explain(caught.value)[0] == "memory"


# What else is said


@marked
def test_a_disk_that_was_too_full_for_a_last_word_is_told_by_the_exit_code(run: Run, fake_core: Any) -> None:
    fake_core("started", "exit:74")
    after = carry_out()
    assert (after.state, after.reason) == ("failed", "disk")
    assert "free some space" in after.message


@marked
def test_other_code_than_before_is_said(run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:1", "checkpoint", "kill:9")
    carry_out()
    Attempt.objects.filter(run=run).update(versions={"torch": "older", "code": None, "device": "cpu"})
    fake_core("started", "steps:1", "model")
    carry_out()
    assert RunLine.objects.filter(
        run=run, level="warning", text__contains="differs from the one before in torch"
    ).exists()
