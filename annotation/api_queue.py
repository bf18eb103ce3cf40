"""The queue over HTTP: how it is steered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response as ApiResponse

from annotation.api_base import PROBLEMS, ProjectView, Scope, actor
from annotation.models import FollowUp, KindSettings, Pool, Project, PromptBrief, PromptStyle, TaskKind
from annotation.roles import Capability
from annotation.selectors.briefs import briefs_of
from annotation.selectors.comparisons import comparison_results
from annotation.selectors.health import queue_health
from annotation.selectors.queue_settings import kind_settings, queue_policy
from annotation.services.comparisons import comparison_tasks_create
from annotation.services.corrections import correction_tasks_create
from annotation.services.prompt_writing import MAX_TASKS, MAX_USE_CASE, prompt_tasks_create, prompt_tasks_withdraw
from annotation.services.queue_settings import kind_settings_update, queue_policy_update
from annotation.services.uncertainties import uncertainties_set


class KindSerializer(serializers.ModelSerializer):
    class Meta:
        model = KindSettings
        fields = ["kind", "weight", "overlap", "sampled_percent", "sampled_overlap", "target_labels"]


class KindChange(serializers.Serializer):
    """What is left out stays as it is."""

    kind = serializers.ChoiceField(choices=TaskKind.choices)
    weight = serializers.IntegerField(required=False)
    overlap = serializers.IntegerField(required=False)
    sampled_percent = serializers.IntegerField(required=False)
    sampled_overlap = serializers.IntegerField(required=False)
    target_labels = serializers.IntegerField(required=False, allow_null=True)


class PolicyShape(serializers.Serializer):
    quotas = serializers.DictField(child=serializers.FloatField(), required=False, help_text="{category: share}")
    uncertain_first = serializers.BooleanField(required=False)
    review_after_skips = serializers.IntegerField(required=False)
    daily_limit = serializers.IntegerField(required=False, allow_null=True)


class PolicyChange(PolicyShape):
    kinds = KindChange(many=True, required=False)


class PolicyAsItIs(PolicyShape):
    kinds = KindSerializer(many=True)


class QueuePolicy(ProjectView):
    allowed = {
        "GET": (Capability.MANAGE_QUEUE, Scope.READ),
        "PATCH": (Capability.MANAGE_QUEUE, Scope.QUEUE),
    }

    @extend_schema(responses={200: PolicyAsItIs, **PROBLEMS})
    def get(self, request: Request, slug: str) -> ApiResponse:
        """How tasks are handed out: weights and overlap by kind, quotas by category, the rest."""
        return ApiResponse(policy_as_it_is(self.access.project))

    @extend_schema(request=PolicyChange, responses={200: PolicyAsItIs, **PROBLEMS})
    def patch(self, request: Request, slug: str) -> ApiResponse:
        """Change what is named; quotas are replaced as a whole. Overlap holds for tasks made from now on."""
        asked = PolicyChange(data=request.data)
        asked.is_valid(raise_exception=True)
        changes: dict[str, Any] = dict(asked.validated_data)
        with transaction.atomic():
            for kind in changes.pop("kinds", []):
                kind_settings_update(project=self.access.project, by=actor(request), **kind)
            queue_policy_update(project=self.access.project, by=actor(request), **changes)
        return ApiResponse(policy_as_it_is(self.access.project))


def policy_as_it_is(project: Project) -> dict[str, Any]:
    row = queue_policy(project)
    return {
        "kinds": KindSerializer(kind_settings(project).values(), many=True).data,
        "quotas": row.quotas,
        "uncertain_first": row.uncertain_first,
        "review_after_skips": row.review_after_skips,
        "daily_limit": row.daily_limit,
    }


class KindHealthSerializer(serializers.Serializer):
    """One kind of task; a duration or a number of days that nobody can say yet is null."""

    kind = serializers.CharField()
    waiting = serializers.IntegerField(help_text="Labels wanted still, apart from those in work")
    in_work = serializers.IntegerField()
    labels = serializers.IntegerField()
    backlog = serializers.DictField(child=serializers.IntegerField(), help_text="{category: labels wanted still}")
    a_day = serializers.ListField(child=serializers.IntegerField(), help_text="Labels a day, the oldest day first")
    pace = serializers.FloatField(help_text="Labels a day, mean of the last week")
    median_seconds = serializers.FloatField(allow_null=True)
    p90_seconds = serializers.FloatField(allow_null=True)
    target_labels = serializers.IntegerField(allow_null=True)
    days_left = serializers.IntegerField(allow_null=True)


class HealthSerializer(serializers.Serializer):
    days = serializers.ListField(child=serializers.DateField())
    kinds = KindHealthSerializer(many=True)


class QueueHealth(ProjectView):
    allowed = {"GET": (Capability.MANAGE_QUEUE, Scope.READ)}

    @extend_schema(responses={200: HealthSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str) -> ApiResponse:
        """How the queue does: pace, time a label, backlog, days to the target."""
        days, kinds = queue_health(self.access.project)
        return ApiResponse(HealthSerializer({"days": days, "kinds": kinds}).data)


class ScoresSerializer(serializers.Serializer):
    scores = serializers.DictField(child=serializers.FloatField(), help_text="{response id: score}")

    def validate_scores(self, scores: dict[str, float]) -> dict[Any, float]:
        read = serializers.UUIDField()
        return {read.run_validation(key): score for key, score in scores.items()}


class ScoredSerializer(serializers.Serializer):
    tasks = serializers.IntegerField(help_text="Tasks whose answers all had a score")


class QueueScores(ProjectView):
    allowed = {"POST": (Capability.MANAGE_QUEUE, Scope.QUEUE)}

    @extend_schema(request=ScoresSerializer, responses={200: ScoredSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Say how a reward model scores answers, so that the queue can hand out the most uncertain first."""
        asked = ScoresSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        tasks = uncertainties_set(project=self.access.project, scores=asked.validated_data["scores"], by=actor(request))
        return ApiResponse(ScoredSerializer({"tasks": tasks}).data)


