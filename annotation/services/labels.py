"""Submitting and editing labels. No label is refused for coming late or twice; what is wrong in it is said in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID, uuid5

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation import prompt_writing
from annotation.conversations import clean_text, text_hash
from annotation.errors import PlackettError
from annotation.models import (
    Assignment,
    AssignmentStatus,
    Demonstration,
    FormVersion,
    Guideline,
    GuidelineAcknowledgement,
    Origin,
    RankedResponse,
    Ranking,
    Response,
    ResponseOrigin,
    Task,
    TaskKind,
    WrittenPrompt,
)
from annotation.models.tasks import RANKED, WRITTEN
from annotation.ranking_form import checked_answers, scale_of
from annotation.rankings import Rank, ranks_validate
from annotation.selectors.forms import form_in_hand
from annotation.selectors.rules import rules_of
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.feedback import returns_close
from annotation.services.queue import check_own, complete_if_done, is_free, lock_task, take_slot

MAX_ACTIVE_SECONDS = 24 * 3600.0
AnyLabel = TypeVar("AnyLabel", Demonstration, Ranking, WrittenPrompt)


class LabelError(PlackettError):
    """A label that says nothing usable yet."""


@dataclass(frozen=True, kw_only=True)
class RankedItem:
    """What a labeler says of one answer."""

    response_id: UUID
    rank: int | None = None
    rating: int | None = None
    flags: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Submission:
    """What every submit carries, whatever the kind of label."""

    assignment: Assignment
    submission_id: UUID
    started_at: datetime | None
    active_seconds: float
    by: Actor
    origin: str
    content: str
    """A digest of what was submitted: a form sent again with other content is an edit, not a repetition."""

    @property
    def edit_id(self) -> UUID:
        return uuid5(self.submission_id, self.content)


def demonstration_submit(
    *,
    assignment: Assignment,
    text: str,
    submission_id: UUID,
    started_at: datetime | None,
    active_seconds: float,
    by: Actor,
    origin: str = Origin.HUMAN,
) -> Demonstration:
    """Keep the labeler's answer; on a task submitted before, as a new revision.

    A correction is a demonstration that was made from an answer, and says from which.

    Raises: ConversationProblem for a text that can't be kept, LabelError, NotYours.
    """
    check_kind(assignment, *WRITTEN)
    text = clean_text(text, what=_("the answer"))
    check_changed(assignment, text)
    submission = Submission(assignment, submission_id, started_at, active_seconds, by, origin, text_hash(text))
    return submit_once(Demonstration, submission, lambda task, shared: add_demonstration(assignment, text, shared))


def ranking_submit(
    *,
    assignment: Assignment,
    items: Sequence[RankedItem],
    submission_id: UUID,
    started_at: datetime | None,
    active_seconds: float,
    by: Actor,
    origin: str = Origin.HUMAN,
    prompt_fields: Mapping[str, Any] | None = None,
    form_version: int | None = None,
    form: FormVersion | None = None,
) -> Ranking:
    """Keep the labeler's ranking of the task's answers; on a task submitted before, as a new revision.

    It is held to the version of the form that the labeler was shown (`form_version`, or `form` where the caller has
    read it), whatever was published since.
    A comparison of two models is a ranking of two answers.

    Raises: RankingProblem, FormProblem, LabelError, NotYours.
    """
    check_kind(assignment, *RANKED)
    form = form or form_in_hand(assignment, form_version)
    checked = check_items(assignment, items, form.fields)
    said = checked_answers(form.fields, prompt_fields or {})
    content = digest_of(checked, said)
    submission = Submission(assignment, submission_id, started_at, active_seconds, by, origin, content)
    own = {"form": form if form.version else None, "prompt_fields": said}
    return submit_once(Ranking, submission, lambda task, shared: add_ranking(checked, {**own, **shared}))


# --- Once, whatever the network does --------------------------------------------------------------


def submit_once(
    kind: type[AnyLabel], submission: Submission, add: Callable[[Task, dict[str, Any]], AnyLabel]
) -> AnyLabel:
    """Return the label of this submission, made now or by an earlier or concurrent sending of it."""
    check_own(submission.assignment, submission.by)
    guideline = guideline_at(submission)  # before the lock, which on SQLite is everybody's
    try:
        with transaction.atomic():
            return submit(kind, submission, guideline, add)
    except IntegrityError:  # it made a label under another task's lock, before or meanwhile
        label = kind.objects.filter(submission_id=submission.submission_id).first()
        if label is None:
            raise
        submission.assignment.refresh_from_db(fields=["status", "slot"])
        return same_submission(label, submission)


def submit(
    kind: type[AnyLabel],
    submission: Submission,
    guideline: Guideline | None,
    add: Callable[[Task, dict[str, Any]], AnyLabel],
) -> AnyLabel:
    """Make the label under the task's lock, unless it is there."""
    assignment = submission.assignment
    task = lock_task(assignment.task_id)
    task.project = assignment.task.project
    key = submission.submission_id
    assignment.refresh_from_db(fields=["status", "slot"])
    known = find_sent(kind, submission) if assignment.status == AssignmentStatus.SUBMITTED else None
    if known is not None:
        if content_of(known) == submission.content:
            return known
        key = submission.edit_id
        edited = kind.objects.filter(submission_id=key).first()
        if edited is not None:
            return edited
    # Who has not submitted it has no label of it.
    revision = next_revision(kind, assignment) if assignment.status == AssignmentStatus.SUBMITTED else 1
    counts = settle_assignment(task, assignment)
    own = {"submission_id": key, "guideline": guideline, "counts": counts, "revision": revision}
    label = add(task, shared_fields(task, submission) | own)
    if label.revision > 1:
        returns_close(assignment=assignment)
    complete_if_done(task)
    audit.record(
        project=task.project,
        by=submission.by,
        verb=f"{kind._meta.model_name}.submit",
        target=label,
        revision=label.revision,
    )
    return label


