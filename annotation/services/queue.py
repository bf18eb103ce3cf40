"""The queue: who gets which task, for how long, and what becomes of a task that comes back.

The invariants, and what keeps them:
- A task never has more than `overlap` labels that count: slots are given under the task's row lock (on SQLite: under
  the database's write lock, which every transaction takes at its start), and (task, slot) is unique.
- No slot is lost: `open_slots` changes in the same transaction and under the same lock as the assignment that holds it.
- A labeler meets a task once: (task, labeler) is unique; a lease that ran out is taken up again in the same row, with
  its draft and its order.
Locks are taken in one order, labeler before task, and a claim holds one task, so claims can't deadlock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import Enum
from itertools import chain
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, prefetch_related_objects
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.fields import SkipReason
from annotation.models import (
    Assignment,
    AssignmentStatus,
    Membership,
    Project,
    PromptTopic,
    Task,
    TaskKind,
    TaskResponse,
    TaskState,
)
from annotation.models.tasks import SHOW_ANSWERS
from annotation.policy import Head, Policy, categories_in_order, kinds_in_order
from annotation.roles import Capability
from annotation.selectors.limits import left_today
from annotation.selectors.rules import rules_of
from annotation.selectors.taken import Counts, Taken, labels_taken
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.guidelines import check_acknowledged

RELEASED_AT_ONCE = 50
RELEASES_SECONDS = 1.0
LOST_LOOKED_AT = 20
MAX_NOTE = 2000
Status = AssignmentStatus


class QueueError(PlackettError):
    """Something that can't be done with a task any more."""


class NotYours(PlackettError):
    """Somebody tried to work on a task in another's name, or without the role for it."""


def assignment_next(*, labeler: Membership, kind: str | None = None) -> Assignment | None:
    """Return the labeler's task in hand, or lease them the next one; None when there is nothing for them.

    Why there is nothing: `selectors.nothing`. A day's limit holds for new tasks; what is in hand may be finished.

    In order: the lease they hold, the task whose lease they lost and nobody else took, then as the project's policy
    says (`annotation.policy`).

    Raises: GuidelinesChanged where the labeler has to read what changed first.
    """
    check_may_label(labeler)
    check_acknowledged(labeler)
    kinds = [kind] if kind else list(TaskKind.values)
    if RELEASES.is_due():
        leases_release_expired(labeler=labeler)
    found = next_for(labeler, kinds)
    if found is None and leases_release_expired(labeler=labeler):
        found = next_for(labeler, kinds)
    return found


def next_for(labeler: Membership, kinds: list[str]) -> Assignment | None:
    """What `assignment_next` returns, of the slots that are free already."""
    # Read before the lock: on SQLite it is everybody's. What has changed since is found out under it.
    policy, counts = rules_of(labeler.project).policy, labels_taken(labeler.project)
    places = begun(best_first(labeler, kinds, policy, counts))
    with transaction.atomic():
        # The same person in two tabs gets the same task in both.
        lock_labeler(labeler)
        mine = None
        if labeler.assignments.filter(status__in=(Status.LEASED, Status.EXPIRED)).exists():
            mine = resume_lease(labeler, kinds) or regain_lost(labeler, kinds)
        if mine is None and left_today(labeler) != 0:
            again = best_first(labeler, kinds, policy, counts)
            return lease_first(labeler, places, skip_locked=True) or lease_first(labeler, again, skip_locked=False)
    return None if mine is None else read(mine, labeler)


def resume_lease(labeler: Membership, kinds: list[str]) -> Assignment | None:
    """Return the task in the labeler's hands, with its time begun anew."""
    held = labeler.assignments.filter(status=Status.LEASED, task__kind__in=kinds)
    latest = held.order_by("-assigned_at", "-id").first()
    return latest if latest is not None and extend_lease(latest) else None


def regain_lost(labeler: Membership, kinds: list[str]) -> Assignment | None:
    """Give the labeler back a task whose lease ran out, with its draft, while it still has a free slot."""
    lost = labeler.assignments.filter(status=Status.EXPIRED).order_by("-ended_at", "-id")
    recent = list(lost.values_list("task_id", flat=True)[:LOST_LOOKED_AT])
    free = Task.objects.filter(pk__in=recent, kind__in=kinds, state=TaskState.OPEN, open_slots__gt=0).order_by("id")
    task = free.select_for_update(of=("self",), no_key=True, skip_locked=True).first()
    if task is None:
        return None
    return lease_again(task, Assignment.objects.get(task=task, labeler=labeler))


