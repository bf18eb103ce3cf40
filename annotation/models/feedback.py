"""What labelers and leads say to each other: questions on a task, and comments on a label that may return it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.ids import uuid7
from annotation.models.accounts import Project, User
from annotation.models.tasks import Assignment

MAX_MESSAGE = 4000
MAX_MESSAGES = 100


class QuestionState(models.TextChoices):
    OPEN = "open", _("Open")
    ANSWERED = "answered", _("Answered")
    RESOLVED = "resolved", _("Resolved")


class Question(models.Model):
    """One labeler's thread with the leads about one task. No other labeler sees it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="questions")
    assignment = models.OneToOneField(Assignment, on_delete=models.CASCADE, related_name="question")
    state = models.CharField(max_length=16, choices=QuestionState, default=QuestionState.OPEN)
    asked_at = models.DateTimeField(default=timezone.now, help_text="When it last became open")
    seen_at = models.DateTimeField(null=True, blank=True, help_text="When its labeler last looked at it")
    news = models.BooleanField(default=False, help_text="Something was said that its labeler has not seen")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["project", "id"], condition=Q(state="open"), name="question_open"),
            models.Index(fields=["assignment"], condition=Q(news=True), name="question_news"),
        ]
        constraints = [models.CheckConstraint(name="question_state_known", condition=Q(state__in=QuestionState.values))]

    def __str__(self) -> str:
        return f"question {self.id}"

    @property
    def latest(self) -> QuestionMessage | None:
        """The newest message. Of messages that were read together with the threads, where they were."""
        return max(self.messages.all(), key=lambda message: message.pk, default=None)


class QuestionMessage(models.Model):
    """A message of a thread. Added, never edited."""

    question = models.ForeignKey(Question, on_delete=models.CASCADE, related_name="messages")
    by_labeler = models.BooleanField(help_text="False: by a lead")
    author = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["question", "id"]

    def __str__(self) -> str:
        return f"message of {self.question_id}"


class LabelComment(models.Model):
    """What a reviewer said of a label at one of its revisions. One that returns the label is closed by the next."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="label_comments")
    assignment = models.ForeignKey(Assignment, on_delete=models.CASCADE, related_name="comments")
    revision = models.PositiveIntegerField(help_text="Of the label, as the reviewer read it")
    author = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    body = models.TextField()
    returns = models.BooleanField(default=False, help_text="The label goes back to its labeler")
    created_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True, help_text="When the next revision came")
    seen_at = models.DateTimeField(null=True, blank=True, help_text="When the labeler saw it")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["assignment"], condition=Q(seen_at__isnull=True), name="comment_news"),
            models.Index(
                fields=["project", "id"], condition=Q(returns=True, closed_at__isnull=True), name="comment_returned"
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["assignment"], condition=Q(returns=True, closed_at__isnull=True), name="label_returned_once"
            ),
            models.CheckConstraint(
                name="label_comment_closed_returned", condition=Q(closed_at__isnull=True) | Q(returns=True)
            ),
        ]

    def __str__(self) -> str:
        return f"comment on {self.assignment_id}"
