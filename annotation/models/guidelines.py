"""What labelers were told, and which form they filled in: both versioned, and stamped on every label."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from annotation.ids import uuid7
from annotation.models.accounts import Membership, Project, User


class Guideline(models.Model):
    """One version of a project's guidelines (markdown). Versions are added, never edited."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guidelines")
    version = models.PositiveIntegerField()
    body = models.TextField()
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-version"]
        constraints = [models.UniqueConstraint(fields=["project", "version"], name="guideline_version_once")]

    def __str__(self) -> str:
        return f"guidelines v{self.version}"


class GuidelineAcknowledgement(models.Model):
    """A member said that they have read this version. Rows are added, never edited."""

    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="acknowledgements")
    guideline = models.ForeignKey(Guideline, on_delete=models.CASCADE, related_name="acknowledgements")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["membership", "guideline"], name="guideline_acknowledged_once")]

    def __str__(self) -> str:
        return f"{self.membership_id} read {self.guideline_id}"


class FormVersion(models.Model):
    """One version of the fields that a kind of task asks for (`annotation.ranking_form`). Added, never edited."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="forms")
    kind = models.CharField(max_length=24, help_text="The task kind")
    version = models.PositiveIntegerField()
    fields = models.JSONField(default=dict)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["kind", "-version"]
        constraints = [models.UniqueConstraint(fields=["project", "kind", "version"], name="form_version_once")]

    def __str__(self) -> str:
        return f"{self.kind} form v{self.version}"
