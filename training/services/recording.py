"""What an attempt tells, written in batches: each lands whole, and only while the attempt holds the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from django.db import transaction

from training import files, metrics
from training.events import Event, messages, numbers, whole
from training.models import (
    HELD,
    Artifact,
    ArtifactKind,
    Attempt,
    Checkpoint,
    MetricChunk,
    Run,
    RunLine,
    RunSample,
)
from training.rlhf.config import StageConfig, best_metric, config_from_dict
from training.services.claims import Fence, LeaseLost
from training.services.notices import notice_of_trouble
from training.services.removals import remove_from_store

PROBLEMS = ("disk", "store")  # which a note names: the run goes on, and someone should look


@transaction.atomic
def run_record(*, fence: Fence, events: Sequence[Event]) -> None:
    """Write a batch of the core's events. Raises LeaseLost, and then nothing of the batch is written."""
    told = [(event.step, numbers(event.fields.get("metrics"))) for event in of(events, "metrics")]
    points = [(step, values) for step, values in told if values]
    hold(fence, **progress_of(events))
    record_start(fence, events)
    record_latest(fence, points)
    record_metrics(fence, points)
    record_samples(fence, of(events, "sample"))
    record_checkpoints(fence, of(events, "checkpoint"))
    lines = [line for event in events if (line := line_of(event))]
    RunLine.objects.bulk_create(
        RunLine(run_id=fence.run_id, attempt=fence.attempt, level=level, text=text) for level, text in lines
    )
    tell_of_troubles(fence, of(events, "note"))


@transaction.atomic
def run_say(*, fence: Fence, text: str, level: str = "info", problem: str = "") -> None:
    """Add a line to the run's log; of a problem, people are told too. Raises LeaseLost."""
    hold(fence)
    RunLine.objects.create(run_id=fence.run_id, attempt=fence.attempt, level=level, text=text)
    if problem:
        notice_of_trouble(run_id=fence.run_id, attempt=fence.attempt, problem=problem, words=text)


def hold(fence: Fence, **values: Any) -> None:
    """Take the run's row for this transaction, if this attempt still holds it. Raises LeaseLost.

    An UPDATE even where there is nothing to set: it locks the row, so that nobody takes the run before the commit.
    """
    held = Run.objects.filter(pk=fence.run_id, attempt=fence.attempt, state__in=HELD)
    if not held.update(**(values or {"attempt": fence.attempt})):
        raise LeaseLost


