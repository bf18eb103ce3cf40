"""What labelers were told, and which form they filled in: both versioned, and stamped on every label."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from annotation.ids import uuid7
from annotation.models.accounts import Project, User


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


class FormVersion(models.Model):
    """One version of the fields that a kind of task asks for (`annotation.fields.default_ranking_fields`)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="forms")
    kind = models.CharField(max_length=24, help_text="The task kind")
    version = models.PositiveIntegerField()
    fields = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["kind", "-version"]
        constraints = [models.UniqueConstraint(fields=["project", "kind", "version"], name="form_version_once")]

    def __str__(self) -> str:
        return f"{self.kind} form v{self.version}"
