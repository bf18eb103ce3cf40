"""How a project's queue is steered."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from annotation.models.accounts import Project
from annotation.models.tasks import TaskKind
from annotation.overlaps import Overlap
from annotation.policy import INSTRUCTGPT_QUOTAS

MAX_OVERLAP = 100
MAX_WEIGHT = 1000
MAX_DAILY = 10_000
MAX_TARGET = 100_000_000
OVERLAP_RANGE = [MinValueValidator(1), MaxValueValidator(MAX_OVERLAP)]


class KindSettings(models.Model):
    """How one kind of task is handed out in a project; a kind without a row has the defaults."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="kind_settings")
    kind = models.CharField(max_length=24, choices=TaskKind)
    overlap = models.PositiveSmallIntegerField(
        default=1, validators=OVERLAP_RANGE, help_text="Labels wanted for each task"
    )
    sampled_percent = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(100)], help_text="Share of tasks with an overlap apart"
    )
    sampled_overlap = models.PositiveSmallIntegerField(
        default=1, validators=OVERLAP_RANGE, help_text="Labels wanted for each task of that share"
    )

    weight = models.PositiveSmallIntegerField(
        default=1, validators=[MaxValueValidator(MAX_WEIGHT)], help_text="How often it comes; 0: not handed out"
    )

    target_labels = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_TARGET)],
        help_text="Labels wanted in all; empty: no target",
    )

    class Meta:
        ordering = ["project", "kind"]
        constraints = [
            models.UniqueConstraint(fields=["project", "kind"], name="kind_settings_once"),
            models.CheckConstraint(
                name="kind_settings_overlap_in_range",
                condition=Q(overlap__range=(1, MAX_OVERLAP)) & Q(sampled_overlap__range=(1, MAX_OVERLAP)),
            ),
            models.CheckConstraint(name="kind_settings_percent", condition=Q(sampled_percent__range=(0, 100))),
        ]

    def __str__(self) -> str:
        return f"{self.kind} in {self.project_id}"

    @property
    def labels_wanted(self) -> Overlap:
        return Overlap(self.overlap, self.sampled_percent, self.sampled_overlap)


def default_quotas() -> dict[str, float]:
    return dict(INSTRUCTGPT_QUOTAS)


class QueuePolicy(models.Model):
    """What comes next in a project; a project without a row has the defaults of `annotation.policy.Policy`."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="queue_policy")
    quotas = models.JSONField(default=default_quotas, blank=True, help_text="{category: share}; empty: no quotas")
    uncertain_first = models.BooleanField(default=False)
    daily_limit = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_DAILY)],
        help_text="Tasks a day for each labeler at most; a labeler's own limit comes before it",
    )
    review_after_skips = models.PositiveSmallIntegerField(
        default=3, validators=[MaxValueValidator(MAX_OVERLAP)], help_text="0: skipped tasks never go to review"
    )

    def __str__(self) -> str:
        return f"policy of {self.project_id}"