def of(events: Iterable[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


def progress_of(events: Sequence[Event]) -> dict[str, Any]:
    """The run's own columns, as the last events have them."""
    values: dict[str, Any] = {}
    for event in events:
        if event.kind in {"metrics", "progress", "started"}:
            values["phase"] = str(event.fields.get("phase") or "")[:40]
        if event.kind == "metrics" or (event.kind == "progress" and event.step):
            # A sign of life before "started" has step 0, whatever checkpoint the attempt is about to go on from.
            values["step"] = event.step
        if event.kind == "started":
            values["step"] = whole(event.fields.get("resumed_from"))
        if event.kind in {"progress", "started"} and (total := whole(event.fields.get("total_steps"))):
            values["total_steps"] = total
    return values


def record_start(fence: Fence, events: Sequence[Event]) -> None:
    for event in of(events, "started"):
        fields = event.fields
        told = fields.get("versions")
        versions = dict(told) if isinstance(told, dict) else {}
        versions |= {"code": fields.get("code_version"), "device": fields.get("device")}
        say_where_versions_differ(fence, versions)
        Attempt.objects.filter(run_id=fence.run_id, number=fence.attempt).update(
            resumed_from=whole(fields.get("resumed_from")), versions=versions
        )
    if reports := of(events, "data"):
        known = Run.objects.values_list("data_report", flat=True).get(pk=fence.run_id)
        fresh = [{key: value for key, value in event.fields.items() if key != "time"} for event in reports]
        splits = {report.get("split") for report in fresh}
        kept = [report for report in known if report.get("split") not in splits]
        Run.objects.filter(pk=fence.run_id).update(data_report=kept + fresh)


def say_where_versions_differ(fence: Fence, versions: dict[str, Any]) -> None:
    """A run that goes on under other code ends in the same weights to tolerance only; people should know that."""
    earlier = Attempt.objects.filter(run_id=fence.run_id, number__lt=fence.attempt).exclude(versions={})
    before = earlier.order_by("-number").values_list("versions", flat=True).first()
    changed = sorted(name for name, value in versions.items() if before and before.get(name) != value)
    if changed:
        text = (
            f"This attempt differs from the one before in {', '.join(changed)}: its results are the same to tolerance."
        )
        RunLine.objects.create(run_id=fence.run_id, attempt=fence.attempt, level="warning", text=text)


def tell_of_troubles(fence: Fence, notes: Iterable[Event]) -> None:
    """A note with a problem that we know is for people who do not look at the page just now."""
    for note in notes:
        problem, words = note.fields.get("problem"), str(note.fields.get("message") or "")
        if problem in PROBLEMS:
            notice_of_trouble(run_id=fence.run_id, attempt=fence.attempt, problem=problem, words=words)


def record_latest(fence: Fence, points: Sequence[tuple[int, dict[str, float]]]) -> None:
    """Keep the newest value of each metric at hand; those of the last evaluation stay beside those of the last step."""
    if points:
        latest = Run.objects.values_list("latest_metrics", flat=True).get(pk=fence.run_id)
        for _, values in points:
            latest |= values
        Run.objects.filter(pk=fence.run_id).update(latest_metrics=latest)


def record_metrics(fence: Fence, points: Sequence[tuple[int, dict[str, float]]], level: int = 0) -> None:
    """Append points to the attempt's open chunk of this level; a chunk that fills up passes its thinned points up."""
    points = metrics.rising(points, after=last_step(fence, level))
    while points:
        chunk = open_chunk(fence, points[0][0], level)
        room = metrics.CHUNK_POINTS - len(chunk.columns["step"])
        for step, values in points[:room]:
            metrics.append(chunk.columns, step, values)
        points = points[room:]
        chunk.last_step = chunk.columns["step"][-1]
        chunk.save()
        if len(chunk.columns["step"]) >= metrics.CHUNK_POINTS and level < metrics.HIGHEST_LEVEL:
            record_metrics(fence, metrics.thinned(chunk.columns), level + 1)


def last_step(fence: Fence, level: int) -> int:
    """The last step that this attempt has written at this level; -1 before the first."""
    chunks = MetricChunk.objects.filter(run_id=fence.run_id, attempt=fence.attempt, level=level)
    last = chunks.order_by("-first_step").values_list("last_step", flat=True).first()
    return -1 if last is None else last


def open_chunk(fence: Fence, first_step: int, level: int) -> MetricChunk:
    """The attempt's last chunk of this level if it has room, else a new one."""
    owner = {"run_id": fence.run_id, "attempt": fence.attempt, "level": level}
    last = MetricChunk.objects.filter(**owner).order_by("-first_step").first()
    if last and len(last.columns["step"]) < metrics.CHUNK_POINTS:
        return last
    return MetricChunk(**owner, first_step=first_step, last_step=first_step, columns={"step": []})


def record_samples(fence: Fence, events: Iterable[Event]) -> None:
    for step, samples in groupby(events, key=lambda event: event.step):
        first = RunSample.objects.filter(run_id=fence.run_id, attempt=fence.attempt, step=step).count()
        RunSample.objects.bulk_create(
            sample_row(fence, step, index, event.fields) for index, event in enumerate(samples, start=first)
        )


def sample_row(fence: Fence, step: int, index: int, fields: dict[str, Any]) -> RunSample:
    score, ended = fields.get("score"), fields.get("ended")
    return RunSample(
        run_id=fence.run_id,
        attempt=fence.attempt,
        step=step,
        index=index,
        prompt=messages(fields.get("prompt")),
        response=str(fields.get("response") or ""),
        score=float(score) if isinstance(score, (int, float)) else None,
        tokens=whole(fields.get("tokens")),
        ended=ended if isinstance(ended, bool) else None,
    )


def record_checkpoints(fence: Fence, events: Sequence[Event]) -> None:
    """Register each checkpoint whose files are there."""
    for event in events:
        checkpoint = Checkpoint(run_id=fence.run_id, attempt=fence.attempt, step=event.step)
        path = files.checkpoint_path(checkpoint)
        sha256 = event.fields.get("sha256")
        if not path.is_dir() or not isinstance(sha256, str) or len(sha256) != 64:
            continue
        artifact = checkpoint_artifact(sha256, whole(event.fields.get("size")), checkpoint)
        value = numbers({"value": event.fields.get("value")}).get("value")
        metric = "" if value is None else str(event.fields.get("metric") or "")[:120]
        Checkpoint.objects.get_or_create(
            run_id=fence.run_id,
            attempt=fence.attempt,
            step=event.step,
            defaults={"artifact": artifact, "metric": metric, "value": value},
        )


def checkpoint_artifact(sha256: str, size: int, checkpoint: Checkpoint) -> Artifact:
    """Two attempts that pass the same step write the same bytes: one artifact, found in the newer room."""
    key = files.checkpoint_path(checkpoint).relative_to(files.root()).as_posix()
    artifact, _ = Artifact.objects.update_or_create(
        kind=ArtifactKind.CHECKPOINT, sha256=sha256, defaults={"size": size, "storage_key": key}
    )
    return artifact


def run_prune_checkpoints(*, fence: Fence, resume: Checkpoint | None) -> None:
    """Delete what the run keeps no longer. Raises LeaseLost.

    Called after the newer ones were registered and committed: rows go first, then files, so that a crash between leaves
    litter in the run's folder, never a row without its files.
    """
    run = Run.objects.get(pk=fence.run_id)
    with transaction.atomic():
        hold(fence)
        gone = superfluous(list(run.checkpoints.all()), run.stage, config_of(run), resume)
        forget_checkpoints(gone)
        remove_from_store(files.checkpoint_path(checkpoint) for checkpoint in gone)
    for checkpoint in gone:
        files.remove(files.checkpoint_path(checkpoint))


def superfluous(
    found: Sequence[Checkpoint], stage: str, config: StageConfig, resume: Checkpoint | None
) -> list[Checkpoint]:
    """All but the newest `keep_checkpoints`, the best, and the one that the running attempt started from.

    One whose files were found damaged, or that someone set aside to go on from an earlier one, counts for nothing and
    is left to people: its step may be higher than what the run has reached since.
    """
    whole = [checkpoint for checkpoint in found if not checkpoint.problem and not checkpoint.set_aside]
    newest = sorted(whole, key=lambda one: (-one.step, -one.attempt))
    kept = {checkpoint.pk for checkpoint in newest[: getattr(config, "keep_checkpoints", 2)]}
    if resume is not None:
        kept.add(resume.pk)
    best = best_metric(stage, config)
    measured = {one.pk: one.value for one in newest if best and one.metric == best[0] and one.value is not None}
    if best and measured:
        kept.add((max if best[1] == "highest" else min)(measured, key=measured.__getitem__))
    return [checkpoint for checkpoint in whole if checkpoint.pk not in kept]


def config_of(run: Run) -> StageConfig:
    return config_from_dict(run.stage, run.config)


def forget_checkpoints(checkpoints: Sequence[Checkpoint]) -> None:
    """Delete the rows, and those artifacts that no other checkpoint shares."""
    artifacts = {checkpoint.artifact_id for checkpoint in checkpoints}
    Checkpoint.objects.filter(pk__in=[checkpoint.pk for checkpoint in checkpoints]).delete()
    Artifact.objects.filter(pk__in=artifacts, kind=ArtifactKind.CHECKPOINT, checkpoints=None).delete()


def line_of(event: Event) -> tuple[str, str] | None:
    """(level, sentence) for the run's log, for events that a person wants to read there."""
    fields = event.fields
    if event.kind == "started":
        resumed = whole(fields.get("resumed_from"))
        where = f" from step {resumed}" if resumed else ""
        return "info", f"Started{where} on {fields.get('device') or 'an unknown device'}."
    if event.kind == "note":
        return ("warning" if fields.get("level") == "warning" else "info"), str(fields.get("message") or "")
    if event.kind == "data":
        return data_line(fields)
    if event.kind == "checkpoint":
        return "info", f"Checkpoint saved at step {event.step}."
    if event.kind == "stopped":
        return "info", f"Stopped at step {event.step}, checkpoint saved."
    if event.kind == "failed":
        return "error", str(fields.get("message") or "Failed without a message.")
    if event.kind == "finished":
        return "info", "Done; publishing the result."
    if event.kind == "garbage":
        return "warning", f"A line of the core's events could not be read: {fields.get('line')}"
    return None


def data_line(fields: dict[str, Any]) -> tuple[str, str]:
    kept, filtered = whole(fields.get("kept")), whole(fields.get("filtered"))
    reasons = fields.get("reasons")
    words = ", ".join(f"{count} × {reason}" for reason, count in reasons.items()) if isinstance(reasons, dict) else ""
    text = f"{fields.get('split') or 'data'}: {kept} rows used"
    if not filtered:
        return "info", text + "."
    return "warning", f"{text}, {filtered} left out{': ' + words if words else ''}."
