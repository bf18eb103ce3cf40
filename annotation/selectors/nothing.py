"""Why there is nothing for a labeler: in sentences, each of which says what would change it."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _

from annotation.models import Assignment, AssignmentStatus, Membership, Task, TaskKind, TaskState
from annotation.selectors.limits import daily_limit_of, left_today
from annotation.selectors.rules import rules_of
from annotation.services.queue import Hurdle, candidates


def reasons_for_nothing(labeler: Membership) -> list[str]:
    """Return why the queue has nothing for this labeler; empty where there is no task at all for anyone.

    The number of queries does not grow.
    """
    if left_today(labeler) == 0:
        words = _("You have done the %(limit)s tasks that your lead set for a day. More come tomorrow.")
        return [words % {"limit": daily_limit_of(labeler)}]
    policy = rules_of(labeler.project).policy
    paused = [kind for kind in TaskKind.values if policy.weight(kind) == 0]
    handed_out = [kind for kind in TaskKind.values if kind not in paused]
    found = []
    if any(candidates(labeler, kind).exists() for kind in paused):
        found.append(_("Tasks of another kind wait, but your lead does not hand them out now."))
    if kept_by(Hurdle.LANGUAGE, labeler, handed_out):
        found.append(_("Tasks wait in languages that you don't work in here. Ask your lead to add one."))
    if kept_by(Hurdle.TOPIC, labeler, handed_out):
        found.append(_("Tasks wait on sensitive topics that you opted out of. You can change that at any time."))
    if kept_by(Hurdle.OWN_ANSWER, labeler, handed_out):
        found.append(_("Groups wait that hold an answer of yours; others rank those."))
    if in_others_hands(labeler).exists():
        found.append(_("Others are working on what is left. What they skip or leave comes to you."))
    return found


def kept_by(hurdle: Hurdle, labeler: Membership, kinds: list[str]) -> bool:
    """Return whether a task waits that this hurdle alone keeps from the labeler."""
    return any(candidates(labeler, kind, without=hurdle).exists() for kind in kinds)


def in_others_hands(labeler: Membership) -> QuerySet[Task]:
    """Open tasks that the labeler has not met and whose slots are all taken, one of them by a lease."""
    met = Assignment.objects.filter(task=OuterRef("pk"), labeler=labeler)
    leased = Assignment.objects.filter(task=OuterRef("pk"), status=AssignmentStatus.LEASED)
    tasks = Task.objects.filter(project=labeler.project_id, state=TaskState.OPEN, open_slots=0)
    return tasks.filter(~Exists(met), Exists(leased))
