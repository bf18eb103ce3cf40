"""How the API writes people's work, and what it takes. Canonical rows are built by `annotation.selectors`."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from annotation.fields import Category, Flag, SkipReason
from annotation.formats import FORMATS
from annotation.models import Assignment, ImportBatch, Origin, Pool, Project, Prompt, Purpose, Split


class MessageSerializer(serializers.Serializer):
    role = serializers.ChoiceField(choices=["system", "user", "assistant"])
    content = serializers.CharField(trim_whitespace=False, max_length=100_000)


class ProjectSerializer(serializers.ModelSerializer):
    role = serializers.SerializerMethodField(help_text="Your role in it")

    class Meta:
        model = Project
        fields = ["id", "slug", "name", "description", "responses_per_prompt", "role"]

    def get_role(self, project: Project) -> str:
        return str(self.context["roles"].get(project.id, "admin"))


class PromptSerializer(serializers.ModelSerializer):
    prompt = MessageSerializer(source="messages", many=True)

    class Meta:
        model = Prompt
        fields = ["id", "prompt", "pool", "split", "category", "language", "group", "source", "created_at"]


class PromptAddSerializer(serializers.Serializer):
    pool = serializers.ChoiceField(choices=Pool.choices)
    prompts = serializers.ListField(
        child=serializers.JSONField(help_text="A text, or a list of messages"), min_length=1, max_length=1000
    )
    category = serializers.ChoiceField(choices=Category.choices, default=Category.OTHER)
    language = serializers.CharField(max_length=16, default="en")


class AddReportSerializer(serializers.Serializer):
    added = serializers.IntegerField()
    known = serializers.IntegerField(help_text="Were here already")
    rejected = serializers.ListField(child=serializers.JSONField(), help_text="[{line, problem}]")


class ImportSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(choices=["prompts", "demonstrations", "rankings"])
    file = serializers.FileField()
    pool = serializers.ChoiceField(choices=Pool.choices)
    source = serializers.CharField(max_length=120, help_text="Where from")  # type: ignore[assignment]
    format = serializers.ChoiceField(
        choices=[found.name for found in FORMATS],
        required=False,
        default="",
        allow_blank=True,
        help_text="Recognised by the first row where it is not given",
    )
    licence = serializers.CharField(max_length=120, required=False, default="", allow_blank=True)
    consent = serializers.CharField(required=False, default="", allow_blank=True)
    accept_bad_lines = serializers.BooleanField(
        default=False, help_text="Add the good lines of a file that has bad ones"
    )


class ImportBatchSerializer(serializers.ModelSerializer):
    class Meta:
        model = ImportBatch
        fields = [
            "id", "kind", "source", "licence", "filename", "sha256", "added", "known", "rejected", "rejected_count",
            "created_at", "undone_at",
        ]  # fmt: skip


class PresentedResponse(serializers.Serializer):
    id = serializers.UUIDField()
    text = serializers.CharField()


class AssignmentSerializer(serializers.ModelSerializer):
    """A task in one's hands. Answers come in the order in which to show them, without their authors."""

    kind = serializers.CharField(source="task.kind")
    prompt = MessageSerializer(source="task.prompt.messages", many=True)
    responses = serializers.SerializerMethodField()

    class Meta:
        model = Assignment
        fields = ["id", "kind", "prompt", "responses", "status", "lease_until", "draft", "draft_saved_at"]

    def get_responses(self, assignment: Assignment) -> list[dict[str, Any]]:
        texts = {str(response.id): response.text for response in assignment.task.responses.all()}
        return [{"id": id, "text": texts[id]} for id in assignment.presented_order if id in texts]


class RankedItemSerializer(serializers.Serializer):
    response_id = serializers.UUIDField()
    rank = serializers.IntegerField(min_value=1, max_value=100, allow_null=True, default=None)
    rating = serializers.IntegerField(min_value=1, max_value=7, allow_null=True, default=None)
    flags = serializers.ListField(child=serializers.ChoiceField(choices=Flag.choices), default=list)


