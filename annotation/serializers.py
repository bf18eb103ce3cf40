"""How the API writes people's work, and what it takes. Canonical rows are built by `annotation.selectors`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from annotation.fields import HIGHEST_RATING, LOWEST_RATING, Category, SkipReason
from annotation.models import (
    Assignment,
    AssignmentStatus,
    Origin,
    Pool,
    Project,
    Prompt,
    PromptStyle,
    Purpose,
    Split,
    TaskKind,
)
from annotation.selectors.forms import form_in_hand


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
    style = serializers.ChoiceField(  # type: ignore[assignment]
        source="written_style",
        choices=PromptStyle.choices,
        allow_null=True,
        help_text="How a labeler was asked to write it; null for prompts from elsewhere",
    )

    class Meta:
        model = Prompt
        fields = ["id", "prompt", "pool", "split", "category", "language", "group", "source", "style", "created_at"]


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


class PresentedResponse(serializers.Serializer):
    id = serializers.UUIDField()
    text = serializers.CharField()


class BriefToWrite(serializers.Serializer):
    """What a labeler is asked for who writes a prompt."""

    style = serializers.ChoiceField(choices=PromptStyle.choices)  # type: ignore[assignment]
    use_case = serializers.CharField()
    language = serializers.CharField(help_text="Empty: the labeler chooses")


class AssignmentSerializer(serializers.Serializer):
    """A task in one's hands. Answers come in the order in which to show them, without their authors."""

    id = serializers.UUIDField()
    kind = serializers.CharField(source="task.kind")
    prompt = serializers.SerializerMethodField(help_text="Null where a prompt is to be written")
    brief = serializers.SerializerMethodField(help_text="What to write: null but for prompt writing")
    responses = serializers.SerializerMethodField()
    form = serializers.SerializerMethodField(help_text="What a ranking asks: {version, fields}; null for other kinds")
    status = serializers.ChoiceField(choices=AssignmentStatus.choices)
    lease_until = serializers.DateTimeField()
    draft = serializers.JSONField()
    draft_saved_at = serializers.DateTimeField(allow_null=True)

    def get_form(self, assignment: Assignment) -> dict[str, Any] | None:
        if assignment.task.kind != TaskKind.RANKING:
            return None
        form = form_in_hand(assignment)
        return {"version": form.version, "fields": form.fields}

    @extend_schema_field(MessageSerializer(many=True, allow_null=True))
    def get_prompt(self, assignment: Assignment) -> list[dict[str, str]] | None:
        return assignment.task.messages or None

    @extend_schema_field(BriefToWrite(allow_null=True))
    def get_brief(self, assignment: Assignment) -> dict[str, str] | None:
        brief = assignment.task.brief
        return None if brief is None else dict(BriefToWrite(brief).data)

    def get_responses(self, assignment: Assignment) -> list[dict[str, Any]]:
        texts = {str(response.id): response.text for response in assignment.task.responses.all()}
        return [{"id": id, "text": texts[id]} for id in assignment.presented_order if id in texts]


class RankedItemSerializer(serializers.Serializer):
    response_id = serializers.UUIDField()
    rank = serializers.IntegerField(min_value=1, max_value=100, allow_null=True, default=None)
    rating = serializers.IntegerField(
        min_value=LOWEST_RATING,
        max_value=HIGHEST_RATING,
        allow_null=True,
        default=None,
        help_text="On the form's scale",
    )
    flags = serializers.ListField(
        child=serializers.CharField(max_length=40), default=list, max_length=50, help_text="Of those the form asks"
    )


class PairSerializer(serializers.Serializer):
    query = serializers.CharField(trim_whitespace=False, max_length=100_000)
    answer = serializers.CharField(trim_whitespace=False, max_length=100_000)


