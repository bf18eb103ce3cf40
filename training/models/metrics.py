"""What a run told while it ran. Metrics are stored in chunks of steps: a curve is a few rows and not thousands."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from training.models.runs import Run


class MetricChunk(models.Model):
    """Columns of metrics for the steps first_step..last_step of one attempt.

    A later attempt supersedes the steps after the checkpoint that it resumed from; `selectors.runs.metric_series`
    joins them.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="metric_chunks")
    attempt = models.PositiveIntegerField()
    first_step = models.PositiveIntegerField()
    last_step = models.PositiveIntegerField()
    level = models.PositiveSmallIntegerField(default=0, help_text="0 = every step; n = every 8^n-th")
    columns = models.JSONField(help_text='{"step": [..], "loss/train": [.., null, ..]}')

    class Meta:
        ordering = ["run", "level", "attempt", "first_step"]
        constraints = [
            models.UniqueConstraint(fields=["run", "attempt", "level", "first_step"], name="metric_chunk_once")
        ]

    def __str__(self) -> str:
        return f"steps {self.first_step}-{self.last_step} of {self.run_id}"


class RunSample(models.Model):
    """What the model answered at a step, so that a person sees it change."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="samples")
    attempt = models.PositiveIntegerField()
    step = models.PositiveIntegerField()
    index = models.PositiveIntegerField(help_text="Order within the step")
    prompt = models.JSONField()
    response = models.TextField(blank=True)
    score = models.FloatField(null=True, blank=True)
    tokens = models.PositiveIntegerField(null=True, blank=True)
    ended = models.BooleanField(null=True)

    class Meta:
        ordering = ["run", "step", "index"]
        constraints = [models.UniqueConstraint(fields=["run", "attempt", "step", "index"], name="run_sample_once")]

    def __str__(self) -> str:
        return f"sample at {self.step} of {self.run_id}"


class RunLine(models.Model):
    """A line of the run's log, for people."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="lines")
    attempt = models.PositiveIntegerField()
    level = models.CharField(max_length=8, default="info")
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["run", "id"]

    def __str__(self) -> str:
        return self.text[:60]
