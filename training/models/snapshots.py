"""Datasets frozen from the tables: immutable files with a hash, and the labels that went in."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.ids import uuid7
from annotation.models import Project, User
from training.models.artifacts import Artifact


class SnapshotKind(models.TextChoices):
    CORPUS = "corpus", _("Corpus (text)")
    DEMONSTRATIONS = "demonstrations", _("Demonstrations")
    RANKINGS = "rankings", _("Rankings")
    PROMPTS = "prompts", _("Prompts")


class Snapshot(models.Model):
    """`sha256` is the manifest's hash: the same query on the same revisions is the same snapshot."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="snapshots")
    kind = models.CharField(max_length=16, choices=SnapshotKind)
    name = models.CharField(max_length=120)
    query = models.JSONField(default=dict)
    manifest = models.JSONField(
        help_text="Query, counts, schema version, tie policy, each file's sha256; no time, no name"
    )
    sha256 = models.CharField(max_length=64)
    counts = models.JSONField(default=dict, help_text="{split: rows, ...}")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="snapshots")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["project", "sha256"], name="snapshot_once")]

    def __str__(self) -> str:
        return self.name


class SnapshotLabel(models.Model):
    """A label revision that a snapshot froze: the way from a label to every model that it shaped."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="labels")
    label_id = models.UUIDField(help_text="Of a Demonstration or a Ranking, by the snapshot's kind")

    class Meta:
        indexes = [models.Index(fields=["label_id"], name="snapshot_label")]
        constraints = [models.UniqueConstraint(fields=["snapshot", "label_id"], name="snapshot_label_once")]

    def __str__(self) -> str:
        return f"{self.label_id} in {self.snapshot_id}"
