"""How the API writes queues, checkpoints, workers, notices and webhooks, and what it takes."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from training.models import Checkpoint, Delivery, Notice, Webhook
from training.models.notices import SENT
from training.selectors.workers import WorkerThere
from training.services.ordering import HIGHEST, LOWEST, MOVES


class QueuedSerializer(serializers.Serializer):
    position = serializers.IntegerField(help_text="1 is next, over all projects")
    queue = serializers.CharField(source="run.queue")
    run = serializers.UUIDField(source="run.pk")
    name = serializers.CharField(source="run.name")
    priority = serializers.IntegerField(source="run.priority")
    queued_at = serializers.DateTimeField(source="run.queued_at")
    why = serializers.CharField(
        source="wait.code", help_text="no_worker, no_store, no_data, drained, busy, or starting: a worker takes it now"
    )
    words = serializers.CharField(source="wait.words")
    stuck = serializers.BooleanField(source="wait.stuck", help_text="Nothing that goes on by itself ends the wait")


class MoveSerializer(serializers.Serializer):
    """One of the three, or several."""

    to = serializers.ChoiceField(choices=MOVES, required=False)
    priority = serializers.IntegerField(min_value=LOWEST, max_value=HIGHEST, required=False)
    queue = serializers.RegexField(r"^[A-Za-z0-9-]{1,16}$", required=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if not data:
            raise serializers.ValidationError("Say where to: to, priority or queue.")
        return data


class CheckpointSerializer(serializers.ModelSerializer):
    size = serializers.IntegerField(source="artifact.size", help_text="Bytes")
    sha256 = serializers.CharField(source="artifact.sha256")

    class Meta:
        model = Checkpoint
        fields = ["id", "step", "attempt", "size", "sha256", "set_aside", "created_at"]


class FromCheckpointSerializer(serializers.Serializer):
    checkpoint = serializers.IntegerField(min_value=1, help_text="An id from `checkpoints/`")


class DependentsSerializer(serializers.Serializer):
    """What goes with the run, and what forbids that it goes."""

    model = serializers.UUIDField(source="model.pk", default=None, allow_null=True)
    responses = serializers.IntegerField()
    tasks = serializers.IntegerField()
    checkpoints = serializers.IntegerField()
    files_bytes = serializers.IntegerField()
    children = serializers.SerializerMethodField(help_text="Runs that read its model")
    obstacles = serializers.SerializerMethodField(help_text="Sentences; empty where it may be deleted")
    may_go = serializers.BooleanField()

    def get_children(self, found: Any) -> list[str]:
        return [str(run.pk) for run in found.children]

    def get_obstacles(self, found: Any) -> list[str]:
        return [obstacle.words for obstacle in found.obstacles]


class DeleteSerializer(serializers.Serializer):
    name = serializers.CharField(max_length=120, help_text="The run's name, to confirm")


class WorkerRunSerializer(serializers.Serializer):
    project = serializers.SlugField(source="project.slug")
    run = serializers.UUIDField(source="pk")
    name = serializers.CharField()


class WorkerSerializer(serializers.Serializer):
    name = serializers.CharField(source="worker.name")
    node = serializers.CharField(source="worker.node", help_text="Lasts over restarts; what is drained")
    host = serializers.CharField(source="worker.host")
    queues = serializers.ListField(source="worker.queue_names", child=serializers.CharField())
    slots = serializers.IntegerField(source="worker.slots", help_text="Runs at a time")
    device = serializers.CharField(source="worker.device")
    threads = serializers.IntegerField(source="worker.threads")
    memory_bytes = serializers.IntegerField(source="worker.memory_bytes")
    memory_used_bytes = serializers.IntegerField(source="worker.memory_used_bytes")
    gpu_memory_bytes = serializers.IntegerField(source="worker.gpu_memory_bytes")
    gpu_memory_used_bytes = serializers.IntegerField(source="worker.gpu_memory_used_bytes")
    version = serializers.CharField(source="worker.version")
    started_at = serializers.DateTimeField(source="worker.started_at")
    seen_at = serializers.DateTimeField(source="worker.seen_at")
    is_there = serializers.BooleanField(help_text="Seen lately")
    drained = serializers.CharField(source="drain.how", default="", help_text="finish, hand_back, or empty")
    busy = serializers.SerializerMethodField(help_text="Slots in use")
    runs = serializers.SerializerMethodField(help_text="Those of its runs that you may read")

    def get_busy(self, there: WorkerThere) -> int:
        return len(there.runs)

    def get_runs(self, there: WorkerThere) -> list[dict[str, Any]]:
        readable = self.context["readable"]
        return [dict(WorkerRunSerializer(run).data) for run in there.runs if run.project_id in readable]


class DrainSerializer(serializers.Serializer):
    node = serializers.CharField(max_length=120)
    how = serializers.ChoiceField(choices=["finish", "hand_back"], default="finish")
    why = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)


class UndrainSerializer(serializers.Serializer):
    node = serializers.CharField(max_length=120)


class NoticeSerializer(serializers.ModelSerializer):
    run = serializers.UUIDField(source="run_id", allow_null=True)
    is_read = serializers.BooleanField()

    class Meta:
        model = Notice
        fields = ["id", "kind", "run", "detail", "is_read", "created_at"]


class ReadSerializer(serializers.Serializer):
    notices = serializers.ListField(child=serializers.UUIDField(), max_length=500)


class WebhookSerializer(serializers.ModelSerializer):
    class Meta:
        model = Webhook
        fields = ["id", "url", "kinds", "is_enabled", "disabled_why", "failures", "created_at"]


class WebhookMadeSerializer(WebhookSerializer):
    secret = serializers.CharField(help_text="Shown this once: whsec_..., as Standard Webhooks 1.0 has it")

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]


class WebhookWriteSerializer(serializers.Serializer):
    url = serializers.CharField(max_length=500)
    kinds = serializers.ListField(
        child=serializers.ChoiceField(choices=[kind.value for kind in SENT]), min_length=1, max_length=len(SENT)
    )


class WebhookChangeSerializer(serializers.Serializer):
    url = serializers.CharField(max_length=500, required=False)
    kinds = serializers.ListField(
        child=serializers.ChoiceField(choices=[kind.value for kind in SENT]),
        min_length=1,
        max_length=len(SENT),
        required=False,
    )
    is_enabled = serializers.BooleanField(required=False)


class DeliverySerializer(serializers.ModelSerializer):
    kind = serializers.CharField(source="notice.kind")

    class Meta:
        model = Delivery
        fields = ["id", "kind", "state", "tries", "answer", "next_at", "created_at", "ended_at"]
