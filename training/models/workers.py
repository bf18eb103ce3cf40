"""Workers as they last told of themselves, and which of them are to take nothing new."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.models import User


def node_of(name: str) -> str:
    """A worker's lasting name: what it was started under, without the number of this process."""
    head, _colon, tail = name.rpartition(":")
    return head if head and tail.isdigit() else name


class Worker(models.Model):
    """A process that claims runs. What it runs stands in `Run.worker`: a worker may have several slots."""

    name = models.CharField(max_length=120, unique=True, help_text="Its node and its process number")
    node = models.CharField(max_length=120, help_text="Lasts over restarts, such as gpu@host")
    host = models.CharField(max_length=120)
    queues = models.CharField(max_length=200, help_text="What it listens on, separated by commas")
    slots = models.PositiveSmallIntegerField(default=1, help_text="Runs at a time")
    device = models.CharField(max_length=120, blank=True, default="")
    threads = models.PositiveIntegerField(default=0)
    memory_bytes = models.PositiveBigIntegerField(default=0)
    memory_used_bytes = models.PositiveBigIntegerField(default=0)
    gpu_memory_bytes = models.PositiveBigIntegerField(default=0)
    gpu_memory_used_bytes = models.PositiveBigIntegerField(default=0)
    version = models.CharField(max_length=40, blank=True, default="")
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]
        indexes = [models.Index(fields=["node"], name="worker_node")]

    def __str__(self) -> str:
        return self.name

    @property
    def queue_names(self) -> list[str]:
        return [name for name in self.queues.split(",") if name]


class DrainHow(models.TextChoices):
    FINISH = "finish", _("let it finish what it runs")
    HAND_BACK = "hand_back", _("save and hand back what it runs")


class Drain(models.Model):
    """A node that takes nothing new. It belongs to the node and not to a process, so that a restart does not end it:
    who drains a host to repair it does not expect it to start a night's work when it comes back."""

    node = models.CharField(max_length=120, unique=True)
    how = models.CharField(max_length=16, choices=DrainHow, default=DrainHow.FINISH)
    why = models.CharField(max_length=200, blank=True, default="")
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["node"]
        constraints = [models.CheckConstraint(name="drain_how_known", condition=models.Q(how__in=DrainHow.values))]

    def __str__(self) -> str:
        return f"drain of {self.node}"
