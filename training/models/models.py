"""Models that runs made or that an admin registered, and the rounds that tie a turn of the loop together."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.ids import uuid7
from annotation.models import Project, User
from training.models.artifacts import Artifact


class ModelKind(models.TextChoices):
    POLICY = "policy", _("Policy")
    REWARD_MODEL = "reward_model", _("Reward model")


class Model(models.Model):
    """A Hugging Face folder in the file store. Without a run it was registered by hand (`source` says from where)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="models")
    kind = models.CharField(max_length=16, choices=ModelKind)
    name = models.CharField(max_length=120)
    run = models.OneToOneField("training.Run", null=True, blank=True, on_delete=models.PROTECT, related_name="model")
    source = models.CharField(max_length=255, blank=True, default="", help_text="Hub name with commit, or folder name")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="models")
    card = models.JSONField(
        default=dict, help_text="plackett.json: stage, config, metrics, hashes of tokenizer and template"
    )
    parameters = models.PositiveBigIntegerField(null=True, blank=True)
    context_length = models.PositiveIntegerField(null=True, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="model_name_once"),
            models.CheckConstraint(name="model_from_run_or_source", condition=Q(run__isnull=False) | ~Q(source="")),
        ]

    def __str__(self) -> str:
        return self.name


class Round(models.Model):
    """One turn of the loop: this policy answered, those answers were ranked, this reward model came of it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rounds")
    number = models.PositiveIntegerField()
    policy = models.ForeignKey(Model, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    sampling_run = models.ForeignKey("training.Run", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    reward_model = models.ForeignKey(Model, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="round_number_once")]

    def __str__(self) -> str:
        return f"round {self.number}"