def find_sent(kind: type[AnyLabel], submission: Submission) -> AnyLabel | None:
    label = kind.objects.filter(submission_id=submission.submission_id).first()
    return None if label is None else same_submission(label, submission)


def same_submission(label: AnyLabel, submission: Submission) -> AnyLabel:
    if label.assignment_id != submission.assignment.pk:
        raise LabelError(_("This form was used for another task already. Reload the page, then submit again."))
    return label


def settle_assignment(task: Task, assignment: Assignment) -> bool:
    """Mark the assignment submitted and return whether its label counts: it does where it holds a slot.

    Whoever comes late takes a free slot; where there is none, the label is kept and does not count.
    """
    changed: dict[str, Any] = {"draft": {}, "draft_saved_at": None}
    if assignment.status != AssignmentStatus.SUBMITTED:
        if assignment.slot is None and is_free(task):
            assignment.slot = take_slot(task)
        assignment.status = AssignmentStatus.SUBMITTED
        changed |= {"status": assignment.status, "slot": assignment.slot, "skip_reason": "", "skip_note": ""}
        changed["ended_at"] = Now()
    Assignment.objects.filter(pk=assignment.pk).update(**changed)
    # What was loaded before is stale now: whoever looks at it reads it anew.
    for name in changed.keys() - {"status", "slot"}:
        assignment.__dict__.pop(name, None)
    return assignment.slot is not None


def shared_fields(task: Task, submission: Submission) -> dict[str, Any]:
    assignment = submission.assignment
    return {
        "project": task.project,
        "task": task,
        "assignment": assignment,
        "prompt_id": task.prompt_id,
        "labeler": assignment.labeler,
        "origin": Origin.SIMULATED if assignment.labeler.is_simulated else submission.origin,
        "purpose": task.purpose,
        "started_at": started(submission),
        "active_seconds": seconds(submission.active_seconds),
    }


def next_revision(kind: type[AnyLabel], assignment: Assignment) -> int:
    """The number of a new revision; under the task's lock."""
    latest = kind.objects.filter(assignment=assignment).order_by("-revision").values_list("revision", flat=True).first()
    return 1 if latest is None else latest + 1


def make_room(kind: type[AnyLabel], shared: dict[str, Any]) -> None:
    """Before a new revision is added, the one before it is current no more."""
    if shared["revision"] > 1:
        kind.objects.filter(assignment=shared["assignment"], is_current=True).update(is_current=False)


# --- What is kept ---------------------------------------------------------------------------------


def add_demonstration(assignment: Assignment, text: str, shared: dict[str, Any]) -> Demonstration:
    make_room(Demonstration, shared)
    response = Response.objects.create(
        project=shared["project"],
        prompt_id=shared["prompt_id"],
        text=text,
        content_hash=text_hash(text),
        origin=ResponseOrigin.HUMAN,
        author=shared["labeler"],
    )
    return Demonstration.objects.create(response=response, corrects=original_of(assignment), **shared)


def add_ranking(items: Sequence[RankedItem], shared: dict[str, Any]) -> Ranking:
    """Keep the ranking with the place at which each answer was shown."""
    make_room(Ranking, shared)
    ranking = Ranking.objects.create(**shared)
    RankedResponse.objects.bulk_create(
        RankedResponse(
            ranking=ranking,
            response_id=item.response_id,
            position=position,
            rank=item.rank,
            rating=item.rating,
            flags=list(item.flags),
        )
        for position, item in enumerate(items)
    )
    return ranking


