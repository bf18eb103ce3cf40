"""Going back: a failed or paused run goes on from a checkpoint that someone chose; a cancelled one lives on in a copy.

A run that failed or is paused is the same run still, so it goes on from any of its checkpoints. A cancelled run is
over: whoever cancelled it was promised that it does not come back, and the audit log says so. Its checkpoints may begin
a new run, with a name and a history of its own. A run that succeeded has its model, and keeps no checkpoints.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from annotation import store
from annotation.services import audit
from annotation.services.audit import Actor
from training import files
from training.errors import RunError
from training.models import Checkpoint, Run, RunState
from training.services import transitions
from training.services.runs import free_name, read, refuse_unless, run_create
from training.services.transitions import Transition, change
from training.services.wake import wake_after_commit

HASHED_HERE_BYTES = 1024**3
GOES_ON = {RunState.FAILED: transitions.RETRY, RunState.PAUSED: transitions.RESUME}


def run_go_on_from(*, run: Run, checkpoint: Checkpoint, by: Actor | None) -> Run:
    """Queue a failed or paused run again, from this checkpoint. Later ones are set aside, not deleted.

    Raises RunError where the run is in another state, FileStoreError where the checkpoint is gone or damaged.
    """
    own(run, checkpoint)
    if RunState(run.state) not in GOES_ON:
        return refuse_unless(read(run))
    check_files(checkpoint)
    return go_on(run, checkpoint, GOES_ON[RunState(run.state)], by)


@transaction.atomic
def go_on(run: Run, checkpoint: Checkpoint, transition: Transition, by: Actor | None) -> Run:
    cleared: dict[str, Any] = {
        **{"reason": "", "message": "", "lost_count": 0, "ended_at": None},
        "step": checkpoint.step,
    }
    if not change(run.pk, transition, by=by, why=f"from the checkpoint at step {checkpoint.step}", **cleared):
        return refuse_unless(read(run))
    later = Q(step__gt=checkpoint.step) | Q(step=checkpoint.step, attempt__gt=checkpoint.attempt)
    run.checkpoints.filter(later).update(set_aside=True)
    run.checkpoints.filter(pk=checkpoint.pk).update(set_aside=False)
    wake_after_commit(run.queue)
    return read(run)


def run_copy_from(*, run: Run, checkpoint: Checkpoint, by: Actor | None) -> Run:
    """A new run with everything of this one, that begins at the checkpoint. For a run that was cancelled.

    Raises RunError, FileStoreError.
    """
    own(run, checkpoint)
    if run.state != RunState.CANCELLED:
        raise RunError(
            _("%(run)s is %(state)s: only a cancelled run needs a copy to go on from.")
            % {"run": run.name, "state": run.get_state_display().lower()}
        )
    check_files(checkpoint)
    return copy_of(run, checkpoint, by)


@transaction.atomic
def copy_of(run: Run, checkpoint: Checkpoint, by: Actor | None) -> Run:
    inputs = {
        item.name: item.model or item.snapshot for item in run.inputs.select_related("model__artifact", "snapshot")
    }
    copy = run_create(
        project=run.project,
        stage=run.stage,
        config=run.config,
        inputs={name: value for name, value in inputs.items() if value is not None},
        by=by,
        name=free_name(run.project, run.stage, None),
        seed=run.seed,
        round=run.round,
        priority=run.priority,
        numerics=run.numerics,
        then=run.then,
        queue=run.queue,
        cloned_from=run,
    )
    begin_at(copy, checkpoint)
    audit.record(
        project=run.project, by=by, verb="run.copy", target=copy, copied_from=str(run.pk), step=checkpoint.step
    )
    return copy


def begin_at(copy: Run, checkpoint: Checkpoint) -> None:
    """Give the copy the checkpoint as its attempt 0, which no worker ever makes."""
    row = Checkpoint(run=copy, attempt=0, step=checkpoint.step, artifact=checkpoint.artifact)
    source, target = files.checkpoint_path(checkpoint), files.checkpoint_path(row)
    if store.is_remote():
        store.copy(files.key_of(source), files.key_of(target))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        link_tree(source, target)
    row.save()
    Run.objects.filter(pk=copy.pk).update(step=checkpoint.step, total_steps=checkpoint.run.total_steps)


def link_tree(source: Path, target: Path) -> None:
    """The same files under a second name, where the disk can; a copy where it can't. Nobody writes to a checkpoint."""
    shutil.copytree(source, target, copy_function=link_or_copy)
    files.sync_tree(target)


def link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def own(run: Run, checkpoint: Checkpoint) -> None:
    if checkpoint.run_id != run.pk:
        raise RunError(_("This checkpoint belongs to another run."))


def check_files(checkpoint: Checkpoint) -> None:
    """By its hash; a large one by its size, so that nobody waits: the worker looks at its hash before it starts."""
    what = _("The checkpoint at step %(step)s") % {"step": checkpoint.step}
    path = files.checkpoint_path(checkpoint)
    if store.is_remote():
        return store.check(files.key_of(path), checkpoint.artifact.sha256)
    large = checkpoint.artifact.size > HASHED_HERE_BYTES
    if not large or not path.exists() or files.size_of(path) != checkpoint.artifact.size:
        files.verify(path, checkpoint.artifact.sha256, what)