class SubmissionSerializer(serializers.Serializer):
    """A demonstration sends `text`; a ranking sends `items`. The same `submission_id` twice is the same submit."""

    submission_id = serializers.UUIDField()
    started_at = serializers.DateTimeField()
    active_seconds = serializers.FloatField(min_value=0, max_value=7 * 24 * 3600)
    text = serializers.CharField(required=False, trim_whitespace=False, max_length=100_000)
    items = RankedItemSerializer(many=True, required=False)


class LabelSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    revision = serializers.IntegerField()
    counts = serializers.BooleanField(help_text="False: the task had all the labels it wanted; yours is kept")


class SkipSerializer(serializers.Serializer):
    reason = serializers.ChoiceField(choices=SkipReason.choices)
    note = serializers.CharField(required=False, default="", allow_blank=True, max_length=2000)


class DraftSerializer(serializers.Serializer):
    draft = serializers.DictField(help_text="Whatever the form holds")


class SavedSerializer(serializers.Serializer):
    saved_at = serializers.DateTimeField()


class LeaseSerializer(serializers.Serializer):
    lease_until = serializers.DateTimeField()


class PromptFilter(serializers.Serializer):
    pool = serializers.ChoiceField(choices=Pool.choices, required=False)
    split = serializers.ChoiceField(choices=Split.choices, required=False)
    category = serializers.ChoiceField(choices=Category.choices, required=False)
    language = serializers.CharField(required=False, max_length=16)


def listed(choices: list[tuple[str, Any]] | None = None) -> serializers.ListField:
    """A filter that may be given several times: ?pools=sft&pools=rm."""
    child = serializers.ChoiceField(choices=choices) if choices else serializers.CharField(max_length=16)
    return serializers.ListField(child=child, required=False)


class RowFilter(serializers.Serializer):
    """Which labels; a filter that is left out restricts nothing."""

    pools = listed(Pool.choices)
    splits = listed(Split.choices)
    categories = listed(Category.choices)
    languages = listed()
    origins = listed(Origin.choices)
    purpose = serializers.ChoiceField(choices=[("", "both"), *Purpose.choices], required=False, allow_blank=True)
    labelers = listed()
    labelers_out = listed()
    flags_out = listed(Flag.choices)
    overlap = serializers.ChoiceField(choices=["all", "latest"], required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class LabelRow(serializers.Serializer):
    """What canonical rows of all labels have."""

    id = serializers.UUIDField()
    prompt = MessageSerializer(many=True)
    labeler = serializers.CharField(help_text="A pseudonym")
    guideline_version = serializers.IntegerField(allow_null=True)
    form_version = serializers.IntegerField(allow_null=True)
    origin = serializers.ChoiceField(choices=Origin.choices)
    revision = serializers.IntegerField()
    language = serializers.CharField()
    split = serializers.ChoiceField(choices=Split.choices)
    pool = serializers.ChoiceField(choices=Pool.choices)


class DemonstrationRow(LabelRow):
    completion = MessageSerializer(many=True)
    category = serializers.ChoiceField(choices=Category.choices)


class CompletionRow(serializers.Serializer):
    id = serializers.UUIDField()
    content = serializers.CharField()
    author = serializers.CharField(help_text="human, model or imported")
    model = serializers.CharField(allow_null=True)
    decoding = serializers.DictField()
    ratings = serializers.DictField(child=serializers.IntegerField(), help_text="{overall: 1..7}")
    flags = serializers.ListField(child=serializers.ChoiceField(choices=Flag.choices))


class RankingRow(LabelRow):
    prompt_fields = serializers.DictField()
    completions = CompletionRow(many=True)
    ranks = serializers.ListField(child=serializers.IntegerField(allow_null=True))
    presented_order = serializers.ListField(child=serializers.UUIDField())
    purpose = serializers.ChoiceField(choices=Purpose.choices)
    counts = serializers.BooleanField()
    started_at = serializers.DateTimeField()
    submitted_at = serializers.DateTimeField()
    active_seconds = serializers.FloatField()
    batch = serializers.UUIDField(allow_null=True)
    round = serializers.IntegerField(allow_null=True)
