"""One attempt, end to end, with a core that misbehaves on demand (`fake_core.py`): a process of its own each time."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from annotation.models import Membership
from tests.conftest import wait_for
from tests.training.conftest import taken_by_another
from training import files
from training.models import (
    Artifact,
    Attempt,
    Checkpoint,
    MetricChunk,
    Model,
    Run,
    RunLine,
    RunSample,
    RunState,
)
from training.selectors.runs import metric_series
from training.services.claims import Fence, LeaseLost, reap_lost_leases, run_claim
from training.services.publishing import run_succeed
from training.services.runs import run_cancel, run_pause, run_resume, run_retry
from training.supervisor import supervise

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


def carry_out(stopping: threading.Event | None = None) -> Run:
    """Claim the next run and see it to its end, here and now."""
    run = run_claim(queue="gpu", worker="w")
    assert run is not None
    supervise(run, stopping=stopping or threading.Event())
    run.refresh_from_db()
    return run


class Meanwhile:
    """A supervisor in a thread, so that a test can act on its run."""

    def __init__(self) -> None:
        claimed = run_claim(queue="gpu", worker="w")
        assert claimed is not None
        self.run, self.stopping = claimed, threading.Event()
        self.folder = files.attempt_folder(claimed.pk, claimed.attempt)
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self) -> None:
        try:
            supervise(self.run, stopping=self.stopping)
        finally:
            connection.close()

    def until_step(self, step: int) -> None:
        wait_for(lambda: Run.objects.get(pk=self.run.pk).step >= step, what=f"step {step}")

    def end(self, seconds: float = 60) -> Run:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the supervisor did not end"
        return Run.objects.get(pk=self.run.pk)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pid: int) -> Callable[[], bool]:
    return lambda: not is_alive(pid)


def core_pid(folder: Path) -> int:
    def said() -> Any:
        try:
            return json.loads((folder / "events.jsonl").read_text().splitlines()[0]).get("pid")
        except (OSError, IndexError, ValueError):
            return None

    return int(wait_for(said, what="the core's first event"))  # type: ignore[call-overload]


def test_a_run_succeeds_and_its_model_is_there(run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:3", "checkpoint", "steps:2", "model")
    after = carry_out()
    assert (after.state, after.step, after.total_steps, after.result) == ("succeeded", 5, 100, {"loss/train": 0.5})
    model = after.model
    assert (model.name, model.kind, model.parameters, model.context_length) == ("base-1", "policy", 6, 64)
    assert files.folder_hash(files.path_of(model.artifact)) == model.artifact.sha256
    assert after.output == model.artifact
    assert metric_series(after)["step"] == [1, 2, 3, 4, 5]
    assert RunSample.objects.filter(run=run).count() == 5
    attempt = files.attempt_folder(run.pk, 1)
    assert not Checkpoint.objects.exists() and not (attempt / "checkpoints").exists()
    assert Attempt.objects.get(run=run).outcome == "finished"


def test_nothing_is_written_to_a_lifeline_that_is_closed(tmp_path: Path) -> None:
    """The watch goes on until the result is published; by then the number may be that of the database's file."""
    from training.launcher import Core

    core = Core.start(["true"], tmp_path / "log", dict(os.environ))
    number = core.lifeline
    core.end()
    with (tmp_path / "other").open("wb") as other:
        os.dup2(other.fileno(), number)
        try:
            core.keep_alive()
            core.end()
            assert (tmp_path / "other").read_bytes() == b""
            os.fstat(number)  # nor closed under its new owner
        finally:
            os.close(number)


