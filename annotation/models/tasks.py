"""The queue: a task wants `overlap` labels, so it has that many numbered slots; an assignment holds one of them.

A slot is held while its assignment is leased or submitted, and given back by a skip or an expired lease. A labeler who
submits after the lease ran out takes a free slot if there is one; otherwise the label is kept and does not count. So no
label is refused, and no task counts more labels than it wants.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.fields import Category, SkipReason
from annotation.ids import uuid7
from annotation.models.accounts import Membership, Project
from annotation.models.briefs import PromptBrief
from annotation.models.imports import ImportBatch
from annotation.models.prompts import Prompt, Response


class TaskKind(models.TextChoices):
    DEMONSTRATION = "demonstration", _("Demonstration")
    RANKING = "ranking", _("Ranking")
    COMPARISON = "comparison", _("Comparison of two models")
    CORRECTION = "correction", _("Correction")
    PROMPT = "prompt", _("Prompt writing")


# Kinds that show answers by others: nobody gets one that holds an answer of theirs.
SHOW_ANSWERS = (TaskKind.RANKING, TaskKind.COMPARISON, TaskKind.CORRECTION)
# Kinds whose label is a ranking, and those whose label is a text.
RANKED = (TaskKind.RANKING, TaskKind.COMPARISON)
WRITTEN = (TaskKind.DEMONSTRATION, TaskKind.CORRECTION)


class TaskState(models.TextChoices):
    OPEN = "open", _("Open")
    COMPLETE = "complete", _("Complete")
    REVIEW = "review", _("In review")
    WITHDRAWN = "withdrawn", _("Withdrawn")


class Task(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tasks")
    kind = models.CharField(max_length=24, choices=TaskKind)
    # What the work is about: a prompt; for prompt writing, which has none yet, the brief that asks for one.
    prompt = models.ForeignKey(Prompt, null=True, blank=True, on_delete=models.PROTECT, related_name="tasks")
    brief = models.ForeignKey(PromptBrief, null=True, blank=True, on_delete=models.PROTECT, related_name="tasks")
    responses: models.ManyToManyField[Response, TaskResponse] = models.ManyToManyField(
        Response, through="TaskResponse", related_name="tasks"
    )
    overlap = models.PositiveSmallIntegerField(default=1)
    open_slots = models.PositiveSmallIntegerField(help_text="Slots that nobody holds; changed under the row's lock")
    # The prompt's own, repeated here because the queue's indexes hold them.
    category = models.CharField(max_length=24, choices=Category, default=Category.OTHER)
    language = models.CharField(max_length=16, default="en", blank=True)  # empty: of no language yet
    priority = models.IntegerField(default=0, help_text="Higher comes first")
    uncertainty = models.FloatField(default=0, help_text="Bits (0 to 1) by which a reward model is unsure; 0: unknown")
    skips = models.PositiveSmallIntegerField(default=0, help_text="Labelers who skipped it since it was last reviewed")
    purpose = models.CharField(max_length=8, choices=[("train", "train"), ("eval", "eval")], default="train")
    state = models.CharField(max_length=16, choices=TaskState, default=TaskState.OPEN)
    round = models.ForeignKey("training.Round", null=True, blank=True, on_delete=models.SET_NULL, related_name="tasks")
    batch = models.ForeignKey(
        ImportBatch,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="tasks",
        help_text="The import that brought it",
    )
    group_key = models.CharField(
        max_length=64, blank=True, default="", help_text="Hash of a ranking's answers, so that a group is one task"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-priority", "id"]
        indexes = [
            models.Index(
                fields=["project", "kind", "-priority", "id"],
                condition=Q(state="open", open_slots__gt=0),
                name="task_queue",
            ),
            models.Index(
                fields=["project", "kind", "category", "-priority", "id"],
                condition=Q(state="open", open_slots__gt=0),
                name="task_queue_category",
            ),
            models.Index(
                fields=["project", "kind", "category", "-priority", "-uncertainty", "id"],
                condition=Q(state="open", open_slots__gt=0),
                name="task_queue_uncertain",
            ),
            models.Index(
                fields=["project", "kind", "language", "-priority", "id"],
                condition=Q(state="open", open_slots__gt=0),
                name="task_queue_language",
            ),
            models.Index(fields=["project", "id"], condition=Q(state="review"), name="task_review"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["prompt"], condition=Q(kind="demonstration"), name="task_one_demonstration"
            ),
            models.UniqueConstraint(
                fields=["project", "kind", "purpose", "group_key"], condition=~Q(group_key=""), name="task_group_once"
            ),
            models.CheckConstraint(
                name="task_open_slots_in_range", condition=Q(open_slots__gte=0) & Q(open_slots__lte=F("overlap"))
            ),
            models.CheckConstraint(name="task_overlap_positive", condition=Q(overlap__gte=1)),
            models.CheckConstraint(name="task_kind_known", condition=Q(kind__in=TaskKind.values)),
            # Blind comparisons of models are for evaluation: no reward model is ever trained on them.
            models.CheckConstraint(name="task_comparison_is_eval", condition=~Q(kind="comparison") | Q(purpose="eval")),
            models.CheckConstraint(
                name="task_prompt_or_brief",
                condition=Q(kind="prompt", prompt__isnull=True, brief__isnull=False)
                | ~Q(kind="prompt") & Q(prompt__isnull=False, brief__isnull=True),
            ),
            # A task to write a prompt yields one.
            models.CheckConstraint(name="task_prompt_written_once", condition=~Q(kind="prompt") | Q(overlap=1)),
            models.CheckConstraint(name="task_state_known", condition=Q(state__in=TaskState.values)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.prompt_id or self.brief_id}"

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation that the work is about; empty where a prompt is yet to be written."""
        return self.prompt.messages if self.prompt else []


