"""What an attempt tells becomes rows: whole batches, of the attempt that holds the run and of no other."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from tests.factories import ProjectFactory, RunFactory
from tests.training.conftest import taken_by_another
from training import metrics
from training.events import Event, parse
from training.models import Attempt, Checkpoint, MetricChunk, Run, RunLine, RunSample
from training.selectors.runs import lines_of, metric_series, sample_steps, samples_of, superseded
from training.services.claims import Fence, LeaseLost, run_claim
from training.services.recording import run_record


def metric(step: int, **values: float) -> Event:
    return Event("metrics", {"step": step, "metrics": values or {"loss/train": 1.0 / (step + 1)}})


def sample(step: int, text: str) -> Event:
    return Event("sample", {"step": step, "prompt": "?", "response": text, "score": 0.5, "tokens": 2, "ended": True})


@pytest.fixture
def fence(run: Run) -> Fence:
    assert run_claim(queue="gpu", worker="w") is not None
    return Fence(run.pk, 1)


def stale(run: Run) -> Fence:
    """A fence whose run another attempt has taken since."""
    taken_by_another(run)
    Attempt.objects.create(run=run, number=2, worker="other")
    return Fence(run.pk, 1)


def test_progress_metrics_and_samples_land(run: Run, fence: Fence) -> None:
    started = Event("started", {"total_steps": 10, "device": "cpu", "versions": {"torch": "2"}, "code_version": "c"})
    data = Event("data", {"split": "train", "kept": 5, "filtered": 2, "reasons": {"too long": 2}})
    run_record(fence=fence, events=[started, data, metric(1, a=1.0), metric(2, a=2.0, b=3.0), sample(2, "x")])
    run_record(fence=fence, events=[metric(3, a=5.0), sample(3, "y"), sample(3, "z")])
    run.refresh_from_db()
    assert (run.step, run.total_steps) == (3, 10)
    assert run.latest_metrics == {"a": 5.0, "b": 3.0}
    assert run.data_report == [{"split": "train", "kept": 5, "filtered": 2, "reasons": {"too long": 2}}]
    assert metric_series(run) == {"step": [1, 2, 3], "a": [1.0, 2.0, 5.0], "b": [None, 3.0, None]}
    assert [(row.step, row.index, row.response) for row in samples_of(run)] == [(3, 0, "y"), (3, 1, "z"), (2, 0, "x")]
    assert [line.text for line in lines_of(run)] == [
        "Started on cpu.",
        "train: 5 rows used, 2 left out: 2 × too long.",
    ]
    assert Attempt.objects.get(run=run).versions["device"] == "cpu"


def test_an_attempt_that_is_loading_does_not_look_as_if_all_was_lost(run: Run, fence: Fence) -> None:
    run_record(fence=fence, events=[Event("started", {"total_steps": 10}), metric(7)])
    run_record(fence=fence, events=[Event("progress", {"step": 0, "phase": "reading the corpus"})])
    run.refresh_from_db()
    assert (run.step, run.phase) == (7, "reading the corpus")
    run_record(fence=fence, events=[Event("started", {"resumed_from": 0})])
    run.refresh_from_db()
    assert run.step == 0, "it did begin anew"


def test_one_batch_adds_to_the_open_chunk(run: Run, fence: Fence) -> None:
    for step in range(1, 6):
        run_record(fence=fence, events=[metric(step)])
    assert MetricChunk.objects.filter(run=run).count() == 1


def test_a_stale_attempt_writes_nothing(run: Run, fence: Fence) -> None:
    with pytest.raises(LeaseLost):
        run_record(fence=stale(run), events=[metric(1), sample(1, "x"), Event("failed", {"message": "x"})])
    run.refresh_from_db()
    assert (run.step, run.latest_metrics) == (0, {})
    for table in (MetricChunk, RunSample, RunLine, Checkpoint):
        assert not table.objects.filter(run=run).exists()


def test_a_run_that_is_over_takes_nothing_more(run: Run, fence: Fence) -> None:
    from training.services.publishing import run_fail

    run_fail(fence=fence, reason="crash", message="it broke")
    with pytest.raises(LeaseLost):
        run_record(fence=fence, events=[metric(1)])


def test_a_batch_lands_whole_or_not_at_all(run: Run, fence: Fence, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr("training.services.recording.record_samples", fail)
    with pytest.raises(RuntimeError):
        run_record(fence=fence, events=[metric(1), sample(1, "x")])
    run.refresh_from_db()
    assert (run.step, MetricChunk.objects.count()) == (0, 0)


def test_events_that_make_no_sense_are_taken_in_stride(run: Run, fence: Fence) -> None:
    lines = [
        b'{"event": "metrics", "step": -4, "metrics": {"a": "x"}}',
        b'{"event": "metrics", "step": "many"}',
        b'{"event": "sample", "step": 1, "prompt": 7, "response": "a \\u0000 \\ud800", "score": "no"}',
        b'{"event": "checkpoint", "step": 5, "path": "/etc", "sha256": 7, "size": -1}',
        b'{"event": "data", "split": null, "reasons": 3}',
        b'{"event": "started", "versions": 3, "total_steps": null}',
    ]
    run_record(fence=fence, events=[parse(line) for line in lines])
    assert RunSample.objects.get(run=run).response == "a � ?"
    assert not Checkpoint.objects.exists()
    assert RunLine.objects.filter(level="warning", text__contains="could not be read").count() == 2


def test_long_runs_are_read_in_few_points(run: Run, fence: Fence) -> None:
    for start in range(0, 5000, 500):
        run_record(fence=fence, events=[metric(step, a=float(step)) for step in range(start + 1, start + 501)])
    assert metric_series(run, points=10_000)["step"] == list(range(1, 5001))
    run.refresh_from_db()
    series = metric_series(run, points=100)
    assert len(series["step"]) <= 101
    assert series["step"][-1] == 5000
    assert series["a"] == sorted(series["a"])
    assert MetricChunk.objects.filter(run=run, level=1).exists()


class Curves(TestCase):
    """Whatever batches the steps come in, the curve is the steps."""

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(1, 700), min_size=1, max_size=5), st.integers(1, 3))
    def test_every_step_once_in_any_batches(self, sizes: list[int], repeated: int) -> None:
        run = RunFactory(state="running", attempt=1, lease_until=timezone.now(), queue="x", project=ProjectFactory())
        fence, step = Fence(run.pk, 1), 0
        for size in sizes:
            events = [metric(number, a=float(number)) for number in range(step + 1, step + size + 1)]
            for _ in range(repeated):  # a batch whose answer was lost is sent again
                run_record(fence=fence, events=events)
            step += size
        run.refresh_from_db()
        assert metric_series(run, points=100_000) == {
            "step": list(range(1, step + 1)),
            "a": [float(number) for number in range(1, step + 1)],
        }
        thinned = metric_series(run, ["a"], points=50)
        assert thinned["step"][-1] == step
        assert sorted(set(thinned["step"])) == thinned["step"]
        assert len(thinned["step"]) <= 52


@given(st.lists(st.tuples(st.integers(0, 30), st.dictionaries(st.sampled_from("abc"), st.floats(-1, 1)))))
def test_columns_hold_what_went_in(points: list[tuple[int, dict[str, float]]]) -> None:
    rising = metrics.rising(points, after=-1)
    columns: metrics.Columns = {"step": []}
    for step, values in rising:
        metrics.append(columns, step, values)
    assert {len(values) for values in columns.values()} == {len(rising)}
    assert metrics.points_of(columns) == rising


def test_resuming_supersedes_the_steps_after_the_checkpoint(run: Run, fence: Fence) -> None:
    run_record(fence=fence, events=[metric(step, a=1.0) for step in range(1, 8)] + [sample(5, "old"), sample(3, "x")])
    taken_by_another(run)
    Attempt.objects.create(run=run, number=2, worker="w")
    second = Fence(run.pk, 2)
    run_record(fence=second, events=[Event("started", {"resumed_from": 4}), metric(5, a=2.0), sample(5, "new")])
    assert metric_series(run) == {"step": [1, 2, 3, 4, 5], "a": [1.0, 1.0, 1.0, 1.0, 2.0]}
    assert [(row.step, row.response) for row in samples_of(run)] == [(5, "new"), (3, "x")]


def test_going_back_shows_no_answers_of_steps_that_are_to_come(run: Run, fence: Fence) -> None:
    run_record(fence=fence, events=[metric(9), sample(0, "before"), sample(4, "early"), sample(8, "late")])
    taken_by_another(run)
    Attempt.objects.create(run=run, number=2, worker="w")
    assert sample_steps(run) == [0, 4, 8]  # it has not started yet, and may never
    run_record(fence=Fence(run.pk, 2), events=[Event("started", {"resumed_from": 4})])
    assert sample_steps(run) == [0, 4]
    assert [row.response for row in samples_of(run)] == ["early", "before"]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=6), st.booleans())
def test_each_step_is_told_once_however_attempts_follow_each_other(
    ways: list[tuple[int, int]], tells_step_0: bool
) -> None:
    """PPO and SFT tell step 0, before the first update; an attempt that was lost at once begins there again."""
    written: dict[int, list[tuple[int, dict[str, float]]]] = {}
    starts: dict[int, int] = {}
    latest: dict[int, float] = {}
    reached = 0
    for attempt, (back, further) in enumerate(ways, start=1):
        start = max(0, reached - back)
        steps = range(start + 1 if start or not tells_step_0 else 0, start + 1 + further)
        starts[attempt] = start
        if steps:
            written[attempt] = [(step, {"a": float(attempt)}) for step in steps]
            latest = {step: value for step, value in latest.items() if step < steps[0]}
            latest |= dict.fromkeys(steps, float(attempt))
            reached = steps[-1]
    assert superseded(written, starts) == [(step, {"a": value}) for step, value in latest.items()]


def test_curves_take_the_same_queries_however_long(run: Run, fence: Fence, django_assert_num_queries: Any) -> None:
    for start in range(0, 3000, 300):
        run_record(fence=fence, events=[metric(step) for step in range(start + 1, start + 301)])
    with django_assert_num_queries(3):
        metric_series(run)
