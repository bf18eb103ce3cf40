"""What the database holds after a run: is each label there once, has no task too many, are the drafts as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, F, Q

from annotation.models import Assignment, AuditEvent, Ranking, Task

CHUNK = 500
HELD = Q(assignments__slot__isnull=False)


@transaction.atomic
def main(spec: dict[str, Any]) -> dict[str, Any]:
    """Count the labels; with the file `sent` also look for each submission and each draft that is named in it.

    All of it as it stood at one moment: a slow server may still be at work for browsers that are gone.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    found: dict[str, Any] = {"labels": Ranking.objects.count()}
    if "sent" in spec:
        sent = json.loads(Path(spec["sent"]).read_text())
        found |= overlaps()
        found["submissions"] = [str(key) for key in present(sent["submissions"])]
        found["drafts"] = draft_versions(sent["drafts"])
        found["edited"] = edited()
        found["audit_rows"] = AuditEvent.objects.filter(verb="ranking.submit").count()
    return found


def overlaps() -> dict[str, int]:
    """Tasks with more labels that count, or more slots held, than they want; and those whose free slots are miscounted.

    Tasks that nobody was given are looked at too: their slots are all free.
    """
    too_many = Ranking.objects.filter(counts=True, is_current=True).order_by().values("task")
    labeled = too_many.annotate(number=Count("id")).filter(number__gt=F("task__overlap")).count()
    held = Assignment.objects.filter(slot__isnull=False).order_by().values("task")
    taken = held.annotate(number=Count("id")).filter(number__gt=F("task__overlap")).count()
    given = Task.objects.filter(pk__in=Assignment.objects.order_by().values("task")).order_by()
    wrong = given.annotate(held=Count("assignments", filter=HELD)).exclude(open_slots=F("overlap") - F("held")).count()
    untouched = Task.objects.filter(assignments__isnull=True, state="open").exclude(open_slots=F("overlap")).count()
    return {"over_overlap": labeled + taken, "slots_lost": wrong + untouched}


def edited() -> int:
    """Assignments with more than one label: nobody edits here, so that one of the two was made twice."""
    labels = Ranking.objects.order_by().values("assignment")
    return labels.annotate(number=Count("id")).filter(number__gt=1).count()


def present(submissions: Sequence[str]) -> Iterator[Any]:
    for chunk in chunks(submissions):
        yield from Ranking.objects.filter(submission_id__in=chunk).order_by().values_list("submission_id", flat=True)


def draft_versions(assignments: Sequence[str]) -> dict[str, int]:
    """Which version of its draft each assignment holds: the labelers write its number where time at work stands."""
    found: dict[str, int] = {}
    for chunk in chunks(assignments):
        rows = Assignment.objects.filter(pk__in=chunk).values_list("pk", "draft")
        found |= {str(key): round(float(draft.get("active_seconds") or 0)) for key, draft in rows}
    return found


def chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(keys), CHUNK):
        yield keys[first : first + CHUNK]
