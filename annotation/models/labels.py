"""Labels: what a labeler made of a task. Revisions are added, never edited; one is current."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.fields import HIGHEST_RATING, LOWEST_RATING
from annotation.ids import uuid7
from annotation.models.accounts import Membership, Project
from annotation.models.guidelines import FormVersion, Guideline
from annotation.models.imports import ImportBatch
from annotation.models.prompts import Prompt, Response
from annotation.models.tasks import Assignment, Task

if TYPE_CHECKING:
    from django.db.models.constraints import BaseConstraint


class Origin(models.TextChoices):
    HUMAN = "human", _("By a person")
    SIMULATED = "simulated", _("Simulated")
    IMPORTED = "imported", _("Imported")


class Purpose(models.TextChoices):
    TRAIN = "train", _("Training")
    EVAL = "eval", _("Evaluation only")


def label_constraints(name: str) -> list[BaseConstraint]:
    """The invariants of every kind of label; each table needs names of its own."""
    return [
        models.UniqueConstraint(fields=["assignment", "revision"], name=f"{name}_revision_once"),
        models.UniqueConstraint(fields=["assignment"], condition=Q(is_current=True), name=f"{name}_one_current"),
        models.CheckConstraint(name=f"{name}_revision_positive", condition=Q(revision__gte=1)),
        models.CheckConstraint(name=f"{name}_origin_known", condition=Q(origin__in=Origin.values)),
        models.CheckConstraint(name=f"{name}_purpose_known", condition=Q(purpose__in=Purpose.values)),
        models.CheckConstraint(name=f"{name}_seconds_not_negative", condition=Q(active_seconds__gte=0)),
    ]


class Label(models.Model):
    """What all labels carry: provenance enough to say later who made it, when, under which rules."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Project and assignment have no index of their own: others begin with them.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="%(class)ss", db_index=False)
    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="%(class)ss")
    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="%(class)ss", db_index=False)
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="%(class)ss")
    labeler = models.ForeignKey(Membership, on_delete=models.PROTECT, related_name="%(class)ss")
    guideline = models.ForeignKey(Guideline, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    imported_guideline = models.CharField(
        max_length=120, blank=True, default="", help_text="An imported label's own guideline, by name or version"
    )
    form = models.ForeignKey(FormVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    batch = models.ForeignKey(ImportBatch, null=True, blank=True, on_delete=models.PROTECT, related_name="%(class)ss")
    submission_id = models.UUIDField(unique=True, help_text="Made by the form; the same one twice is the same submit")
    revision = models.PositiveIntegerField(default=1)
    is_current = models.BooleanField(default=True)
    origin = models.CharField(max_length=16, choices=Origin, default=Origin.HUMAN)
    purpose = models.CharField(max_length=8, choices=Purpose, default=Purpose.TRAIN)
    counts = models.BooleanField(default=True, help_text="False: came when the task had all the labels it wanted")
    started_at = models.DateTimeField()
    submitted_at = models.DateTimeField(default=timezone.now)
    active_seconds = models.FloatField(default=0, help_text="Time at work, idle time left out")

    class Meta:
        abstract = True


class Demonstration(Label):
    """A labeler's own answer to a prompt; the text is its `response`."""

    response = models.ForeignKey(Response, on_delete=models.PROTECT, related_name="demonstrations")
    corrects = models.ForeignKey(
        Response,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="corrections",
        help_text="The answer that it was made from",
    )

    class Meta:
        ordering = ["-submitted_at", "-id"]
        indexes = [
            models.Index(fields=["project", "is_current", "id"], name="demonstration_current"),
            models.Index(fields=["project", "-submitted_at"], name="demonstration_latest"),
        ]
        constraints = label_constraints("demonstration")

    def __str__(self) -> str:
        return f"demonstration {self.id} r{self.revision}"


class Ranking(Label):
    """A labeler's order of K answers; the answers with rank, rating and flags are its `ranked_responses`."""

    prompt_fields = models.JSONField(default=dict, help_text="What was said of the prompt, by the form's keys")

    class Meta:
        ordering = ["-submitted_at", "-id"]
        indexes = [
            models.Index(fields=["project", "is_current", "id"], name="ranking_current"),
            models.Index(fields=["project", "-submitted_at"], name="ranking_latest"),
        ]
        constraints = label_constraints("ranking")

    def __str__(self) -> str:
        return f"ranking {self.id} r{self.revision}"


class WrittenPrompt(Label):
    """A prompt that a labeler wrote; `prompt` is what became of this revision."""

    said = models.JSONField(default=dict, help_text="The form as it was filled in: its parts, category and language")

    class Meta:
        ordering = ["-submitted_at", "-id"]
        indexes = [
            models.Index(fields=["project", "is_current", "id"], name="written_prompt_current"),
            models.Index(fields=["project", "-submitted_at"], name="written_prompt_latest"),
        ]
        constraints = label_constraints("written_prompt")

    def __str__(self) -> str:
        return f"written prompt {self.id} r{self.revision}"


class RankedResponse(models.Model):
    """One answer in a ranking. Equal ranks are ties, 1 is best, null was not ranked."""

    ranking = models.ForeignKey(Ranking, on_delete=models.CASCADE, related_name="ranked_responses", db_index=False)
    response = models.ForeignKey(Response, on_delete=models.PROTECT, related_name="ranked_responses")
    position = models.PositiveSmallIntegerField(help_text="Where it was shown, from 0")
    rank = models.PositiveSmallIntegerField(null=True, blank=True)
    rating = models.PositiveSmallIntegerField(null=True, blank=True)
    flags = models.JSONField(default=list)

    class Meta:
        ordering = ["ranking", "position"]
        # Few answers have a flag, and people look for those.
        indexes = [models.Index(fields=["ranking"], condition=~Q(flags=[]), name="ranked_flagged")]
        constraints = [
            models.UniqueConstraint(fields=["ranking", "response"], name="ranked_response_once"),
            models.UniqueConstraint(fields=["ranking", "position"], name="ranked_position_once"),
            models.CheckConstraint(name="ranked_rank_positive", condition=Q(rank__isnull=True) | Q(rank__gte=1)),
            models.CheckConstraint(
                name="ranked_rating_in_range",
                condition=Q(rating__isnull=True) | Q(rating__range=(LOWEST_RATING, HIGHEST_RATING)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.response_id}: {self.rank}"