class ComparisonAsk(serializers.Serializer):
    first = serializers.UUIDField(help_text="A model's id")
    second = serializers.UUIDField(help_text="Another model's id")
    limit = serializers.IntegerField(required=False, min_value=1, help_text="Prompts at most")


class TasksMade(serializers.Serializer):
    tasks = serializers.IntegerField(help_text="New tasks")


class ComparisonResult(serializers.Serializer):
    first = serializers.UUIDField()
    second = serializers.UUIDField()
    first_wins = serializers.IntegerField()
    second_wins = serializers.IntegerField()
    ties = serializers.IntegerField()
    win_rate = serializers.FloatField(help_text="Of the first model, a tie counting half")


class ComparisonResults(serializers.Serializer):
    results = ComparisonResult(many=True)


class Comparisons(ProjectView):
    allowed = {
        "GET": (Capability.MANAGE_QUEUE, Scope.READ),
        "POST": (Capability.MANAGE_QUEUE, Scope.QUEUE),
    }

    @extend_schema(responses={200: ComparisonResults, **PROBLEMS})
    def get(self, request: Request, slug: str) -> ApiResponse:
        """What labelers said who compared two models blind."""
        return ApiResponse(ComparisonResults({"results": comparison_results(self.access.project)}).data)

    @extend_schema(request=ComparisonAsk, responses={200: TasksMade, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Hand out a comparison for each prompt that both models answered; the same pair again adds nothing."""
        asked = ComparisonAsk(data=request.data)
        asked.is_valid(raise_exception=True)
        made = comparison_tasks_create(project=self.access.project, by=actor(request), **asked.validated_data)
        return ApiResponse(TasksMade({"tasks": made}).data)


class BriefAsk(serializers.Serializer):
    style = serializers.ChoiceField(choices=PromptStyle.choices)  # type: ignore[assignment]
    number = serializers.IntegerField(min_value=1, max_value=MAX_TASKS, help_text="Prompts wanted")
    use_case = serializers.CharField(
        required=False, allow_blank=True, max_length=MAX_USE_CASE, help_text="For user-based prompts: written from it"
    )
    language = serializers.CharField(
        required=False, allow_blank=True, max_length=16, help_text="Empty: the labeler chooses"
    )
    pool = serializers.ChoiceField(choices=Pool.choices)
    follow_up = serializers.ChoiceField(
        choices=FollowUp.choices, required=False, allow_blank=True, help_text="What is made of each prompt at once"
    )


class BriefSerializer(serializers.ModelSerializer):
    wanted = serializers.IntegerField(help_text="Tasks: each yields one prompt")
    written = serializers.IntegerField()

    class Meta:
        model = PromptBrief
        fields = ["id", "style", "use_case", "language", "pool", "follow_up", "created_at", "wanted", "written"]


class Briefs(serializers.Serializer):
    results = BriefSerializer(many=True)


class PromptWriting(ProjectView):
    allowed = {
        "GET": (Capability.MANAGE_QUEUE, Scope.READ),
        "POST": (Capability.MANAGE_QUEUE, Scope.QUEUE),
    }

    @extend_schema(responses={200: Briefs, **PROBLEMS})
    def get(self, request: Request, slug: str) -> ApiResponse:
        """The prompts that labelers were asked to write, newest first, and how many are written."""
        return ApiResponse(Briefs({"results": briefs_of(self.access.project)}).data)

    @extend_schema(request=BriefAsk, responses={200: TasksMade, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Ask labelers to write prompts: one task for each. Asked again, as many come again."""
        asked = BriefAsk(data=request.data)
        asked.is_valid(raise_exception=True)
        prompt_tasks_create(project=self.access.project, by=actor(request), **asked.validated_data)
        return ApiResponse(TasksMade({"tasks": asked.validated_data["number"]}).data)


class TasksWithdrawn(serializers.Serializer):
    withdrawn = serializers.IntegerField(help_text="Tasks that left the queue")


class PromptWritingWithdraw(ProjectView):
    allowed = {"POST": (Capability.MANAGE_QUEUE, Scope.QUEUE)}

    @extend_schema(request=None, responses={200: TasksWithdrawn, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Ask for no more prompts of one brief. What is in work still counts; again withdraws nothing more."""
        brief = get_object_or_404(PromptBrief.objects.filter(project=self.access.project), pk=id)
        withdrawn = prompt_tasks_withdraw(brief=brief, by=actor(request))
        return ApiResponse(TasksWithdrawn({"withdrawn": withdrawn}).data)


class CorrectionAsk(serializers.Serializer):
    model = serializers.UUIDField(help_text="A model's id")
    limit = serializers.IntegerField(required=False, min_value=1, help_text="Answers at most")


class Corrections(ProjectView):
    allowed = {"POST": (Capability.MANAGE_QUEUE, Scope.QUEUE)}

    @extend_schema(request=CorrectionAsk, responses={200: TasksMade, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Hand out the model's latest answers to be corrected; the same answers again add nothing."""
        asked = CorrectionAsk(data=request.data)
        asked.is_valid(raise_exception=True)
        made = correction_tasks_create(project=self.access.project, by=actor(request), **asked.validated_data)
        return ApiResponse(TasksMade({"tasks": made}).data)