def lease_first(labeler: Membership, places: Iterable[QuerySet[Task]], *, skip_locked: bool) -> Assignment | None:
    """Lease the first task in the first of these places that has one.

    Tasks that another process has locked are passed by (`skip_locked`). Where only such are left, wait for them:
    passing by the last task of a queue would leave its slot to nobody. On SQLite nobody locks a task.
    """
    if not skip_locked and not connection.features.has_select_for_update:
        return None
    for waiting in places:
        # NO KEY UPDATE, so that others may insert rows that point at the task meanwhile.
        locked = waiting.select_for_update(of=("self",), no_key=True, skip_locked=skip_locked)
        task = locked.select_related("prompt").annotate(now=Now()).first()
        if task is not None:
            return lease_to(labeler, task, task.now)
    return None


class Hurdle(Enum):
    """What keeps a waiting task from a labeler who has not met it."""

    LANGUAGE = "language"
    TOPIC = "topic"
    OWN_ANSWER = "own answer"


def candidates(labeler: Membership, kind: str, *, without: Hurdle | None = None) -> QuerySet[Task]:
    """The tasks of a kind that this labeler may get, by priority and age: the order of the index `task_queue`.

    without: leave this hurdle out and return the tasks that it alone keeps from them.
    """
    met = Assignment.objects.filter(task=OuterRef("pk"), labeler=labeler)
    tasks = Task.objects.filter(
        ~Exists(met), project=labeler.project_id, kind=kind, state=TaskState.OPEN, open_slots__gt=0
    ).order_by("-priority", "id")
    barred = hurdles(labeler, kind)
    if without is not None:
        tasks = tasks.filter(barred.pop(without)) if without in barred else tasks.none()
    for condition in barred.values():
        tasks = tasks.filter(~condition)
    return tasks


def hurdles(labeler: Membership, kind: str) -> dict[Hurdle, Q | Exists]:
    """The conditions under which a task of this kind is kept from the labeler, as far as there are any for them."""
    found: dict[Hurdle, Q | Exists] = {}
    if labeler.languages:
        found[Hurdle.LANGUAGE] = ~Q(language__in=[*labeler.languages, ""])
    if labeler.declined_topics:
        topics = PromptTopic.objects.filter(prompt=OuterRef("prompt"), topic__in=labeler.declined_topics)
        found[Hurdle.TOPIC] = Exists(topics)
    if kind in SHOW_ANSWERS:
        own = TaskResponse.objects.filter(task=OuterRef("pk"), response__author=labeler)
        found[Hurdle.OWN_ANSWER] = Exists(own)
    return found


# --- The policy, carried out ------------------------------------------------------------------------


def best_first(labeler: Membership, kinds: list[str], policy: Policy, counts: Counts) -> Iterator[QuerySet[Task]]:
    """Yield where to look for the next task, the best place first.

    Ordinarily two queries at most are asked before the first place is known, whatever there is in it. At the end of
    each kind come all of its tasks, and at the end of all the kinds of which none was counted: what was not counted yet
    must not be starved.
    """
    handed_out = [kind for kind in kinds if policy.weight(kind) > 0]
    counted = [kind for kind in handed_out if any(count.waiting for count in counts[kind].values())]
    for kind in kinds_first(labeler, counted, policy):
        yield from categories_first(labeler, kind, counts[kind], policy)
        yield candidates(labeler, kind)
    for kind in handed_out:
        if kind not in counted:
            yield candidates(labeler, kind)


def begun(places: Iterator[QuerySet[Task]]) -> Iterator[QuerySet[Task]]:
    """The same places, the queries asked that say where the first one is."""
    first = next(places, None)
    return iter(()) if first is None else chain([first], places)


