"""How the API writes snapshots, runs and models, and what it takes."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from annotation.serializers import RowFilter
from training.models import Model, Run, RunInput, Snapshot, SnapshotKind, Stage
from training.selectors.snapshots import formats_of


class SnapshotSerializer(serializers.ModelSerializer):
    formats = serializers.SerializerMethodField(help_text="What `download` can write")

    class Meta:
        model = Snapshot
        fields = ["id", "kind", "name", "query", "counts", "sha256", "manifest", "formats", "created_at"]

    def get_formats(self, snapshot: Snapshot) -> list[str]:
        return formats_of(snapshot)


class SnapshotQuery(RowFilter):
    ties = serializers.ChoiceField(choices=["drop", "half", "margin"], required=False)


class SnapshotBuildSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(
        choices=[SnapshotKind.DEMONSTRATIONS, SnapshotKind.RANKINGS, SnapshotKind.PROMPTS],
    )
    name = serializers.CharField(max_length=120, required=False, default="", allow_blank=True)
    query = SnapshotQuery(required=False)


class DownloadFilter(serializers.Serializer):
    split = serializers.ChoiceField(choices=["train", "validation", "test"], default="train")
    form = serializers.ChoiceField(
        choices=["canonical", "prompt-completion", "preference", "prompt", "text"],
        default="canonical",
        help_text="`canonical`, or what the trainers read: see `formats` of the snapshot",
    )
    ties = serializers.ChoiceField(choices=["drop", "half", "margin"], required=False)


class RunInputSerializer(serializers.ModelSerializer):
    snapshot = serializers.UUIDField(source="snapshot_id", allow_null=True)
    model = serializers.UUIDField(source="model_id", allow_null=True)

    class Meta:
        model = RunInput
        fields = ["name", "snapshot", "model"]


class RunSerializer(serializers.ModelSerializer):
    inputs = RunInputSerializer(many=True)
    model = serializers.SerializerMethodField(help_text="The model that it made")
    cloned_from = serializers.UUIDField(source="cloned_from_id", allow_null=True, help_text="Copied from this run")

    class Meta:
        model = Run
        fields = [
            "id", "stage", "name", "state", "config", "seed", "numerics", "inputs", "step", "total_steps", "phase",
            "latest_metrics", "data_report", "result", "reason", "message", "attempt", "lost_count", "model",
            "queue", "priority", "cloned_from", "created_at", "queued_at", "started_at", "ended_at",
        ]  # fmt: skip

    def get_model(self, run: Run) -> str | None:
        made: Model | None = getattr(run, "model", None)
        return str(made.pk) if made else None


class RunCreateSerializer(serializers.Serializer):
    stage = serializers.ChoiceField(choices=Stage.choices)
    config = serializers.DictField(required=False, default=dict, help_text="Fields that differ from the defaults")
    inputs = serializers.DictField(
        child=serializers.UUIDField(), help_text="{train: a snapshot, policy: a model, ...}: ids by the stage's names"
    )
    name = serializers.CharField(max_length=120, required=False, allow_null=True, default=None)
    seed = serializers.IntegerField(min_value=0, max_value=2**63 - 1, required=False, default=0)
    priority = serializers.IntegerField(min_value=-1000, max_value=1000, required=False, default=0)
    queue = serializers.RegexField(
        r"^[A-Za-z0-9-]{1,16}$", required=False, default="gpu", help_text="Which workers take it: gpu, gpu4, ..."
    )


class MetricFilter(serializers.Serializer):
    names = serializers.ListField(child=serializers.CharField(max_length=80), required=False)
    points = serializers.IntegerField(min_value=2, max_value=5000, default=500)


class MetricsSerializer(serializers.Serializer):
    """Columns of equal length; null where a step has no such metric."""

    step = serializers.ListField(child=serializers.IntegerField())
    metrics = serializers.DictField(child=serializers.ListField(child=serializers.FloatField(allow_null=True)))


class ModelSerializer(serializers.ModelSerializer):
    run = serializers.UUIDField(source="run_id", allow_null=True)
    sha256 = serializers.CharField(source="artifact.sha256")
    size = serializers.IntegerField(source="artifact.size", help_text="Bytes")

    class Meta:
        model = Model
        fields = [
            "id", "kind", "name", "run", "source", "sha256", "size", "card", "parameters", "context_length",
            "created_at",
        ]  # fmt: skip


def plain(data: Any) -> dict[str, Any]:
    """A validated query as JSON holds it: moments as text."""
    return {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in data.items()}