class SubmissionSerializer(serializers.Serializer):
    """A demonstration sends `text`; a ranking sends `items`; a prompt sends `text`, or where its brief's style is
    few_shot `instruction`, `pairs` and `query`, and its `category` and `language`. The same `submission_id` twice is
    the same submit."""

    submission_id = serializers.UUIDField()
    started_at = serializers.DateTimeField()
    active_seconds = serializers.FloatField(min_value=0, max_value=7 * 24 * 3600)
    text = serializers.CharField(required=False, trim_whitespace=False, max_length=100_000)
    items = RankedItemSerializer(many=True, required=False)
    prompt_fields = serializers.DictField(
        required=False, help_text="What a ranking says of the prompt, by the keys of the form"
    )
    form_version = serializers.IntegerField(
        required=False, min_value=0, help_text="The form that you were shown; else the one that the task came with"
    )
    instruction = serializers.CharField(required=False, trim_whitespace=False, max_length=100_000)
    pairs = PairSerializer(many=True, required=False)
    query = serializers.CharField(required=False, trim_whitespace=False, max_length=100_000)
    category = serializers.ChoiceField(choices=Category.choices, required=False)
    language = serializers.CharField(required=False, max_length=16)


class SubmitQuery(serializers.Serializer):
    next = serializers.BooleanField(
        default=False, help_text="Answer with your next task too: one request a label instead of two"
    )


class LabelSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    revision = serializers.IntegerField()
    counts = serializers.BooleanField(help_text="False: the task had all the labels it wanted; yours is kept")
    next = AssignmentSerializer(
        allow_null=True,
        help_text="Your next task, if asked for; null also where there is none, and `tasks/next/` says why",
    )


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


MOST_NAME = 40  # characters: pseudonyms and languages are shorter, a flag's key may be as long


def listed(choices: list[tuple[str, Any]] | None = None) -> serializers.ListField:
    """A filter that may be given several times: ?pools=sft&pools=rm."""
    child = serializers.ChoiceField(choices=choices) if choices else serializers.CharField(max_length=MOST_NAME)
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
    flags_out = listed()
    overlap = serializers.ChoiceField(choices=["all", "latest"], required=False)
    returned = serializers.BooleanField(
        required=False, help_text="Also labels that a reviewer returned and that were not edited since"
    )
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class LabelRow(serializers.Serializer):
    """What canonical rows of all labels have."""

    id = serializers.UUIDField()
    prompt = MessageSerializer(many=True)
    labeler = serializers.CharField(help_text="A pseudonym")
    guideline_version = serializers.IntegerField(allow_null=True)
    imported_guideline = serializers.CharField(
        required=False, help_text="The guideline that an imported label came with; others have no such field"
    )
    form_version = serializers.IntegerField(allow_null=True)
    origin = serializers.ChoiceField(choices=Origin.choices)
    revision = serializers.IntegerField()
    language = serializers.CharField()
    split = serializers.ChoiceField(choices=Split.choices)
    pool = serializers.ChoiceField(choices=Pool.choices)


class DemonstrationRow(LabelRow):
    completion = MessageSerializer(many=True)
    category = serializers.ChoiceField(choices=Category.choices)


class PageOfRows(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class DemonstrationPage(PageOfRows):
    results = DemonstrationRow(many=True)


class CompletionRow(serializers.Serializer):
    id = serializers.UUIDField()
    content = serializers.CharField()
    author = serializers.CharField(help_text="human, model or imported")
    model = serializers.CharField(allow_null=True)
    decoding = serializers.DictField()
    ratings = serializers.DictField(child=serializers.IntegerField(), help_text="{overall: on the row's rating_scale}")
    flags = serializers.ListField(child=serializers.CharField())


class RankingRow(LabelRow):
    prompt_fields = serializers.DictField(help_text="The category, and what the labeler said of the prompt")
    rating_scale = serializers.DictField(child=serializers.IntegerField(), help_text="{minimum, maximum}")
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


class RankingPage(PageOfRows):
    results = RankingRow(many=True)