def kinds_first(labeler: Membership, kinds: list[str], policy: Policy) -> list[str]:
    """Those of the kinds that have a task for this labeler, in the order in which the policy tries them. One query."""
    if len(kinds) < 2:
        return kinds
    heads = {kind: Subquery(candidates(labeler, kind).values("priority")[:1]) for kind in kinds}
    priorities = Project.objects.filter(pk=labeler.project_id).values(**heads).get()
    found = {kind: priority for kind, priority in priorities.items() if isinstance(priority, int)}
    return kinds_in_order(found, policy, random.random())


def categories_first(
    labeler: Membership, kind: str, counts: Mapping[str, Taken], policy: Policy
) -> Iterator[QuerySet[Task]]:
    """Yield the tasks of one category of this kind after the other, as the policy tries them.

    Nothing where all tasks of the kind have one order: they come after this.
    """
    tasks = candidates(labeler, kind)
    waiting = tasks.order_by(*policy.order())
    waiting_in = [category for category, count in counts.items() if count.waiting]
    taken = {category: count.taken for category, count in counts.items()}
    if len(waiting_in) == 1:
        yield waiting.filter(category=waiting_in[0])
    elif policy.has_quotas:
        # Of the tasks of the highest priority alone, which one query finds; the others wait.
        best = tasks.values_list("priority", flat=True).first()
        if best is not None:
            heads = [Head(category, best, 0.0, "") for category in waiting_in]
            for category in categories_in_order(heads, taken, policy):
                yield waiting.filter(category=category, priority=best)
    elif policy.uncertain_first:
        for category in categories_in_order(heads_of(labeler, waiting, waiting_in), taken, policy):
            yield waiting.filter(category=category)


def heads_of(labeler: Membership, waiting: QuerySet[Task], categories: list[str]) -> list[Head]:
    """The first of these tasks in each category, found by the categories' index. Two queries."""
    heads = {category: Subquery(waiting.filter(category=category).values("pk")[:1]) for category in categories}
    if not heads:
        return []
    ids = [key for key in Project.objects.filter(pk=labeler.project_id).values_list(*heads.values()).get() if key]
    rows = Task.objects.filter(pk__in=ids).values_list("category", "priority", "uncertainty", "pk")
    return [Head(*row[:3], str(row[3])) for row in rows]


def lease_to(labeler: Membership, task: Task, now: datetime) -> Assignment:
    """Lease a locked task to a labeler who meets it for the first time. now: by the database's clock."""
    task.project = labeler.project
    assignment = Assignment(task=task, labeler=labeler, lease_until=now + lease_time())
    assignment.slot = take_slot(task)
    assignment.presented_order = shuffled_responses(task)
    assignment.save(force_insert=True)
    return assignment


def lease_again(task: Task, assignment: Assignment) -> Assignment:
    """Lease a locked task to the labeler who had it; draft and order are as they left them."""
    Assignment.objects.filter(pk=assignment.pk).update(
        status=Status.LEASED, slot=take_slot(task), lease_until=Now() + lease_time(), ended_at=None
    )
    return assignment


def shuffled_responses(task: Task) -> list[str]:
    """The task's answers in an order drawn for this labeler alone, so that no place is favoured."""
    prefetch_related_objects([task], "responses")  # whoever is leased the task reads them next
    ids = [str(response.pk) for response in task.responses.all()]
    random.SystemRandom().shuffle(ids)
    return ids


# --- Slots: only under the task's lock ------------------------------------------------------------


def lock_labeler(labeler: Membership) -> None:
    """Have others who lock this labeler wait; on SQLite the transaction alone does that."""
    if connection.features.has_select_for_update:
        Membership.objects.select_for_update(no_key=True).get(pk=labeler.pk)


def lock_task(task_id: Any) -> Task:
    return Task.objects.select_for_update(of=("self",), no_key=True).get(pk=task_id)


def is_free(task: Task) -> bool:
    return task.state == TaskState.OPEN and task.open_slots > 0


def take_slot(task: Task) -> int:
    """Take the lowest free slot of a locked task."""
    held: set[int | None] = set()
    if task.open_slots < task.overlap:
        held |= set(task.assignments.filter(slot__isnull=False).order_by().values_list("slot", flat=True))
    slot = next(number for number in range(1, task.overlap + 1) if number not in held)
    Task.objects.filter(pk=task.pk).update(open_slots=F("open_slots") - 1)
    task.open_slots -= 1
    return slot


