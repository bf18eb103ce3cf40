"""Imports: one file brought in by a job, what became of it, and each line that could not come in.

    staged ──start──► queued ──claim──► running: check, then write ──► succeeded
       │                 ▲ lease lost, or handed back ┘    │
       └──► cancelled ◄──┴─────────────────────────────────┴──► refused (bad lines), failed (reason)

The row is the truth; a message only wakes a worker. What a running import writes stays hidden (labels not current,
prompts and tasks withdrawn) until its last transaction shows all of it at once; so an import that ends in any other way
has never been there.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.ids import uuid7
from annotation.models.accounts import Project, User


class ImportKind(models.TextChoices):
    PROMPTS = "prompts", _("Prompts")
    DEMONSTRATIONS = "demonstrations", _("Demonstrations (prompt and answer)")
    RANKINGS = "rankings", _("Rankings (prompt, answers and their order)")
    ANSWERS = "answers", _("Answers to be ranked (prompt and several answers)")


class ImportState(models.TextChoices):
    STAGED = "staged", _("Not started")
    QUEUED = "queued", _("Waiting")
    RUNNING = "running", _("Running")
    SUCCEEDED = "succeeded", _("Done")
    REFUSED = "refused", _("Refused")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class ImportPhase(models.TextChoices):
    CHECK = "check", _("Checking")
    WRITE = "write", _("Writing")


# States after which nothing more happens.
IMPORT_OVER = (ImportState.SUCCEEDED, ImportState.REFUSED, ImportState.FAILED, ImportState.CANCELLED)


class ImportBatch(models.Model):
    """One file brought in: where it is from, under which licence, how far the job is, and what became of its lines."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="import_batches")
    kind = models.CharField(max_length=24, help_text="prompts, demonstrations, rankings or answers")
    pool = models.CharField(max_length=8, blank=True, default="", help_text="For rows that name none")
    source = models.CharField(max_length=120)
    licence = models.CharField(max_length=120, blank=True, default="")
    consent = models.TextField(blank=True, default="", help_text="On what ground these people's data may be used")
    filename = models.CharField(max_length=255, blank=True, default="")
    sha256 = models.CharField(max_length=64, help_text="Of the file, which lies staged under this name")
    size = models.PositiveBigIntegerField(default=0, help_text="Bytes of the file as it was sent")
    format = models.CharField(max_length=32, blank=True, default="", help_text="Empty: as the first row looks")
    mapping = models.JSONField(default=dict, blank=True, help_text="Our fields to the file's columns, where chosen")
    accept_bad_lines = models.BooleanField(default=False)

    state = models.CharField(max_length=16, choices=ImportState, default=ImportState.SUCCEEDED)
    phase = models.CharField(max_length=8, choices=ImportPhase, blank=True, default="")
    position = models.PositiveBigIntegerField(default=0, help_text="Rows read in this phase")
    position_bytes = models.PositiveBigIntegerField(default=0, help_text="Bytes of the file read in this phase")
    rows = models.PositiveBigIntegerField(default=0, help_text="Rows of the file, known after the check")
    cancel_asked = models.BooleanField(default=False)
    message = models.TextField(blank=True, default="", help_text="Why it failed")
    attempt = models.PositiveIntegerField(default=0, help_text="The fencing token: only a claim adds to it")
    worker = models.CharField(max_length=120, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    lost_count = models.PositiveIntegerField(default=0)
    queued_at = models.DateTimeField(null=True, blank=True)
    phase_at = models.DateTimeField(null=True, blank=True, help_text="When this phase began, for the time left")
    phase_from = models.PositiveBigIntegerField(default=0, help_text="The position at which this attempt took it up")
    ended_at = models.DateTimeField(null=True, blank=True)

    added = models.PositiveIntegerField(default=0)
    known = models.PositiveIntegerField(default=0, help_text="Rows that were here already")
    rejected_count = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    undone_at = models.DateTimeField(
        null=True, blank=True, help_text="Its rows are hidden: undone, or it ended while writing"
    )

    cleared_at = models.DateTimeField(
        null=True, blank=True, help_text="What it wrote before it ended unseen is removed"
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["queued_at", "id"], condition=Q(state__in=["queued", "running"]), name="import_waiting"
            )
        ]
        constraints = [
            # A second one would take rows for known that the first may yet take back.
            models.UniqueConstraint(
                fields=["project"], condition=Q(state="running"), name="import_one_running_a_project"
            ),
            models.CheckConstraint(name="import_state_known", condition=Q(state__in=ImportState.values)),
            models.CheckConstraint(
                name="import_running_is_leased", condition=~Q(state="running") | Q(lease_until__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} ({self.filename})"

    @property
    def is_over(self) -> bool:
        return self.state in IMPORT_OVER


class ImportRejection(models.Model):
    """A line that could not come in, and why."""

    batch = models.ForeignKey(ImportBatch, on_delete=models.CASCADE, related_name="rejections")
    line = models.PositiveBigIntegerField()
    problem = models.TextField()

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["batch", "id"], name="import_rejection_batch")]

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"
