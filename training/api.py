"""Snapshots, runs and models over HTTP. Each method translates and makes one call; permission is `allowed`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response as ApiResponse

from annotation.access import NOTHING_HERE
from annotation.api_base import PROBLEMS, Pages, ProjectView, Scope, actor
from annotation.models import Project
from annotation.roles import Capability
from training.models import Model, Run, Snapshot
from training.selectors.runs import metric_series
from training.selectors.snapshots import export_lines, snapshots_of
from training.serializers import (
    DownloadFilter,
    MetricFilter,
    MetricsSerializer,
    ModelSerializer,
    RunCreateSerializer,
    RunSerializer,
    SnapshotBuildSerializer,
    SnapshotSerializer,
    plain,
)
from training.services.runs import run_cancel, run_create, run_pause, run_resume, run_retry
from training.services.snapshots import snapshot_build


class NewestFirst(Pages):
    ordering = "-id"


class Snapshots(ProjectView, ListAPIView):
    """Frozen datasets, newest first."""

    allowed = {"GET": (Capability.READ_LABELS, Scope.READ), "POST": (Capability.SNAPSHOT, Scope.EXPORT)}
    serializer_class = SnapshotSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[Snapshot]:
        return snapshots_of(self.access.project)

    @extend_schema(responses={200: SnapshotSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)

    @extend_schema(request=SnapshotBuildSerializer, responses={201: SnapshotSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Freeze what a query selects. The same query on the same labels is the same snapshot."""
        asked = SnapshotBuildSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        snapshot = snapshot_build(
            project=self.access.project,
            kind=data["kind"],
            query=plain(data.get("query") or {}),
            name=data["name"],
            by=actor(request),
        )
        return ApiResponse(SnapshotSerializer(snapshot).data, status=status.HTTP_201_CREATED)


class SnapshotDetail(ProjectView):
    allowed = {"GET": (Capability.READ_LABELS, Scope.READ)}

    @extend_schema(responses={200: SnapshotSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """One snapshot with its manifest."""
        return ApiResponse(SnapshotSerializer(get_object_or_404(snapshots_of(self.access.project), pk=id)).data)


DOWNLOAD: dict[Any, Any] = {(200, "application/jsonl"): OpenApiTypes.BINARY, **PROBLEMS}


class SnapshotDownload(ProjectView):
    allowed = {"GET": (Capability.SNAPSHOT, Scope.EXPORT)}

    @extend_schema(parameters=[DownloadFilter], responses=DOWNLOAD)
    def get(self, request: Request, slug: str, id: UUID) -> StreamingHttpResponse:
        """One file of a snapshot as JSON lines."""
        snapshot = get_object_or_404(snapshots_of(self.access.project), pk=id)
        asked = DownloadFilter(data=request.query_params)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        lines = export_lines(snapshot, split=data["split"], format=data["form"], ties=data.get("ties"))
        name = f"{snapshot.kind}-{snapshot.sha256[:12]}-{data['split']}.jsonl"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingHttpResponse(lines, content_type="application/jsonl", headers=headers)


def runs_of(project: Project) -> QuerySet[Run]:
    return Run.objects.filter(project=project).select_related("model").prefetch_related("inputs")


class Runs(ProjectView, ListAPIView):
    """Runs, newest first."""

    allowed = {"GET": (Capability.READ_RUNS, Scope.READ), "POST": (Capability.LAUNCH, Scope.LAUNCH)}
    serializer_class = RunSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[Run]:
        return runs_of(self.access.project)

    @extend_schema(responses={200: RunSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)

    @extend_schema(request=RunCreateSerializer, responses={201: RunSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Put a run in the queue."""
        asked = RunCreateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = dict(asked.validated_data)
        inputs = {name: input_of(self.access.project, id) for name, id in data.pop("inputs").items()}
        run = run_create(project=self.access.project, inputs=inputs, by=actor(request), **data)
        return ApiResponse(RunSerializer(runs_of(self.access.project).get(pk=run.pk)).data, status=201)


def input_of(project: Project, id: UUID) -> Snapshot | Model:
    """The snapshot or model of this id, or 404: ids of different tables never meet."""
    found = (
        Snapshot.objects.filter(project=project, pk=id).first() or Model.objects.filter(project=project, pk=id).first()
    )
    if found is None:
        raise Http404(NOTHING_HERE)
    return found


class RunDetail(ProjectView):
    allowed = {"GET": (Capability.READ_RUNS, Scope.READ)}

    @extend_schema(responses={200: RunSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """One run as it stands."""
        return ApiResponse(RunSerializer(get_object_or_404(runs_of(self.access.project), pk=id)).data)


class RunMetrics(ProjectView):
    allowed = {"GET": (Capability.READ_RUNS, Scope.READ)}

    @extend_schema(parameters=[MetricFilter], responses={200: MetricsSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Curves of a run, thinned out to so many points."""
        run = get_object_or_404(runs_of(self.access.project), pk=id)
        asked = MetricFilter(data=request.query_params)
        asked.is_valid(raise_exception=True)
        columns = metric_series(run, asked.validated_data.get("names"), points=asked.validated_data["points"])
        step = columns.pop("step", [])
        return ApiResponse({"step": step, "metrics": columns})


class RunAction(ProjectView):
    """Cancel, pause, resume or retry; which one is in the address."""

    allowed = {"POST": (Capability.LAUNCH, Scope.LAUNCH)}

    def act(self, request: Request, id: UUID, service: Any) -> ApiResponse:
        run = get_object_or_404(runs_of(self.access.project), pk=id)
        service(run=run, by=actor(request))
        return ApiResponse(RunSerializer(runs_of(self.access.project).get(pk=id)).data)


class RunCancel(RunAction):
    @extend_schema(request=None, responses={200: RunSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Stop a run. Work since its last checkpoint is dropped."""
        return self.act(request, id, run_cancel)


class RunPause(RunAction):
    @extend_schema(request=None, responses={200: RunSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Save a checkpoint and stop, to go on later."""
        return self.act(request, id, run_pause)


class RunResume(RunAction):
    @extend_schema(request=None, responses={200: RunSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Put a paused run back into the queue."""
        return self.act(request, id, run_resume)


class RunRetry(RunAction):
    @extend_schema(request=None, responses={200: RunSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Put a failed run back into the queue; it goes on from its last checkpoint."""
        return self.act(request, id, run_retry)


class Models(ProjectView, ListAPIView):
    """Policies and reward models, newest first."""

    allowed = {"GET": (Capability.READ_RUNS, Scope.READ)}
    serializer_class = ModelSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[Model]:
        return Model.objects.filter(project=self.access.project).select_related("artifact")

    @extend_schema(responses={200: ModelSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)