def test_garbage_among_the_events_does_no_harm(run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:2", "garbage", "steps:2", "model", "partial")
    after = carry_out()
    assert (after.state, metric_series(after)["step"]) == ("succeeded", [1, 2, 3, 4])
    assert RunLine.objects.filter(run=run, level="warning").count() >= 4


def test_a_failure_is_told_in_the_cores_own_words(run: Run, fake_core: Any) -> None:
    fake_core("started", "fail:data")
    after = carry_out()
    assert (after.state, after.reason, after.message) == ("failed", "data", "It is the data: correct it.")


def test_an_unknown_reason_is_a_crash(run: Run, fake_core: Any) -> None:
    fake_core("fail:whatever")
    assert carry_out().reason == "crash"


@pytest.mark.parametrize(("words", "said"), [(("exit:3",), "exit code 3"), (("exit:0",), "without a result")])
def test_an_end_without_a_word_shows_the_log(run: Run, fake_core: Any, words: tuple[str, ...], said: str) -> None:
    fake_core("log:Traceback of something", *words)
    after = carry_out()
    assert (after.state, after.reason) == ("failed", "crash")
    assert said in after.message and "Traceback of something" in after.message


def test_a_result_that_is_not_what_it_says_is_not_published(run: Run, fake_core: Any) -> None:
    fake_core("started", "lie")
    after = carry_out()
    assert (after.state, Model.objects.count()) == ("failed", 0)
    assert "could not be published" in after.message


def test_a_core_killed_from_outside_goes_on_from_its_checkpoint(run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:3", "checkpoint", "steps:2", "kill:9")
    after = carry_out()
    assert (after.state, after.lost_count) == ("queued", 1)
    fake_core("started", "steps:2", "model")
    after = carry_out()
    assert (after.state, after.attempt, after.step) == ("succeeded", 2, 5)
    assert Attempt.objects.get(run=run, number=2).resumed_from == 3
    assert metric_series(after)["step"] == [1, 2, 3, 4, 5]


def test_a_core_killed_for_memory_is_not_tried_again(run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([3, 4, 4, 4])
    monkeypatch.setattr("training.memory.kill_count", lambda: next(counts))
    fake_core("started", "kill:9")
    after = carry_out()
    assert (after.state, after.reason) == ("failed", "memory")
    assert "micro_batch_tokens" in after.message


def test_a_crash_by_signal_is_told(run: Run, fake_core: Any) -> None:
    fake_core("kill:11")
    after = carry_out()
    assert (after.state, after.reason) == ("failed", "crash")
    assert "signal 11" in after.message


def test_a_damaged_checkpoint_is_passed_over(run: Run, fake_core: Any) -> None:
    fake_core("started", "steps:2", "checkpoint", "steps:2", "checkpoint", "kill:9")
    carry_out()
    newest = Checkpoint.objects.get(run=run, step=4)
    (files.checkpoint_path(newest) / "state.json").write_text("{}")
    fake_core("started", "steps:1", "model")
    after = carry_out()
    assert (after.state, after.step) == ("succeeded", 3)
    assert RunLine.objects.filter(run=run, text__contains="step 4 is gone or damaged").exists()


def test_cancelling_stops_the_core_and_all_it_started(run: Run, ada: Membership, fake_core: Any) -> None:
    fake_core("deaf", "started", "child", "steps:3", "hang")
    meanwhile = Meanwhile()
    meanwhile.until_step(3)
    asked = time.monotonic()
    assert run_cancel(run=run, by=ada).state == RunState.CANCELLING
    after = meanwhile.end(60)
    assert time.monotonic() - asked < 60  # promised in 10 s; here other tests share the machine
    assert after.state == "cancelled"
    child = int((meanwhile.folder / "child.pid").read_text())
    wait_for(gone(core_pid(meanwhile.folder)), what="the core's end")
    wait_for(gone(child), what="its child's end")


def test_pausing_saves_and_resuming_goes_on(run: Run, ada: Membership, fake_core: Any) -> None:
    fake_core("polite", "started", "steps:3", "hang")
    meanwhile = Meanwhile()
    meanwhile.until_step(3)
    run_pause(run=run, by=ada)
    after = meanwhile.end()
    assert (after.state, after.lost_count) == ("paused", 0)
    assert run_claim(queue="gpu", worker="w") is None
    run_resume(run=run, by=ada)
    fake_core("started", "steps:2", "model")
    after = carry_out()
    assert (after.state, metric_series(after)["step"]) == ("succeeded", [1, 2, 3, 4, 5])


def test_a_core_deaf_to_the_request_to_stop_is_killed_after_the_grace(
    run: Run, ada: Membership, fake_core: Any, settings: Any
) -> None:
    settings.RUN_STOP_SECONDS = 1
    fake_core("deaf", "started", "steps:1", "hang")
    meanwhile = Meanwhile()
    meanwhile.until_step(1)
    run_pause(run=run, by=ada)
    after = meanwhile.end()
    assert after.state == "paused"
    assert "after the time it had to save" in after.message


def test_a_worker_that_shuts_down_hands_its_run_back(run: Run, fake_core: Any) -> None:
    fake_core("polite", "started", "steps:2", "hang")
    meanwhile = Meanwhile()
    meanwhile.until_step(2)
    meanwhile.stopping.set()
    after = meanwhile.end()
    assert (after.state, after.lost_count, after.lease_until) == ("queued", 0, None)
    assert Checkpoint.objects.get(run=run).step == 2


def test_a_lost_lease_kills_the_core_and_nothing_more_is_written(run: Run, fake_core: Any) -> None:
    fake_core("deaf", "started", "steps:2", "sleep:4", "steps:5", "model")
    meanwhile = Meanwhile()
    meanwhile.until_step(2)
    pid = core_pid(meanwhile.folder)
    taken_by_another(run)  # as if another worker had claimed it
    meanwhile.thread.join(20)
    wait_for(gone(pid), what="the core's end")
    after = Run.objects.get(pk=run.pk)
    assert (after.state, after.attempt, after.step) == ("running", 2, 2)
    assert Model.objects.count() == 0


def test_a_supervisor_without_database_kills_its_core_when_the_lease_ends(
    run: Run, fake_core: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    from training import supervisor

    settings.RUN_LEASE_SECONDS = 3
    fake_core("deaf", "started", "steps:1", "hang")
    meanwhile = Meanwhile()
    meanwhile.until_step(1)
    pid = core_pid(meanwhile.folder)

    def away(**_: Any) -> None:
        raise OperationalError("the database is away")

    for name in ("run_extend_lease", "run_state", "run_record", "run_hand_back", "run_lost", "run_fail"):
        monkeypatch.setattr(supervisor, name, away)
    meanwhile.thread.join(15)
    assert not is_alive(pid)
    wait_for(lambda: reap_lost_leases() == 1, what="the reaper")
    assert Run.objects.get(pk=run.pk).state == "queued"


def test_a_supervisor_that_was_held_up_too_long_gives_its_run_back(
    run: Run, fake_core: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    from training import supervisor

    settings.RUN_LEASE_SECONDS = 2
    fake_core("deaf", "started", "steps:1", "hang")
    meanwhile = Meanwhile()
    meanwhile.until_step(1)

    def slow(**_: Any) -> None:
        raise OperationalError("database is locked")

    for name in ("run_extend_lease", "run_state"):
        monkeypatch.setattr(supervisor, name, slow)
    after = meanwhile.end()
    assert (after.state, after.lost_count) == ("queued", 1)
    assert "did not answer in time" in after.message


def test_a_database_that_comes_back_in_time_has_lost_nothing(
    run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    from training import supervisor

    fake_core("started", "steps:3", "sleep:1.5", "steps:3", "model")
    real, refusals = supervisor.run_record, iter(range(3))

    def shaky(**values: Any) -> None:
        if next(refusals, None) is not None:
            raise OperationalError("the database is away")
        real(**values)

    monkeypatch.setattr(supervisor, "run_record", shaky)
    after = carry_out()
    assert (after.state, metric_series(after)["step"]) == ("succeeded", [1, 2, 3, 4, 5, 6])


def test_a_stale_attempt_publishes_nothing(run: Run, fake_core: Any) -> None:
    """It has a whole model in its folder, and the run has gone to another attempt."""
    fake_core("started", "steps:17", "model")
    claimed = run_claim(queue="gpu", worker="first")
    assert claimed is not None
    from training.launcher import Core, lay_out

    layout = lay_out(claimed)
    core = Core.of(claimed, layout)
    core.process.wait(60)
    core.end()
    said = json.loads(layout.events.read_text().splitlines()[-1])
    taken_by_another(run)
    with pytest.raises(LeaseLost):
        run_succeed(fence=Fence(run.pk, 1), stage="pretrain", sha256=said["sha256"], result={})
    after = Run.objects.get(pk=run.pk)
    assert (after.state, after.output) == ("running", None)
    assert not Model.objects.exists() and not Artifact.objects.filter(kind="model").exists()
    assert not (files.root() / "model" / said["sha256"]).exists()
    assert (layout.folder / "model").is_dir()
    assert not MetricChunk.objects.exists()


def test_the_core_sees_none_of_our_secrets(run: Run, fake_core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "AWS_SECRET_ACCESS_KEY", "SOMEONES_PASSWORD"):
        monkeypatch.setenv(name, "secret-value")
    fake_core("environment", "exit:1")
    carry_out()
    seen = json.loads((files.attempt_folder(run.pk, 1) / "environment.json").read_text())
    assert "secret-value" not in seen.values()
    assert not any("SECRET" in name or "DATABASE" in name or "DJANGO" in name for name in seen)
    assert seen["OMP_NUM_THREADS"] == "1"
    assert seen["PATH"] == os.environ["PATH"]


def test_a_changed_input_is_refused_before_the_first_step(run: Run) -> None:
    """By the real core: the snapshot's file is not what the run was given."""
    snapshot = run.inputs.get(name="train").snapshot
    path = files.path_of(snapshot.artifact) / "train.jsonl"
    path.write_text(path.read_text() + '{"text": "smuggled in"}\n')
    after = carry_out()
    assert (after.state, after.reason, after.step) == ("failed", "data", 0)
    assert "hash differs" in after.message


def test_a_failed_run_is_retried_where_it_stopped(run: Run, ada: Membership, fake_core: Any) -> None:
    fake_core("started", "steps:4", "checkpoint", "fail:numerics")
    assert carry_out().reason == "numerics"
    run_retry(run=run, by=ada)
    fake_core("started", "steps:1", "model")
    after = carry_out()
    assert (after.state, after.step, after.reason, after.message) == ("succeeded", 5, "", "")


def test_two_attempts_may_write_the_same_checkpoint(run: Run, fake_core: Any) -> None:
    """Deterministic training writes the same bytes again; each attempt keeps its own files."""
    fake_core("started", "steps:2", "checkpoint", "steps:2", "checkpoint", "kill:9")
    carry_out()
    Checkpoint.objects.filter(run=run, step=4).update(attempt=9)  # as if the newest had been lost
    fake_core("started", "steps:2", "checkpoint", "kill:9")
    carry_out()
    steps = Checkpoint.objects.filter(run=run, attempt__lt=9).order_by("attempt", "step").values_list("attempt", "step")
    assert list(steps) == [(1, 2), (2, 4)]
    fake_core("started", "model")
    assert carry_out().state == "succeeded"
    assert not Artifact.objects.filter(kind="checkpoint").exists()
