"""Runs and their lifecycle.

The row is the truth; a Celery message only wakes a worker, which claims the best eligible row with one conditional
UPDATE. A claim sets the worker, a lease by the database's clock, and `attempt` + 1: the fencing token. Whatever an
attempt writes later is conditional on that number, so a process that lost its lease can publish nothing.

    queued ─claim─► running ─► succeeded | failed | cancelling ─► cancelled | pausing ─► paused ─► queued
       ▲               │
       └──lease lost───┘     at most RUN_MAX_LOST times; handing back and pausing do not count
"""

from __future__ import annotations

import time

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.ids import uuid7
from annotation.models import Project, User
from training.models.artifacts import Artifact
from training.models.models import Model, Round
from training.models.snapshots import Snapshot


class Stage(models.TextChoices):
    PRETRAIN = "pretrain", _("Pretrain")
    SFT = "sft", _("SFT")
    REWARD = "reward", _("Reward model")
    PPO = "ppo", _("PPO")
    DPO = "dpo", _("DPO")
    RLOO = "rloo", _("RLOO")
    SAMPLE = "sample", _("Sample answers")
    EVALUATE = "evaluate", _("Evaluate")


class RunState(models.TextChoices):
    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    CANCELLING = "cancelling", _("Cancelling")
    PAUSING = "pausing", _("Pausing")
    PAUSED = "paused", _("Paused")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


S = RunState
HELD = frozenset({S.RUNNING, S.CANCELLING, S.PAUSING})  # a worker holds a lease on it
ENDED = frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED})
# Every change that is allowed, with its story. The database refuses all others (`training.guard`), the services
# name these (`services.transitions`), and docs/runs.md draws them.
STORIES: dict[tuple[RunState, RunState], str] = {
    (S.QUEUED, S.RUNNING): "a worker claims it, attempt + 1",
    (S.QUEUED, S.CANCELLED): "cancelled while it waits",
    (S.QUEUED, S.PAUSED): "paused while it waits",
    (S.RUNNING, S.QUEUED): "handed back, or its lease ran out",
    (S.RUNNING, S.CANCELLING): "someone cancels",
    (S.RUNNING, S.PAUSING): "someone pauses",
    (S.RUNNING, S.SUCCEEDED): "its result is published",
    (S.RUNNING, S.FAILED): "it can't go on by itself",
    (S.CANCELLING, S.CANCELLED): "the core is gone",
    # A run may succeed while a cancel is on its way: what is finished is kept.
    (S.CANCELLING, S.SUCCEEDED): "it had finished already",
    (S.CANCELLING, S.FAILED): "it failed first",
    # Handed back, stopped or lost while pausing: it is paused all the same, at its last checkpoint.
    (S.PAUSING, S.PAUSED): "checkpoint saved",
    (S.PAUSING, S.CANCELLING): "someone cancels",
    (S.PAUSING, S.SUCCEEDED): "it had finished already",
    (S.PAUSING, S.FAILED): "it failed first",
    (S.PAUSED, S.QUEUED): "someone lets it go on",
    (S.PAUSED, S.CANCELLED): "cancelled while it waits",
    # Succeeded and cancelled are the end. A cancelled run's checkpoints begin a new run (`services.checkpoints`).
    (S.FAILED, S.QUEUED): "someone tries again",
}
TRANSITIONS: dict[str, frozenset[RunState]] = {
    source: frozenset(target for origin, target in STORIES if origin == source) for source in S
}


class Queue(models.TextChoices):
    DEFAULT = "default", "default"
    GPU = "gpu", "gpu"


