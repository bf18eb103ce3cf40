"""Files that Plackett keeps, named by their hash. Publishing is: objects, then manifest, then this row."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ArtifactKind(models.TextChoices):
    SNAPSHOT = "snapshot", "snapshot"
    CHECKPOINT = "checkpoint", "checkpoint"
    MODEL = "model", "model"
    RESPONSES = "responses", "responses"
    REPORT = "report", "report"


class Removal(models.Model):
    """A key of the object store that is to go, written with the rows that it belonged to.

    So a store that is away when someone erases a snapshot forgets nothing: the sweep removes it once it answers.
    """

    key = models.CharField(max_length=255, help_text="A file or folder, with all below it")
    due_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["due_at", "id"]

    def __str__(self) -> str:
        return self.key


class Artifact(models.Model):
    sha256 = models.CharField(
        max_length=64, help_text="Of the file, or of the folder's list of files (see training.files)"
    )
    kind = models.CharField(max_length=16, choices=ArtifactKind)
    size = models.PositiveBigIntegerField(help_text="Bytes")
    storage_key = models.CharField(max_length=255, help_text="Path below the file store")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "sha256"], name="artifact_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.sha256[:12]}"
