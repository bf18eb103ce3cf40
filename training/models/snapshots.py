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
    facts = models.JSONField(default=dict, blank=True, help_text="Mix, shares and biases, counted once from its files")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="snapshots")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    erased_at = models.DateTimeField(null=True, blank=True, help_text="Its files were destroyed; the manifest stays")
    erased_why = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "sha256"], name="snapshot_once"),
            models.CheckConstraint(
                name="snapshot_erased_with_reason",
                condition=models.Q(erased_at__isnull=True) | ~models.Q(erased_why=""),
            ),
        ]

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


class LeakState(models.TextChoices):
    WAITING = "waiting", _("Not checked yet")
    CLEAN = "clean", _("No leak found")
    FOUND = "found", _("To be decided")
    ACCEPTED = "accepted", _("Accepted")
    LEFT_OUT = "left_out", _("Replaced by a snapshot without them")


class LeakCheck(models.Model):
    """Whether prompts in a snapshot's train file also stand, word for word or nearly, in a file that is held out.

    Nothing trains on a snapshot until this is clean, or a person has decided.
    """

    snapshot = models.OneToOneField(Snapshot, on_delete=models.CASCADE, related_name="leak_check")
    state = models.CharField(max_length=16, choices=LeakState, default=LeakState.WAITING)
    exact = models.PositiveIntegerField(default=0, help_text="Prompts in train that are held out word for word")
    near = models.PositiveIntegerField(default=0, help_text="Prompts in train that are nearly held out")
    checked_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, default="", help_text="Why they were accepted")
    replaced_by = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    decided_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="leak_state_known", condition=models.Q(state__in=LeakState.values)),
            models.CheckConstraint(
                name="leak_accepted_with_reason", condition=~models.Q(state="accepted") | ~models.Q(reason="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.state}: {self.snapshot_id}"

    @property
    def total(self) -> int:
        return self.exact + self.near


class LeakPair(models.Model):
    """A prompt in train beside the held-out prompt that it is closest to; the first thousand of a check."""

    leak_check = models.ForeignKey(LeakCheck, on_delete=models.CASCADE, related_name="pairs")
    similarity = models.FloatField(help_text="Jaccard of the shingles; 1 is the same but for case and spacing")
    train_row = models.CharField(max_length=64)
    train_prompt = models.TextField()
    held_out_row = models.CharField(max_length=64)
    held_out_prompt = models.TextField()
    held_out_split = models.CharField(max_length=24)

    class Meta:
        ordering = ["leak_check", "-similarity", "id"]

    def __str__(self) -> str:
        return f"{self.train_row} ~ {self.held_out_row}"