class TaskResponse(models.Model):
    """One of the K answers that a ranking task shows."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="task_responses", db_index=False)
    response = models.ForeignKey(Response, on_delete=models.PROTECT, related_name="task_responses")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["task", "response"], name="task_response_once")]

    def __str__(self) -> str:
        return f"{self.response_id} in {self.task_id}"


class AssignmentStatus(models.TextChoices):
    LEASED = "leased", _("In work")
    SUBMITTED = "submitted", _("Submitted")
    SKIPPED = "skipped", _("Skipped")
    EXPIRED = "expired", _("Lease ran out")


class Assignment(models.Model):
    """A task in one labeler's hands, with the draft of what they are writing."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No indexes of their own: others begin with them.
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="assignments", db_index=False)
    labeler = models.ForeignKey(Membership, on_delete=models.PROTECT, related_name="assignments", db_index=False)
    status = models.CharField(max_length=16, choices=AssignmentStatus, default=AssignmentStatus.LEASED)
    slot = models.PositiveSmallIntegerField(null=True, blank=True, help_text="1..overlap; null when it holds none")
    lease_until = models.DateTimeField()
    presented_order = models.JSONField(default=list, help_text="Response ids in the order this labeler sees them")
    draft = models.JSONField(default=dict)
    draft_saved_at = models.DateTimeField(null=True, blank=True)
    skip_reason = models.CharField(max_length=24, choices=SkipReason, blank=True, default="")
    skip_note = models.TextField(blank=True, default="")
    assigned_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-assigned_at", "-id"]
        indexes = [
            models.Index(fields=["labeler", "status"], name="assignment_labeler_status"),
            models.Index(fields=["lease_until"], condition=Q(status="leased"), name="assignment_leases"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["task", "labeler"], name="assignment_once_a_labeler"),
            models.UniqueConstraint(fields=["task", "slot"], name="assignment_slot_once"),
            models.CheckConstraint(
                name="assignment_slot_held_rightly",
                condition=Q(status="submitted")
                | Q(status="leased", slot__isnull=False)
                | Q(status__in=["skipped", "expired"], slot__isnull=True),
            ),
            models.CheckConstraint(name="assignment_slot_positive", condition=Q(slot__isnull=True) | Q(slot__gte=1)),
            models.CheckConstraint(name="assignment_status_known", condition=Q(status__in=AssignmentStatus.values)),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} by {self.labeler_id}"