def give_slot_back(task: Task) -> None:
    Task.objects.filter(pk=task.pk).update(open_slots=F("open_slots") + 1)
    task.open_slots += 1


def complete_if_done(task: Task) -> None:
    """Take a locked task out of the queue when all its slots hold labels."""
    if task.state == TaskState.OPEN and task.open_slots == 0:
        unfinished = Assignment.objects.filter(task=OuterRef("pk"), slot__isnull=False).exclude(status=Status.SUBMITTED)
        Task.objects.filter(~Exists(unfinished), pk=task.pk).update(state=TaskState.COMPLETE)


# --- Leases ---------------------------------------------------------------------------------------


class Pace:
    """Says yes at most once in so many seconds, in this process."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.due_at = seconds, 0.0

    def is_due(self) -> bool:
        now = time.monotonic()
        is_due = now >= self.due_at
        if is_due:
            self.due_at = now + self.seconds
        return is_due


RELEASES = Pace(RELEASES_SECONDS)
"""When leases that ran out are looked for; also whenever somebody would be told that there is nothing."""


def leases_release_expired(*, labeler: Membership) -> int:
    """Give back the slots of leases that ran out, by the database's clock; return how many.

    In every project, since asking for one alone would join every task of it. The labeler's own stay: theirs is what
    they are about to be given again.
    """
    expired = expired_leases().exclude(labeler=labeler).order_by("lease_until")
    found = list(expired.values_list("pk", "task_id")[:RELEASED_AT_ONCE])
    return sum(release_expired(key, task_id) for key, task_id in found)


def expired_leases() -> QuerySet[Assignment]:
    return Assignment.objects.filter(status=Status.LEASED, lease_until__lt=Now())


@transaction.atomic
def release_expired(assignment_id: Any, task_id: Any) -> int:
    task = Task.objects.select_for_update(of=("self",), no_key=True, skip_locked=True).filter(pk=task_id).first()
    if task is None:  # someone is at it
        return 0
    released = expired_leases().filter(pk=assignment_id).update(status=Status.EXPIRED, slot=None, ended_at=Now())
    if released:
        give_slot_back(task)
    return released


def leases_give_back(*, labeler: Membership) -> None:
    """End the labeler's leases, so that others get the tasks; drafts stay with the labeler. Inside a transaction."""
    lock_labeler(labeler)  # before the task, as in a claim
    for assignment in labeler.assignments.filter(status=Status.LEASED).order_by("task"):
        task = lock_task(assignment.task_id)
        held = Assignment.objects.filter(pk=assignment.pk, status=Status.LEASED)
        if held.update(status=Status.EXPIRED, slot=None, ended_at=Now()):
            give_slot_back(task)


def assignment_heartbeat(*, assignment: Assignment) -> datetime:
    """Extend the lease of a task that someone has open, and return until when.

    A lease that ran out is taken up again where nobody else took the slot.

    Raises: QueueError where the task is no longer in this labeler's hands.
    """
    if not extend_lease(assignment):
        regain(assignment)
    assignment.refresh_from_db(fields=["lease_until", "status", "slot"])
    return assignment.lease_until


def extend_lease(assignment: Assignment) -> bool:
    held = Assignment.objects.filter(pk=assignment.pk, status=Status.LEASED)
    return bool(held.update(lease_until=Now() + lease_time()))


@transaction.atomic
def regain(assignment: Assignment) -> None:
    task = lock_task(assignment.task_id)
    assignment.refresh_from_db(fields=["status"])
    if assignment.status == Status.LEASED:
        extend_lease(assignment)
    elif assignment.status == Status.EXPIRED and is_free(task):
        lease_again(task, assignment)
    elif assignment.status == Status.EXPIRED:
        raise QueueError(
            _("Your time on this task ran out and others have taken it. Submit all the same: your label is kept.")
        )
    elif assignment.status == Status.SUBMITTED:
        raise QueueError(_("You have submitted this task. You find it under your labels."))
    else:
        raise QueueError(_("You have skipped this task. Submit all the same if you changed your mind."))


def lease_time() -> timedelta:
    return timedelta(seconds=settings.LABEL_LEASE_SECONDS)


