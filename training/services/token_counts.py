"""How many tokens a snapshot is for a model, and which rows would not fit: counted by the core as it would train.

Neither the web nor a worker loads a tokenizer. The core encodes the rows as its stages do, so what is told here is what
a run would say of the same rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from annotation.services.audit import Actor
from training import files
from training.errors import JobError
from training.launcher import core_environment
from training.models import Job, JobKind, JobState, Model, ModelKind, Snapshot
from training.services.jobs import job_create, source_of

COMMAND = [sys.executable, "-m", "training.rlhf.lengths"]

Tell = Callable[[int, int], None]


def tokens_ask(*, snapshot: Snapshot, model: Model, context_length: int = 0, room: int = 128, by: Actor | None) -> Job:
    """Have a worker count. The same question twice is one job, as neither rows nor model ever change.

    `context_length` 0 takes the model's own limit; `room` is what prompts leave for an answer. Raises JobError.
    """
    if model.project_id != snapshot.project_id or model.kind != ModelKind.POLICY:
        raise JobError(_("Choose a policy or a base model of this project."))
    own = model.context_length or 0
    if own and context_length > own:
        raise JobError(
            _("%(model)s takes at most %(tokens)s tokens; ask for a context of as many or fewer.")
            % {"model": model.name, "tokens": f"{own:,}"}
        )
    asked = {"model": str(model.pk), "model_name": model.name, "context_length": context_length, "room": room}
    return job_create(snapshot=snapshot, kind=JobKind.TOKENS, asked=asked, by=by)


def tokens_counted(snapshot: Snapshot) -> QuerySet[Job]:
    """What was counted of a snapshot, and what is being counted, newest first."""
    return Job.objects.filter(snapshot=snapshot, kind=JobKind.TOKENS).exclude(state=JobState.CANCELLED)


# --- In a worker --------------------------------------------------------------------------------------------


def tokens_run(job: Job, tell: Tell) -> dict[str, Any]:
    """Have the core count, and pass on how far it is. Raises JobError in its words."""
    snapshot = source_of(job)
    model = Model.objects.select_related("artifact").get(project=job.project, pk=job.asked["model"])
    folder = files.path_of(snapshot.artifact)
    order = {
        "model": str(files.path_of(model.artifact)),
        "kind": snapshot.kind,
        "context_length": job.asked["context_length"],
        "room": job.asked["room"],
        "files": {split: str(folder / f"{split}.jsonl") for split, rows in snapshot.counts.items() if rows},
    }
    total = sum(snapshot.counts.values())
    tell(0, total)
    return counted_by_core(order, lambda rows: tell(rows, total))


def counted_by_core(order: Mapping[str, Any], tell: Callable[[int], None]) -> dict[str, Any]:
    """What the core answers. Raises JobError in its words; whatever `tell` raises ends it."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            COMMAND,
            cwd=settings.BASE_DIR,
            env=core_environment(settings.RUN_THREADS),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            answer = answer_of(process, order, tell)
        finally:
            process.kill()
            process.communicate()
        if answer is not None:
            return answer
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines() or [_("no answer came")]
    raise JobError(_("The tokens could not be counted: %(error)s.") % {"error": lines[-1][:500]})


def answer_of(
    process: subprocess.Popen[bytes], order: Mapping[str, Any], tell: Callable[[int], None]
) -> dict[str, Any] | None:
    """What comes back, or None where the core ended without a word. Raises JobError."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()  # and stays open: its end would end the core
    for line in process.stdout:
        said = json.loads(line)
        if "result" in said:
            return dict(said["result"])
        if "problem" in said:
            raise JobError(said["problem"])
        tell(said["rows"])
    return None
