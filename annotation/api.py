"""People's work over HTTP. Each method translates and makes one call; permission is `ProjectView.allowed`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response as ApiResponse

from annotation.access import member_of, own_assignment, projects_of
from annotation.api_base import PROBLEMS, Acknowledge, Pages, ProjectView, Scope, actor
from annotation.fields import Category
from annotation.models import ApiToken, Assignment, Membership, Project, Prompt, TaskKind
from annotation.models.tasks import WRITTEN
from annotation.roles import Capability
from annotation.selectors import rows
from annotation.selectors.prompts import prompts_list
from annotation.serializers import (
    AddReportSerializer,
    AssignmentSerializer,
    DemonstrationPage,
    DraftSerializer,
    LabelSerializer,
    LeaseSerializer,
    ProjectSerializer,
    PromptAddSerializer,
    PromptFilter,
    PromptSerializer,
    RankingPage,
    RowFilter,
    SavedSerializer,
    SkipSerializer,
    SubmissionSerializer,
    SubmitQuery,
)
from annotation.services.guidelines import GuidelinesChanged
from annotation.services.labels import LabelError, RankedItem, demonstration_submit, ranking_submit
from annotation.services.prompt_writing import written_prompt_submit
from annotation.services.prompts import PromptRow, prompts_add
from annotation.services.queue import assignment_heartbeat, assignment_next, assignment_skip, draft_save

NO_TASK = OpenApiResponse(description="There is no task for you now.")


class Projects(ListAPIView):
    """The projects that you belong to; with a token, the one that it opens."""

    serializer_class = ProjectSerializer
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[Project]:
        projects = projects_of(actor(self.request))
        if isinstance(self.request.auth, ApiToken):
            projects = projects.filter(pk=self.request.auth.membership.project_id)
        return projects.order_by("id")

    def get_serializer_context(self) -> dict[str, Any]:
        mine = Membership.objects.filter(user=actor(self.request), is_active=True)
        return {**super().get_serializer_context(), "roles": dict(mine.values_list("project_id", "role"))}

    @extend_schema(responses={200: ProjectSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)


class Prompts(ProjectView, ListAPIView):
    """Prompts that are still offered, oldest first."""

    allowed = {
        "GET": (Capability.READ_PROMPTS, Scope.READ),
        "POST": (Capability.EDIT_PROMPTS, Scope.WRITE_PROMPTS),
    }
    serializer_class = PromptSerializer
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[Prompt]:
        filters = PromptFilter(data=self.request.query_params)
        filters.is_valid(raise_exception=True)
        return prompts_list(self.access.project, **filters.validated_data)

    @extend_schema(parameters=[PromptFilter], responses={200: PromptSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)

    @extend_schema(request=PromptAddSerializer, responses={201: AddReportSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Add prompts; those that are here already are counted and left as they are."""
        asked = PromptAddSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        report = prompts_add(
            project=self.access.project,
            rows=[
                PromptRow(messages=as_messages(prompt), category=data["category"], language=data["language"], line=line)
                for line, prompt in enumerate(data["prompts"], start=1)
            ],
            pool=data["pool"],
            source="import",
            by=actor(request),
        )
        body = {"added": report.added, "known": report.known, "rejected": [row.as_dict() for row in report.rejected]}
        return ApiResponse(body, status=status.HTTP_201_CREATED)


def as_messages(prompt: Any) -> Any:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