# --- Skips and drafts -----------------------------------------------------------------------------


@transaction.atomic
def assignment_skip(*, assignment: Assignment, reason: str, note: str = "", by: Actor) -> Assignment:
    """Give a task back for good: it does not come to this labeler again."""
    check_own(assignment, by)
    if reason not in SkipReason.values:
        raise QueueError(_("Choose why you skip this task."))
    task = lock_task(assignment.task_id)
    assignment.refresh_from_db()
    if assignment.status == Status.SUBMITTED:
        raise QueueError(_("You have submitted this task already, so it can't be skipped. Edit your label instead."))
    if assignment.status == Status.LEASED:
        give_slot_back(task)
    Assignment.objects.filter(pk=assignment.pk).update(
        status=Status.SKIPPED,
        slot=None,
        skip_reason=reason,
        skip_note=note.replace("\0", "")[:MAX_NOTE],
        ended_at=Now(),
    )
    audit.record(project=task.project, by=by, verb="assignment.skip", target=assignment, reason=reason)
    if assignment.status != Status.SKIPPED:
        count_skip(task)
    return read(assignment, assignment.labeler)


def count_skip(task: Task) -> None:
    """Note on a locked task that one labeler more skipped it; when many have, it leaves the queue for a review."""
    task.skips += 1
    if task.state == TaskState.OPEN and rules_of(task.project).policy.goes_to_review(task.skips):
        task.state = TaskState.REVIEW
        audit.record(project=task.project, by=None, verb="task.to_review", target=task, skips=task.skips)
    task.save(update_fields=["skips", "state"])


class DraftElsewhere(QueueError):
    """A draft that was saved from another window meanwhile. `assignment` holds it."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        super().__init__(_("This draft was changed in another window meanwhile."))


def draft_save(*, assignment: Assignment, draft: dict[str, Any], base: datetime | None = None) -> datetime:
    """Keep what is being written, whatever became of the lease, and return when it was saved.

    A draft that names its window (`tab`) does not replace one that another window saved after `base`, the draft that
    this one was written upon.

    Raises: DraftElsewhere.
    """
    draft = without_nul(draft)
    mine = Assignment.objects.filter(pk=assignment.pk)
    if draft.get("tab"):
        mine = mine.filter(Q(draft_saved_at__isnull=True) | Q(draft__tab=draft["tab"]))
    now = timezone.now()
    with transaction.atomic():
        if not mine.update(draft=draft, draft_saved_at=now):
            draft_replace(assignment, draft, base, now)
    assignment.draft, assignment.draft_saved_at = draft, now
    return now


def draft_replace(assignment: Assignment, draft: dict[str, Any], base: datetime | None, now: datetime) -> None:
    """Replace another window's draft, if it is the one that this draft was written upon."""
    locked = Assignment.objects.select_for_update().get(pk=assignment.pk)
    if locked.draft_saved_at is not None and locked.draft_saved_at != base:
        raise DraftElsewhere(locked)
    Assignment.objects.filter(pk=assignment.pk).update(draft=draft, draft_saved_at=now)


def without_nul(value: Any) -> Any:
    """A draft with what PostgreSQL can't keep taken out: a draft is saved, never refused."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", errors="replace").decode()
    if isinstance(value, dict):
        return {without_nul(key): without_nul(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [without_nul(item) for item in value]
    return value


# --- Who ------------------------------------------------------------------------------------------


def check_may_label(labeler: Membership) -> None:
    if not labeler.can(Capability.LABEL):
        raise NotYours(_("You don't label in this project. Ask its admin to make you a labeler."))


def check_own(assignment: Assignment, by: Actor) -> None:
    """Only the labeler who holds the assignment works on it, as a member or as the account behind it."""
    mine = assignment.labeler_id == by.pk if isinstance(by, Membership) else assignment.labeler.user_id == by.pk
    if not mine:
        raise NotYours(_("This task was given to somebody else."))
    check_may_label(assignment.labeler)


def read(assignment: Assignment, labeler: Membership) -> Assignment:
    """The labeler's assignment as the database has it now, with what its page shows."""
    found = Assignment.objects.select_related("task__prompt").get(pk=assignment.pk)
    found.labeler, found.task.project = labeler, labeler.project
    return found
