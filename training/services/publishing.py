"""How an attempt ends: its result gets its name in the file store and its row, and the run succeeds, all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import transaction

from annotation.models import Project
from annotation.services.responses import responses_add
from annotation.services.tasks import ranking_tasks_create, sampled_groups
from training import files, model_files
from training.events import numbers
from training.models import Artifact, ArtifactKind, Model, ModelKind, Round, Run, RunState, Stage
from training.rlhf.config import POLICIES
from training.services import transitions
from training.services.claims import Fence, LeaseLost, end_attempt
from training.services.recording import forget_checkpoints
from training.services.removals import remove_from_store
from training.services.transitions import change

# (what the core leaves in its folder, what it becomes), by stage; the core's own word for the path is not needed.
RESULTS: dict[str, tuple[str, ArtifactKind]] = {
    Stage.PRETRAIN: ("model", ArtifactKind.MODEL),
    Stage.SFT: ("model", ArtifactKind.MODEL),
    Stage.REWARD: ("model", ArtifactKind.MODEL),
    Stage.PPO: ("model", ArtifactKind.MODEL),
    Stage.DPO: ("model", ArtifactKind.MODEL),
    Stage.RLOO: ("model", ArtifactKind.MODEL),
    Stage.SAMPLE: ("responses.jsonl", ArtifactKind.RESPONSES),
    Stage.EVALUATE: ("report.json", ArtifactKind.REPORT),
}


def run_succeed(*, fence: Fence, stage: str, sha256: str, result: Any) -> None:
    """Publish what the attempt made and end the run. Raises LeaseLost, FileStoreError, or a refusal in words.

    The hash is checked before the transaction, since a large model takes a while; so is it brought to the store.
    """
    name, kind = RESULTS[stage]
    path = files.attempt_folder(fence.run_id, fence.attempt) / name
    check_result(path, kind, sha256)
    if path.exists():
        files.send(path, kind, sha256)
    publish(fence, path, kind, sha256, numbers(result))
    delete_checkpoints(fence)


def check_result(path: Path, kind: ArtifactKind, sha256: str) -> None:
    """Where an earlier try has moved it already, the store's copy is the one to check."""
    published = files.root() / kind.value / f"{sha256}{path.suffix}"
    files.verify(published if published.exists() and not path.exists() else path, sha256, "The run's result")


@transaction.atomic
def publish(fence: Fence, path: Path, kind: ArtifactKind, sha256: str, result: dict[str, float]) -> None:
    if not change(fence.run_id, transitions.SUCCEED, of_attempt=fence.attempt, result=result, message=""):
        raise LeaseLost
    artifact = files.publish(path=path, kind=kind, sha256=sha256)
    Run.objects.filter(pk=fence.run_id).update(output=artifact)
    run = Run.objects.select_related("project", "round", "created_by").get(pk=fence.run_id)
    if kind == ArtifactKind.MODEL:
        publish_model(run, artifact)
    elif kind == ArtifactKind.RESPONSES:
        publish_responses(run, artifact)
    elif kind == ArtifactKind.REPORT:
        Run.objects.filter(pk=run.pk).update(result=result | read_report(artifact))
    end_attempt(fence, "finished")


def publish_model(run: Run, artifact: Artifact) -> Model:
    folder = files.path_of(artifact)
    config = model_files.read_config(folder)
    model = Model.objects.create(
        project=run.project,
        kind=ModelKind.REWARD_MODEL if run.stage == Stage.REWARD else ModelKind.POLICY,
        name=free_model_name(run.project, run.name),
        run=run,
        artifact=artifact,
        card=model_files.read_card(folder),
        parameters=model_files.count_parameters(model_files.weight_files(folder)),
        context_length=model_files.context_length(config),
        created_by=run.created_by,
    )
    if run.round and run.stage == Stage.REWARD:
        Round.objects.filter(pk=run.round.pk).update(reward_model=model)
    return model


def free_model_name(project: Project, wanted: str) -> str:
    """The run's own name, or with a number where another model has it. One at a time: the project's row is locked."""
    Project.objects.select_for_update().get(pk=project.pk)
    taken = set(Model.objects.filter(project=project).values_list("name", flat=True))
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted[:110]}-{number}"
    return name


def publish_responses(run: Run, artifact: Artifact) -> None:
    """Each answer names the input whose policy wrote it."""
    path = files.path_of(artifact)
    added = 0
    for item in run.inputs.filter(name__in=POLICIES).select_related("model__artifact"):
        assert item.model is not None
        rows = (row for row in read_rows(path) if row.get("policy", POLICIES[0]) == item.name)
        added += responses_add(run=run, model=item.model, rows=rows)
    made = samples_to_tasks(run=run) if run.then.get("rank") else 0
    Run.objects.filter(pk=run.pk).update(result=run.result | {"responses": added, "ranking_tasks": made})


def samples_to_tasks(*, run: Run) -> int:
    """Make ranking tasks of a sampling run's answers, as the run asked or by the project's settings."""
    asked = run.then.get("rank") or {}
    return ranking_tasks_create(
        project=run.project,
        groups=sampled_groups(run, asked.get("k")),
        by=run.created_by,
        purpose=asked.get("purpose", ""),
        round=run.round,
        overlap=asked.get("overlap"),
        priority=asked.get("priority", 0),
    )


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.strip():
                yield json.loads(line)


def read_report(artifact: Artifact) -> dict[str, Any]:
    """The report without its lists, one row a ranking or a prompt: those stay in the file."""
    report = json.loads(files.path_of(artifact).read_text(encoding="utf-8"))
    found = report.items() if isinstance(report, dict) else ()
    return {name: value for name, value in found if not isinstance(value, list)}


def delete_checkpoints(fence: Fence) -> None:
    """A finished run has its model; its checkpoints, many times larger, go."""
    run = Run.objects.get(pk=fence.run_id)
    folders = [files.attempt_folder(run.pk, attempt) / "checkpoints" for attempt in range(run.attempt + 1)]
    with transaction.atomic():
        forget_checkpoints(list(run.checkpoints.all()))
        remove_from_store(folders)
    for folder in folders:
        files.remove(folder)


def clear_finished_runs() -> None:
    """The same for runs whose worker died between publishing and deleting."""
    for run in Run.objects.filter(state=RunState.SUCCEEDED, checkpoints__isnull=False).distinct():
        delete_checkpoints(Fence(run.pk, run.attempt))


@transaction.atomic
def run_fail(*, fence: Fence, reason: str, message: str) -> None:
    """End the run as failed, with the reason and what a person can do. Raises LeaseLost."""
    if not change(
        fence.run_id, transitions.FAIL, of_attempt=fence.attempt, why=message[:500], reason=reason, message=message
    ):
        raise LeaseLost
    end_attempt(fence, "failed", message)


@transaction.atomic
def run_cancelled(*, fence: Fence) -> None:
    """Say that a run that was being cancelled has stopped. Raises LeaseLost."""
    if not change(fence.run_id, transitions.CANCELLED, of_attempt=fence.attempt):
        raise LeaseLost
    end_attempt(fence, "cancelled")
