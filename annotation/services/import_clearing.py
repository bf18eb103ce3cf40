"""Removing what an import wrote that ended without showing it. Nobody ever saw these rows; now they go.

Only rows that the import made itself: their ids, which sort by age, come after its own. What it had found hidden and
taken over stays hidden. Under the project's lock, a chunk at a time, so that a killed worker goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from annotation.models import (
    Assignment,
    Demonstration,
    ImportBatch,
    ImportState,
    Project,
    Prompt,
    RankedResponse,
    Ranking,
    Response,
    Task,
    TaskResponse,
    TaskState,
)

CHUNK = 500
UNCLEARED = (ImportState.REFUSED, ImportState.FAILED, ImportState.CANCELLED)


def clear_ended_imports() -> int:
    """Clear every import that left hidden rows behind; how many there were."""
    left = ImportBatch.objects.filter(state__in=UNCLEARED, undone_at__isnull=False, cleared_at__isnull=True)
    batches = list(left.order_by("id"))
    for batch in batches:
        import_clear(batch=batch)
    return len(batches)


def import_clear(*, batch: ImportBatch) -> None:
    """Remove the rows of an import that did not succeed."""
    for step in (clear_labels, clear_tasks, clear_responses, clear_prompts):
        while one_step(batch, step):
            pass
    ImportBatch.objects.filter(pk=batch.pk).update(cleared_at=Now())
    batch.refresh_from_db()


@transaction.atomic
def one_step(batch: ImportBatch, step: Any) -> bool:
    Project.objects.select_for_update(no_key=True).get(pk=batch.project_id)
    return bool(step(batch))


def clear_labels(batch: ImportBatch) -> int:
    model: Any = Ranking if batch.kind == "rankings" else Demonstration
    hidden = model._default_manager.filter(batch=batch, pk__gt=batch.pk, is_current=False).order_by("pk")
    rows = list(hidden.values_list("pk", "task_id", "assignment_id")[:CHUNK])
    ids = [label for label, _task, _assignment in rows]
    if model is Ranking:
        RankedResponse.objects.filter(ranking__in=ids).delete()
    model._default_manager.filter(pk__in=ids).delete()
    Assignment.objects.filter(pk__in=[assignment for _label, _task, assignment in rows]).delete()
    for task_id, number in Counter(task for _label, task, _assignment in rows).items():
        # A task wants a label at least; ours, which have none left, go next.
        Task.objects.filter(pk=task_id, overlap__gt=number).update(overlap=F("overlap") - number)
    return len(rows)


def clear_tasks(batch: ImportBatch) -> int:
    hidden = Task.objects.filter(batch=batch, pk__gt=batch.pk, state=TaskState.WITHDRAWN, assignments=None)
    ids = list(hidden.order_by("pk").values_list("pk", flat=True)[:CHUNK])
    TaskResponse.objects.filter(task__in=ids).delete()
    Task.objects.filter(pk__in=ids).delete()
    return len(ids)


def clear_responses(batch: ImportBatch) -> int:
    unused = Response.objects.filter(
        batch=batch, pk__gt=batch.pk, ranked_responses=None, demonstrations=None, tasks=None
    )
    ids = list(unused.order_by("pk").values_list("pk", flat=True)[:CHUNK])
    Response.objects.filter(pk__in=ids).delete()
    return len(ids)


def clear_prompts(batch: ImportBatch) -> int:
    hidden = Prompt.objects.filter(batch=batch, pk__gt=batch.pk, withdrawn_at__isnull=False)
    unused = hidden.filter(responses=None, tasks=None)
    ids = list(unused.order_by("pk").values_list("pk", flat=True)[:CHUNK])
    Prompt.objects.filter(pk__in=ids).delete()
    return len(ids)
