"""How the API writes snapshots, runs and models, and what it takes."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from annotation.serializers import RowFilter, listed
from training.exports import FIELDS, TARGETS
from training.models import (
    Job,
    JobKind,
    JobState,
    LeakCheck,
    LeakPair,
    Model,
    Run,
    RunInput,
    Snapshot,
    SnapshotKind,
    Stage,
)
from training.packing import CONTAINERS
from training.selectors.snapshots import formats_of
from training.services.leaks import SHORTEST_REASON
from training.services.pushes import LONGEST_TOKEN


class LeakCheckSerializer(serializers.ModelSerializer):
    replaced_by = serializers.UUIDField(source="replaced_by_id", allow_null=True, help_text="Without the leaks")

    class Meta:
        model = LeakCheck
        fields = ["state", "exact", "near", "reason", "replaced_by", "checked_at", "decided_at"]


class SnapshotSerializer(serializers.ModelSerializer):
    formats = serializers.SerializerMethodField(help_text="What `download` and `exports` can write")
    leaks = serializers.SerializerMethodField(help_text="The leak check; null for a corpus")
    query = serializers.DictField(help_text="What was asked for, every default written out")
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="{split: rows}")
    facts = serializers.DictField(help_text="Mix, shares and biases; empty until they were counted")
    manifest = serializers.DictField(help_text="Query, counts, schema version, tie policy, each file's sha256")

    class Meta:
        model = Snapshot
        fields = [
            "id", "kind", "name", "query", "counts", "facts", "sha256", "manifest", "formats", "leaks", "erased_at",
            "created_at",
        ]  # fmt: skip

    def get_formats(self, snapshot: Snapshot) -> list[str]:
        return formats_of(snapshot)

    @extend_schema_field(LeakCheckSerializer(allow_null=True))
    def get_leaks(self, snapshot: Snapshot) -> Any:
        check = getattr(snapshot, "leak_check", None)
        return LeakCheckSerializer(check).data if check else None


class QueryShape(RowFilter):
    overlap = serializers.ChoiceField(
        choices=["all", "latest", "majority"],
        required=False,
        help_text="`majority` (rankings): of each task the one that agrees most with the others",
    )
    held_out_labelers = listed()
    flagged = serializers.ChoiceField(
        choices=["ranking", "answer"],
        required=False,
        help_text="What goes with an answer that carries one of `flags_out`",
    )
    ties = serializers.ChoiceField(choices=["drop", "half", "margin"], required=False)
    leaks = serializers.ChoiceField(
        choices=["keep", "leave_out"], required=False, help_text="Prompts in train that are held out too, or nearly"
    )


class SnapshotBuildSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(
        choices=[SnapshotKind.DEMONSTRATIONS, SnapshotKind.RANKINGS, SnapshotKind.PROMPTS],
    )
    name = serializers.CharField(max_length=120, required=False, default="", allow_blank=True)
    query = QueryShape(required=False)


class SnapshotFilter(serializers.Serializer):
    kind = serializers.ChoiceField(choices=SnapshotKind.choices, required=False)


class PreviewSerializer(serializers.Serializer):
    """What a query would freeze now."""

    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Rows of each split")
    total = serializers.IntegerField()
    query = serializers.DictField(help_text="The whole query, as the manifest would hold it")
    rows = serializers.ListField(child=serializers.DictField(), help_text="The first few, canonical")


FORMATS = sorted({key for targets in TARGETS.values() for key in targets})
SPLIT_NAMES = ["train", "validation", "test", "held_out_labelers"]
TIE_POLICIES = ["drop", "half", "margin"]


class DownloadFilter(serializers.Serializer):
    split = serializers.ChoiceField(choices=SPLIT_NAMES, default="train")
    form = serializers.ChoiceField(
        choices=FORMATS,
        default="canonical",
        help_text="`canonical`, or what a trainer or tool reads: see `formats` of the snapshot",
    )
    container = serializers.ChoiceField(choices=[name for name in CONTAINERS if name != "parquet"], default="jsonl")
    ties = serializers.ChoiceField(choices=TIE_POLICIES, required=False)


class StatementSerializer(serializers.Serializer):
    """What a format carries of the canonical rows, and what it does not."""

    format = serializers.CharField()
    kind = serializers.CharField()
    carries = serializers.ListField(child=serializers.CharField(), help_text="Fields that come back when it is read")
    does_not_carry = serializers.ListField(child=serializers.ChoiceField(choices=sorted(set().union(*FIELDS.values()))))
    as_pairs = serializers.BooleanField(help_text="The order between two answers comes back, the group does not")
    may_leave_out = serializers.DictField(child=serializers.CharField(), help_text="{reason: in words} of missing rows")
    tables = serializers.BooleanField(help_text="Whether it can be CSV or Parquet")


class ExportCreateSerializer(serializers.Serializer):
    format = serializers.ChoiceField(choices=FORMATS, default="canonical")
    container = serializers.ChoiceField(choices=list(CONTAINERS), default="jsonl")
    split = serializers.ChoiceField(
        choices=["", *SPLIT_NAMES], default="", allow_blank=True, help_text="Empty: the whole folder with its card"
    )
    ties = serializers.ChoiceField(choices=TIE_POLICIES, required=False)


class PushCreateSerializer(serializers.Serializer):
    repository = serializers.CharField(max_length=200, help_text="owner/name; made where it is not there yet")
    token = serializers.CharField(
        max_length=LONGEST_TOKEN, write_only=True, help_text="An access token of the hub that may write; used once"
    )
    private = serializers.BooleanField(default=True, help_text="Refused where the repository is there and public")
    format = serializers.ChoiceField(choices=FORMATS, default="canonical")
    container = serializers.ChoiceField(choices=list(CONTAINERS), default="parquet")
    ties = serializers.ChoiceField(choices=TIE_POLICIES, required=False)


class TokensAskSerializer(serializers.Serializer):
    model = serializers.UUIDField(help_text="A policy or a base model, whose tokenizer and chat template count")
    context_length = serializers.IntegerField(
        min_value=0, max_value=1_048_576, default=0, help_text="0 takes the model's own limit"
    )
    room = serializers.IntegerField(
        min_value=0, max_value=131_072, default=128, help_text="Of prompts: tokens that are kept free for an answer"
    )


class JobSerializer(serializers.ModelSerializer):
    """Work in a worker. `url` of a finished export is good for a day, for whoever has it, and answers ranges."""

    kind = serializers.ChoiceField(choices=JobKind.choices)
    state = serializers.ChoiceField(choices=JobState.choices)
    snapshot = serializers.UUIDField(
        source="snapshot_id", allow_null=True, help_text="What it reads; of a build what it made, once it has"
    )
    url = serializers.SerializerMethodField(help_text="Of a finished export: where its file is")
    asked = serializers.DictField(help_text="What was asked for")
    result = serializers.DictField(help_text="What came of it; empty until then")

    class Meta:
        model = Job
        fields = [
            "id", "kind", "snapshot", "asked", "state", "done", "total", "result", "message", "url", "created_at",
            "ended_at", "expires_at",
        ]  # fmt: skip

    def get_url(self, job: Job) -> str | None:
        link = self.context.get("link")
        return link(job) if link and job.kind == JobKind.EXPORT and job.state == JobState.SUCCEEDED else None


class LeakPairSerializer(serializers.ModelSerializer):
    class Meta:
        model = LeakPair
        fields = [
            "id", "similarity", "train_row", "train_prompt", "held_out_row", "held_out_prompt", "held_out_split",
        ]  # fmt: skip


class LeakDecisionSerializer(serializers.Serializer):
    decision = serializers.ChoiceField(
        choices=["accept", "leave_out"], help_text="`leave_out` freezes another snapshot, which is answered"
    )
    reason = serializers.CharField(
        required=False,
        default="",
        allow_blank=True,
        max_length=2000,
        help_text=f"To accept: {SHORTEST_REASON}+ characters",
    )


class DifferenceFilter(serializers.Serializer):
    before = serializers.UUIDField(help_text="The earlier snapshot")


class DifferenceSerializer(serializers.Serializer):
    added = serializers.IntegerField()
    gone = serializers.IntegerField()
    changed = serializers.IntegerField()
    same = serializers.IntegerField()
    moved = serializers.IntegerField(help_text="In another split than before")
    examples = serializers.DictField(help_text="{added, gone, changed: [{before, after}]}, a few of each")
    mix = serializers.DictField(help_text="{labeler, category, language, origin: [[name, rows before, rows after]]}")


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
