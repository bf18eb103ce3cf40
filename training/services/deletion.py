"""Deleting a run, with all that hangs on it and nothing that a label hangs on.

Rows go in one transaction. Files are moved aside after it and removed a day later, so that a restore of the database
from an hour ago still finds them; an object store keeps them where they are for that day.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.models import Assignment, Response, Task, TaskResponse
from annotation.services import audit
from annotation.services.audit import Actor
from training import files
from training.errors import RunError
from training.models import Artifact, Model, Round, Run
from training.selectors.dependents import Dependents, dependents_of, responses_of, tasks_of
from training.services.removals import remove_from_store


@transaction.atomic
def run_delete(*, run: Run, name: str, by: Actor) -> Dependents:
    """Delete a run that is over. `name` is what the person typed to confirm. Raises RunError with what forbids it."""
    locked = Run.objects.select_for_update().select_related("project").get(pk=run.pk)
    if name.strip() != locked.name:
        raise RunError(_("Type the run's name, %(name)s, to delete it.") % {"name": locked.name})
    found = dependents_of(locked)
    if not found.may_go:
        raise RunError(" ".join(obstacle.words for obstacle in found.obstacles))
    audit.record(
        project=locked.project,
        by=by,
        verb="run.delete",
        target=locked,
        name=locked.name,
        stage=locked.stage,
        model=found.model.name if found.model else "",
        model_sha256=found.model.artifact.sha256 if found.model else "",
        responses=found.responses,
        tasks=found.tasks,
        config_hash=locked.config_hash,
    )
    artifacts = artifacts_of(locked, found)
    delete_tasks(locked)
    forget_in_rounds(locked)
    responses = list(responses_of(locked).values_list("pk", flat=True))
    Response.objects.filter(pk__in=responses).delete()
    Model.objects.filter(run=locked).delete()
    folder = files.run_folder(locked.pk)
    locked.delete()
    unused = delete_unused(artifacts)
    remove_from_store([folder, *(files.below(files.root(), key) for key in unused)], seconds=files.ASIDE_SECONDS)
    transaction.on_commit(partial(move_aside, folder, unused))
    return found


def artifacts_of(run: Run, found: Dependents) -> set[int]:
    ids = set(run.checkpoints.values_list("artifact_id", flat=True))
    ids |= {found.model.artifact_id} if found.model else set()
    return ids | ({run.output_id} if run.output_id else set())


def delete_tasks(run: Run) -> None:
    """Tasks that show its answers, none of them with a label, nor in anyone's hands."""
    tasks = list(tasks_of(run).values_list("pk", flat=True))
    Assignment.objects.filter(task__in=tasks).delete()
    TaskResponse.objects.filter(task__in=tasks).delete()
    Task.objects.filter(pk__in=tasks).delete()


def forget_in_rounds(run: Run) -> None:
    Round.objects.filter(sampling_run=run).update(sampling_run=None)
    Round.objects.filter(policy__run=run).update(policy=None)
    Round.objects.filter(reward_model__run=run).update(reward_model=None)


def delete_unused(ids: Iterable[int]) -> list[str]:
    """Delete the artifacts that nothing else uses; their keys. The same bytes may belong to two runs."""
    unused = Artifact.objects.filter(pk__in=list(ids), models=None, snapshots=None, runs=None, checkpoints=None)
    keys = {artifact.pk: artifact.storage_key for artifact in unused}
    Artifact.objects.filter(pk__in=keys).delete()
    return list(keys.values())


def move_aside(folder: Path, keys: Iterable[str]) -> None:
    """Out of the way now, gone when `clear_aside` comes by. What another run published meanwhile stays."""
    known = set(Artifact.objects.filter(storage_key__in=list(keys)).values_list("storage_key", flat=True))
    paths = [files.below(files.root(), key) for key in keys if key not in known]
    for path in [folder, *paths]:
        if path.exists():
            path.rename(files.fresh_folder() / path.name)