class Run(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    round = models.ForeignKey(Round, null=True, blank=True, on_delete=models.SET_NULL, related_name="runs")
    stage = models.CharField(max_length=16, choices=Stage)
    name = models.CharField(max_length=120)
    state = models.CharField(max_length=16, choices=RunState, default=RunState.QUEUED)
    config = models.JSONField(default=dict, help_text="What was asked for; the core fills in its defaults")
    config_hash = models.CharField(max_length=64, help_text="Of stage, config, seed and the inputs' hashes; no paths")
    seed = models.PositiveBigIntegerField(default=0)
    numerics = models.JSONField(default=dict)
    queue = models.CharField(max_length=16, default=Queue.GPU)
    priority = models.IntegerField(default=0, help_text="Higher comes first")
    place = models.FloatField(
        default=time.time, help_text="Order within a priority: the moment it was asked for, until someone moves it"
    )
    queued_at = models.DateTimeField(default=timezone.now, help_text="Since when it waits, or waited last")
    cloned_from = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="clones", help_text="Copied from it"
    )
    then = models.JSONField(
        default=dict, blank=True, help_text='What to do with the result: {"rank": {"k": 4, "purpose": "train"}}'
    )

    # The claim
    attempt = models.PositiveIntegerField(default=0, help_text="The fencing token; only a claim increments it")
    worker = models.CharField(max_length=120, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True, help_text="By the database's clock")
    lost_count = models.PositiveIntegerField(default=0, help_text="Leases lost: crashes of worker or machine")

    # Progress, as the supervisor last saw it
    step = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    phase = models.CharField(max_length=40, blank=True, default="")
    latest_metrics = models.JSONField(default=dict)
    data_report = models.JSONField(default=list, help_text="What was kept and filtered, with reasons")
    result = models.JSONField(default=dict)
    output = models.ForeignKey(
        Artifact,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="runs",
        help_text="What it published: a model's folder, answers, a report",
    )
    reason = models.CharField(
        max_length=24,
        blank=True,
        default="",
        help_text="Why it failed: data, config, numerics, memory, disk, crash, lost",
    )
    message = models.TextField(blank=True, default="", help_text="The same in words for the person who reads the page")

    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True, help_text="Of the first attempt")
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["queue", "-priority", "place"], condition=Q(state="queued"), name="run_queue"),
            models.Index(
                fields=["lease_until"], condition=Q(state__in=["running", "cancelling", "pausing"]), name="run_leases"
            ),
            models.Index(fields=["project", "stage", "-created_at"], name="run_project_stage"),
        ]
        constraints = [
            models.CheckConstraint(name="run_state_known", condition=Q(state__in=RunState.values)),
            models.CheckConstraint(name="run_stage_known", condition=Q(stage__in=Stage.values)),
            models.CheckConstraint(
                name="run_lease_iff_held",
                condition=Q(state__in=["running", "cancelling", "pausing"], lease_until__isnull=False)
                | (~Q(state__in=["running", "cancelling", "pausing"]) & Q(lease_until__isnull=True)),
            ),
            models.CheckConstraint(
                name="run_ended_iff_over",
                condition=Q(state__in=["succeeded", "failed", "cancelled"], ended_at__isnull=False)
                | (~Q(state__in=["succeeded", "failed", "cancelled"]) & Q(ended_at__isnull=True)),
            ),
            models.CheckConstraint(name="run_attempted_if_held", condition=~Q(state="running") | Q(attempt__gte=1)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_over(self) -> bool:
        return self.state in ENDED


class RunInput(models.Model):
    """What a run reads, by the core's name for it: a snapshot ("train") or a model ("policy", "reward_model")."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="inputs")
    name = models.CharField(max_length=24)
    snapshot = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.PROTECT, related_name="run_inputs")
    model = models.ForeignKey(Model, null=True, blank=True, on_delete=models.PROTECT, related_name="run_inputs")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["run", "name"], name="run_input_once"),
            models.CheckConstraint(
                name="run_input_one_of_two",
                condition=Q(snapshot__isnull=False, model__isnull=True) | Q(snapshot__isnull=True, model__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.run_id}"


class Attempt(models.Model):
    """One process's try at a run."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    worker = models.CharField(max_length=120)
    resumed_from = models.PositiveIntegerField(default=0, help_text="Step of the checkpoint that it started from")
    outcome = models.CharField(
        max_length=24, blank=True, default="", help_text="finished, stopped, failed, lost, cancelled"
    )
    message = models.TextField(blank=True, default="")
    versions = models.JSONField(default=dict)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["run", "number"]
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="attempt_number_once")]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.run_id}"


class Checkpoint(models.Model):
    """A place to resume from, registered by hash; files live in the attempt's folder of the file store."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="checkpoints")
    attempt = models.PositiveIntegerField()
    step = models.PositiveIntegerField()
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="checkpoints")
    set_aside = models.BooleanField(
        default=False, help_text="Someone went back to an earlier one, so no attempt goes on from here by itself"
    )
    metric = models.CharField(max_length=120, blank=True, default="", help_text="By which the best one is chosen")
    value = models.FloatField(null=True, blank=True, help_text="Of that metric at this step")
    problem = models.CharField(
        max_length=200, blank=True, default="", help_text="Why it was passed over when it was to be resumed from"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["run", "-step", "-attempt"]
        constraints = [models.UniqueConstraint(fields=["run", "attempt", "step"], name="checkpoint_once")]

    def __str__(self) -> str:
        return f"checkpoint {self.step} of {self.run_id}"