def guideline_at(submission: Submission) -> Guideline | None:
    """The version that the labeler had in front of them: the one in force when the work began, or one published since
    that they acknowledged before they submitted."""
    versions, began = rules_of(submission.assignment.task.project).guidelines, started(submission)
    since = [version for version in versions if version.created_at > began]
    acknowledged = GuidelineAcknowledgement.objects.filter(membership=submission.assignment.labeler)
    read = set(acknowledged.filter(guideline__in=since).values_list("guideline", flat=True)) if since else set()
    known = (version for version in versions if version.created_at <= began or version.pk in read)
    return next(known, None) or next(reversed(versions), None)


# --- Checks ---------------------------------------------------------------------------------------


def check_kind(assignment: Assignment, *kinds: str) -> None:
    if assignment.task.kind not in kinds:
        raise LabelError(_("This task wants another kind of label. Reload the page."))


def check_changed(assignment: Assignment, text: str) -> None:
    original = original_of(assignment)
    if original is not None and original.content_hash == text_hash(text):
        raise LabelError(_("You have changed nothing. Correct the answer, or skip it if it needs no correction."))


def original_of(assignment: Assignment) -> Response | None:
    """The answer that a correction's task shows; None for tasks of other kinds."""
    if assignment.task.kind != TaskKind.CORRECTION:
        return None
    return Response.objects.get(task_responses__task=assignment.task_id)


def check_items(assignment: Assignment, items: Sequence[RankedItem], fields: dict[str, Any]) -> list[RankedItem]:
    """Return the items in presented order with dense ranks, or say what is wrong with them."""
    by_id = {str(item.response_id): item for item in items}
    if len(by_id) < len(items):
        raise LabelError(_("An answer is in the ranking twice. Reload the page, then rank again."))
    if set(by_id) != set(assignment.presented_order):
        raise LabelError(_("The ranking is not of this task's answers. Reload the page, then rank again."))
    ordered = [by_id[key] for key in assignment.presented_order]
    ranks = ranks_validate(
        [item.rank for item in ordered],
        allow_ties=fields.get("allow_ties", True),
        allow_partial=fields.get("allow_partial", False),
    )
    scale, flags = scale_of(fields), list(fields.get("flags") or [])
    return [checked_item(item, rank, scale, flags) for item, rank in zip(ordered, ranks, strict=True)]


def checked_item(item: RankedItem, rank: Rank, scale: range, asked: Sequence[str]) -> RankedItem:
    """asked: the keys of the form's flags, in its order."""
    rating, low, high = item.rating, scale[0], scale[-1]
    if rating is not None and (isinstance(rating, bool) or not isinstance(rating, int) or not low <= rating <= high):
        words = _("A rating is %(rating)s; it must be a whole number from %(low)d to %(high)d.")
        raise LabelError(words % {"rating": repr(rating)[:40], "low": low, "high": high})
    if isinstance(item.flags, str) or not all(isinstance(flag, str) for flag in item.flags):
        raise LabelError(_("The flags must be a list of names."))
    unknown = sorted(set(item.flags) - set(asked))
    if unknown:
        words = _("There is no flag %(flag)s in this project's form. Known flags: %(known)s.")
        raise LabelError(words % {"flag": unknown[0][:40], "known": ", ".join(asked)})
    flags = [flag for flag in asked if flag in set(item.flags)]
    return RankedItem(response_id=item.response_id, rank=rank, rating=rating, flags=flags)


def started(submission: Submission) -> datetime:
    """When the work began: not in the future, whatever the browser's clock says."""
    now = timezone.now()
    if submission.started_at is None:
        return submission.assignment.assigned_at
    return min(submission.started_at, now)


def seconds(value: float) -> float:
    """Active seconds within reason: a broken clock must not cost a label."""
    return min(max(float(value), 0.0), MAX_ACTIVE_SECONDS) if math.isfinite(value) else 0.0


def content_of(label: Demonstration | Ranking | WrittenPrompt) -> str:
    if isinstance(label, Demonstration):
        return label.response.content_hash
    if isinstance(label, WrittenPrompt):
        return prompt_writing.digest_of(label.prompt.messages, label.said["category"], label.said["language"])
    ranked = label.ranked_responses.order_by("position")
    return digest_of(
        [RankedItem(response_id=row.response_id, rank=row.rank, rating=row.rating, flags=row.flags) for row in ranked],
        label.prompt_fields,
    )


def digest_of(items: Sequence[RankedItem], prompt_fields: Mapping[str, Any]) -> str:
    said = [(str(item.response_id), item.rank, item.rating, sorted(item.flags)) for item in items]
    by_id = sorted(said, key=lambda item: item[0])
    return sha256(repr((by_id, sorted(prompt_fields.items()))).encode()).hexdigest()
