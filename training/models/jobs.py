"""Work that takes longer than a page may: building and exporting snapshots, leak checks, comparisons, counting tokens.

As with runs the row is the truth and a message only wakes a worker: a claim is one conditional UPDATE that sets a lease
and adds 1 to `attempt`, and whatever that attempt writes later is conditional on its number. A killed worker's job is
claimed again when its lease has run out, and goes on from the files that were finished.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.ids import uuid7
from annotation.models import Project, User
from training.models.snapshots import Snapshot


class JobKind(models.TextChoices):
    BUILD = "build", _("Build")
    EXPORT = "export", _("Export")
    LEAKS = "leaks", _("Leak check")
    DIFFERENCE = "difference", _("Comparison")
    TOKENS = "tokens", _("Tokens")
    PUSH = "push", _("Push to a hub")


class JobState(models.TextChoices):
    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    SUCCEEDED = "succeeded", _("Finished")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class Job(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="jobs")
    snapshot = models.ForeignKey(
        Snapshot,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="jobs",
        help_text="What it reads; of a build what it made, once it has",
    )
    kind = models.CharField(max_length=16, choices=JobKind)
    asked = models.JSONField(default=dict, help_text="What was asked for; the same twice is one job")
    state = models.CharField(max_length=16, choices=JobState, default=JobState.QUEUED)
    attempt = models.PositiveIntegerField(default=0, help_text="The fencing token; only a claim increments it")
    lease_until = models.DateTimeField(null=True, blank=True, help_text="By the database's clock")
    done = models.PositiveBigIntegerField(default=0, help_text="Rows so far")
    total = models.PositiveBigIntegerField(default=0, help_text="Rows in all")
    secret = models.TextField(blank=True, default="", help_text="Encrypted, and gone when the job is over")
    result = models.JSONField(default=dict)
    message = models.TextField(blank=True, default="", help_text="Why it failed, in words")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="When its file is removed")

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["created_at"], condition=Q(state__in=["queued", "running"]), name="job_open")]
        constraints = [
            models.CheckConstraint(name="job_state_known", condition=Q(state__in=JobState.values)),
            models.CheckConstraint(name="job_kind_known", condition=Q(kind__in=JobKind.values)),
            models.CheckConstraint(
                name="job_lease_iff_running",
                condition=Q(state="running", lease_until__isnull=False)
                | (~Q(state="running") & Q(lease_until__isnull=True)),
            ),
            models.CheckConstraint(
                name="job_ended_iff_over",
                condition=Q(state__in=["queued", "running"], ended_at__isnull=True)
                | (~Q(state__in=["queued", "running"]) & Q(ended_at__isnull=False)),
            ),
            models.CheckConstraint(name="job_reads_a_snapshot", condition=Q(snapshot__isnull=False) | Q(kind="build")),
            models.CheckConstraint(
                name="job_secret_until_over", condition=Q(secret="") | Q(state__in=["queued", "running"])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.snapshot_id}"

    @property
    def is_over(self) -> bool:
        return self.state not in {JobState.QUEUED, JobState.RUNNING}

    @property
    def percent(self) -> int:
        return min(100, 100 * self.done // self.total) if self.total else 0