class PromptDetail(ProjectView):
    allowed = {"GET": (Capability.READ_PROMPTS, Scope.READ)}

    @extend_schema(responses={200: PromptSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """One prompt."""
        prompt = get_object_or_404(prompts_list(self.access.project, withdrawn=None), pk=id)
        return ApiResponse(PromptSerializer(prompt).data)


class LabelRows(ProjectView):
    """Canonical rows of the current labels, by id; labelers under their pseudonyms."""

    allowed = {"GET": (Capability.READ_LABELS, Scope.EXPORT)}

    def page(self, request: Request, labels: QuerySet[Any], row_of: Any) -> ApiResponse:
        pages = Pages()
        found = pages.paginate_queryset(labels, request, view=self) or []
        return pages.get_paginated_response([row_of(label) for label in found])

    def query(self, request: Request) -> dict[str, Any]:
        filters = RowFilter(data=request.query_params)
        filters.is_valid(raise_exception=True)
        return dict(filters.validated_data)


PAGE = [
    OpenApiParameter("cursor", OpenApiTypes.STR, description="From the last answer's `next`"),
    OpenApiParameter("limit", OpenApiTypes.INT, description="Rows a page, at most 1000"),
]


class Demonstrations(LabelRows):
    @extend_schema(
        operation_id="projects_demonstrations_list",
        parameters=[RowFilter, *PAGE],
        responses={200: DemonstrationPage, **PROBLEMS},
    )
    def get(self, request: Request, slug: str) -> ApiResponse:
        """Demonstrations: prompt and completion."""
        return self.page(
            request, rows.demonstrations_with_all(self.access.project, self.query(request)), rows.demonstration_row
        )


class Rankings(LabelRows):
    @extend_schema(
        operation_id="projects_rankings_list",
        parameters=[RowFilter, *PAGE],
        responses={200: RankingPage, **PROBLEMS},
    )
    def get(self, request: Request, slug: str) -> ApiResponse:
        """Rankings: a prompt, its K completions, and their ranks (equal is tied, null is not ranked)."""
        return self.page(request, rows.rankings_with_all(self.access.project, self.query(request)), rows.ranking_row)


class LabelingView(ProjectView):
    allowed = dict.fromkeys(("GET", "POST", "PUT"), (Capability.LABEL, Scope.LABEL))

    def assignment(self, id: UUID, *, read: str = "task") -> Assignment:
        return own_assignment(self.access, id, read=read)


class NextTask(LabelingView):
    allowed = {"POST": (Capability.LABEL, Scope.LABEL)}

    @extend_schema(request=None, responses={200: AssignmentSerializer, 204: NO_TASK, 409: Acknowledge, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Take the next task. One that you hold already comes again. 409: acknowledge the guidelines first."""
        assignment = assignment_next(labeler=member_of(self.access))
        if assignment is None:
            return ApiResponse(status=status.HTTP_204_NO_CONTENT)
        return ApiResponse(AssignmentSerializer(assignment).data)


class AssignmentDetail(LabelingView):
    allowed = {"GET": (Capability.LABEL, Scope.LABEL)}

    @extend_schema(responses={200: AssignmentSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """One of your assignments, whatever became of its lease."""
        return ApiResponse(AssignmentSerializer(self.assignment(id, read="task__prompt")).data)


class AssignmentSubmit(LabelingView):
    allowed = {"POST": (Capability.LABEL, Scope.LABEL)}

    @extend_schema(parameters=[SubmitQuery], request=SubmissionSerializer, responses={201: LabelSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Submit a label. A late one is kept, a second is a revision, the same `submission_id` is the same label."""
        assignment = self.assignment(id)
        query = SubmitQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = SubmissionSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        label = submit(assignment, dict(asked.validated_data), actor(request))
        if query.validated_data["next"]:
            label.next = next_unless_stopped(assignment.labeler)
        return ApiResponse(LabelSerializer(label).data, status=status.HTTP_201_CREATED)


def next_unless_stopped(labeler: Membership) -> Assignment | None:
    """The labeler's next task; None, too, where they have to read guidelines first: the label that was kept is no
    error."""
    try:
        return assignment_next(labeler=labeler)
    except GuidelinesChanged:
        return None


def submit(assignment: Assignment, data: dict[str, Any], by: Any) -> Any:
    """Hand the submission to the service of the task's kind."""
    text, items = data.pop("text", None), data.pop("items", None)
    asked = {name: data.pop(name, None) for name in ("prompt_fields", "form_version")}
    parts = {name: data.pop(name) for name in ("instruction", "pairs", "query") if name in data} | {"text": text}
    usual = {"category": Category.OTHER, "language": assignment.task.language or "en"}
    filing = {name: data.pop(name, value) for name, value in usual.items()}
    if assignment.task.kind == TaskKind.PROMPT:
        return written_prompt_submit(assignment=assignment, parts=parts, by=by, **filing, **data)
    if assignment.task.kind in WRITTEN:
        return demonstration_submit(assignment=assignment, text=text or "", by=by, **data)
    if items is None:
        raise LabelError(_("A ranking needs `items`: one for each answer, with its rank."))
    ranked = [RankedItem(**item) for item in items]
    return ranking_submit(assignment=assignment, items=ranked, by=by, **asked, **data)


class AssignmentSkip(LabelingView):
    allowed = {"POST": (Capability.LABEL, Scope.LABEL)}

    @extend_schema(request=SkipSerializer, responses={204: None, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Give the task back; it does not come to you again."""
        assignment = self.assignment(id)
        asked = SkipSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        assignment_skip(assignment=assignment, by=actor(request), **asked.validated_data)
        return ApiResponse(status=status.HTTP_204_NO_CONTENT)


class AssignmentDraft(LabelingView):
    allowed = {"PUT": (Capability.LABEL, Scope.LABEL)}

    @extend_schema(request=DraftSerializer, responses={200: SavedSerializer, **PROBLEMS})
    def put(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Keep what you have so far."""
        assignment = self.assignment(id)
        asked = DraftSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        saved_at = draft_save(assignment=assignment, draft=asked.validated_data["draft"])
        return ApiResponse(SavedSerializer({"saved_at": saved_at}).data)


class AssignmentHeartbeat(LabelingView):
    allowed = {"POST": (Capability.LABEL, Scope.LABEL)}

    @extend_schema(request=None, responses={200: LeaseSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Hold the task for longer."""
        return ApiResponse(LeaseSerializer({"lease_until": assignment_heartbeat(assignment=self.assignment(id))}).data)
