"""Erasing a person's work, or giving them another pseudonym; and destroying the files of snapshots that hold it.

A snapshot never changes, so what holds erased data is destroyed: the files go, the manifest stays with a tombstone, and
neither the snapshot nor a model that was made of it is trained on again. What to build anew, the pages say.
"""

from __future__ import annotations

from pathlib import Path

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.conversations import text_hash
from annotation.models import (
    Assignment,
    Demonstration,
    LabelComment,
    Membership,
    Prompt,
    Question,
    RankedResponse,
    Ranking,
    Task,
    TaskResponse,
    WrittenPrompt,
)
from annotation.models.accounts import random_pseudonym
from annotation.models.tasks import RANKED, TaskState
from annotation.services import audit
from annotation.services.audit import Actor
from training import files
from training.errors import SnapshotError
from training.models import Job, JobState, LeakPair, Snapshot
from training.selectors.traces import answers_by, models_made_of, rankings_of_answers, snapshots_with
from training.services.removals import remove_from_store

SHORTEST_REASON = 10
OPEN_JOBS = (JobState.QUEUED, JobState.RUNNING)


@transaction.atomic
def snapshot_erase(*, snapshot: Snapshot, why: str, by: Actor | None) -> Snapshot:
    """Destroy a snapshot's files and all exports of it; its manifest stays. Erasing twice is erasing once."""
    why = reason(why)
    snapshot = (
        Snapshot.objects.select_for_update(of=("self",)).select_related("artifact", "project").get(pk=snapshot.pk)
    )
    if snapshot.erased_at:
        return snapshot
    snapshot.erased_at, snapshot.erased_why, snapshot.facts = timezone.now(), why, {}
    snapshot.save(update_fields=["erased_at", "erased_why", "facts"])
    LeakPair.objects.filter(leak_check__snapshot=snapshot).delete()
    jobs = Job.objects.filter(snapshot=snapshot)
    job_ids = list(jobs.values_list("pk", flat=True))
    jobs.filter(state__in=OPEN_JOBS).update(state=JobState.CANCELLED, lease_until=None, ended_at=timezone.now())
    jobs.update(result={}, expires_at=None)
    shared = Snapshot.objects.filter(artifact=snapshot.artifact, erased_at=None).exists()
    folders = [files.job_folder(job_id) for job_id in job_ids]
    if not shared:  # another project may have frozen the very same bytes
        folders.append(files.place_of(snapshot.artifact))
    remove_from_store(folders)
    models = [model.name for model in models_made_of([snapshot])]
    audit.record(
        project=snapshot.project, by=by, verb="snapshot.erase", target=snapshot, why=why, models_to_rebuild=models
    )
    transaction.on_commit(lambda: remove_all(folders))
    return snapshot


@transaction.atomic
def person_erase(*, member: Membership, why: str, by: Actor | None) -> list[Snapshot]:
    """Remove a person's labels, answers, drafts and questions, and destroy the snapshots that hold any. Returns those.

    Their answers go out of other people's rankings too; a ranking that is left with fewer than two ranked answers goes
    with them. Prompts that they wrote stay, since others' labels are of them, without the author. The account, which
    may be in other projects, stays as it is.
    """
    why = reason(why)
    Membership.objects.select_for_update().get(pk=member.pk)
    snapshots = [snapshot_erase(snapshot=found, why=why, by=by) for found in list(snapshots_with(member))]
    counts = {
        "demonstrations": Demonstration.objects.filter(labeler=member).count(),
        "rankings": Ranking.objects.filter(labeler=member).count(),
    }
    Ranking.objects.filter(labeler=member).delete()
    counts["rankings_by_others_lost"] = take_out_answers(member)
    Demonstration.objects.filter(labeler=member).delete()
    answers_by(member).update(text="", content_hash=text_hash(""))
    WrittenPrompt.objects.filter(labeler=member).delete()
    Question.objects.filter(assignment__labeler=member).delete()  # with what was answered, which may quote them
    LabelComment.objects.filter(assignment__labeler=member).delete()
    Assignment.objects.filter(labeler=member).update(draft={}, draft_saved_at=None, skip_note="")
    Prompt.objects.filter(author=member).update(author=None)
    pseudonym_renew(member)
    audit.record(project=member.project, by=by, verb="person.erase", target=member, why=why, **counts)
    return snapshots


def take_out_answers(member: Membership) -> int:
    """Take the person's answers out of other people's rankings and tasks; the number of rankings that this ended."""
    others = list(rankings_of_answers(member).values_list("pk", flat=True))
    RankedResponse.objects.filter(response__author=member).delete()
    ranked = Count("ranked_responses", filter=Q(ranked_responses__rank__isnull=False))
    ended = Ranking.objects.filter(pk__in=others).annotate(ranked=ranked).filter(ranked__lt=2)
    number = ended.count()
    Ranking.objects.filter(pk__in=list(ended.values_list("pk", flat=True))).delete()
    tasks = list(TaskResponse.objects.filter(response__author=member).values_list("task", flat=True).distinct())
    TaskResponse.objects.filter(response__author=member).delete()
    left = Task.objects.filter(pk__in=tasks, kind__in=RANKED).annotate(number=Count("task_responses"))
    Task.objects.filter(pk__in=list(left.filter(number__lt=2).values_list("pk", flat=True))).update(
        state=TaskState.WITHDRAWN
    )
    return number


@transaction.atomic
def person_pseudonymise(*, member: Membership, why: str, by: Actor | None) -> list[Snapshot]:
    """Give a person another pseudonym. Returns the snapshots that hold the old one, to be erased and built anew.

    Their labels stay, so no model changes by it. Exports that were made hold the old name, and are removed.
    """
    why = reason(why)
    snapshots = list(snapshots_with(member).filter(erased_at=None))
    jobs = Job.objects.filter(snapshot__in=snapshots).exclude(state__in=OPEN_JOBS)
    folders = [files.job_folder(job_id) for job_id in jobs.values_list("pk", flat=True)]
    jobs.exclude(result={}).update(state=JobState.CANCELLED, result={}, expires_at=None)
    pseudonym_renew(member)
    remove_from_store(folders)
    names = [snapshot.name for snapshot in snapshots]
    audit.record(project=member.project, by=by, verb="person.pseudonymise", target=member, why=why, snapshots=names)
    transaction.on_commit(lambda: remove_all(folders))
    return snapshots


def remove_all(folders: list[Path]) -> None:
    for folder in folders:
        files.remove(folder)


def pseudonym_renew(member: Membership) -> None:
    """Another pseudonym; of an imported labeler also the name under which they came."""
    member.pseudonym = random_pseudonym()
    changes = ["pseudonym"]
    if member.imported_name:
        member.imported_name = f"erased {member.pseudonym}"
        changes.append("imported_name")
    member.save(update_fields=changes)


def reason(why: str) -> str:
    why = why.strip()[:2000]
    if len(why) < SHORTEST_REASON:
        raise SnapshotError(_("Say in a sentence why; the audit log keeps it."))
    return why


__all__ = ["person_erase", "person_pseudonymise", "snapshot_erase"]
