"""What labelers and leads said to each other, each side as it may see it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from annotation.models import (
    Assignment,
    AssignmentStatus,
    LabelComment,
    Membership,
    Project,
    Question,
    QuestionMessage,
    QuestionState,
)

SHOWN = 20


@dataclass
class Feedback:
    """What was said about one assignment, as its labeler sees it."""

    question: Question | None = None
    comments: list[LabelComment] = field(default_factory=list)

    @property
    def has_news(self) -> bool:
        """Whether there is something that the labeler has not seen."""
        unseen = any(comment.seen_at is None for comment in self.comments)
        return unseen or (self.question is not None and self.question.news)

    @property
    def returned(self) -> LabelComment | None:
        """The comment by which the label was returned, while no revision has answered it."""
        return next((row for row in self.comments if row.returns and row.closed_at is None), None)


def feedback_on(assignments: Collection[UUID]) -> dict[UUID, Feedback]:
    """What was said about these assignments, oldest first. Three queries, however many they are."""
    found = {key: Feedback() for key in assignments}
    for question in Question.objects.filter(assignment__in=assignments).prefetch_related(in_order()):
        found[question.assignment_id].question = question
    for comment in LabelComment.objects.filter(assignment__in=assignments).order_by("id"):
        found[comment.assignment_id].comments.append(comment)
    return found


def feedback_of(assignment: Assignment) -> Feedback:
    """What was said about one assignment. Comments are of labels: who has not submitted it has none."""
    question = Question.objects.filter(assignment=assignment).prefetch_related(in_order()).first()
    if assignment.status != AssignmentStatus.SUBMITTED:
        return Feedback(question)
    return Feedback(question, list(LabelComment.objects.filter(assignment=assignment).order_by("id")))


def in_order() -> Prefetch[Any]:
    return Prefetch("messages", queryset=QuestionMessage.objects.order_by("id"))


def questions_of(labeler: Membership) -> QuerySet[Question]:
    """A labeler's own threads, the newest first."""
    mine = Question.objects.filter(assignment__labeler=labeler).select_related("assignment__task__prompt")
    return mine.prefetch_related(in_order()).order_by("-news", "-id")


def returned_to(labeler: Membership) -> QuerySet[LabelComment]:
    """The returns that wait for this labeler, the oldest first."""
    waiting = LabelComment.objects.filter(assignment__labeler=labeler, returns=True, closed_at__isnull=True)
    return waiting.select_related("assignment__task__prompt").order_by("id")


def news_for(labeler: Membership) -> int:
    """How many things wait for this labeler: returned labels, and answers and comments that they have not seen."""
    questions = Question.objects.filter(assignment__labeler=labeler, news=True)
    waiting = Q(seen_at__isnull=True) | Q(returns=True, closed_at__isnull=True)
    return questions.count() + LabelComment.objects.filter(waiting, assignment__labeler=labeler).count()


def questions_in(project: Project, *, state: str = "") -> QuerySet[Question]:
    """The threads of a project as leads see them, under pseudonyms, the newest first; `state` may leave others out."""
    questions = Question.objects.filter(project=project)
    if state:
        questions = questions.filter(state=state)
    questions = questions.select_related("assignment__labeler", "assignment__task__prompt")
    return questions.prefetch_related(in_order()).order_by("-id")


def open_questions(project: Project) -> int:
    return Question.objects.filter(project=project, state=QuestionState.OPEN).count()


def returns_in(project: Project) -> QuerySet[LabelComment]:
    """Labels that were returned and wait for their labelers, the oldest first."""
    waiting = LabelComment.objects.filter(project=project, returns=True, closed_at__isnull=True)
    return waiting.select_related("assignment__labeler", "assignment__task__prompt").order_by("id")


def is_returned(assignment: str = "assignment") -> Exists:
    """A condition on labels: returned, and not edited since."""
    waiting = LabelComment.objects.filter(assignment=OuterRef(assignment), returns=True, closed_at__isnull=True)
    return Exists(waiting)


def assignment_in(project: Project, assignment_id: UUID) -> Assignment | None:
    """An assignment of this project, whoever holds it: for reviewers."""
    found = Assignment.objects.filter(pk=assignment_id, task__project=project)
    return found.select_related("task__project", "task__prompt", "labeler").first()
