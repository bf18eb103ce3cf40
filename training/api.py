"""Snapshots, runs and models over HTTP. Each method translates and makes one call; permission is `allowed`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, StreamingHttpResponse
from django.urls import reverse
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
from training.exports import TARGETS
from training.links import link_token
from training.models import Job, JobKind, LeakCheck, LeakPair, Model, Run, Snapshot
from training.packing import CONTENT_TYPES
from training.selectors.runs import metric_series
from training.selectors.snapshots import export_lines, snapshot_preview, snapshots_of
from training.serializers import (
    DifferenceFilter,
    DifferenceSerializer,
    DownloadFilter,
    ExportCreateSerializer,
    JobSerializer,
    LeakDecisionSerializer,
    LeakPairSerializer,
    MetricFilter,
    MetricsSerializer,
    ModelSerializer,
    PreviewSerializer,
    PushCreateSerializer,
    RunCreateSerializer,
    RunSerializer,
    SnapshotBuildSerializer,
    SnapshotFilter,
    SnapshotSerializer,
    StatementSerializer,
    TokensAskSerializer,
    plain,
)
from training.services.builds import build_or_ask, without_leaks_or_ask
from training.services.differences import compare
from training.services.exports import export_create
from training.services.jobs import job_cancel
from training.services.leaks import leaks_accept
from training.services.pushes import push_create
from training.services.runs import run_cancel, run_create, run_pause, run_resume, run_retry
from training.services.token_counts import tokens_ask, tokens_counted


class NewestFirst(Pages):
    ordering = "-id"


class WithJobs(ProjectView):
    """Views that answer jobs, with the link of those that made a file."""

    def get_serializer_context(self) -> dict[str, Any]:
        request = self.request
        user = actor(request)

        def link(job: Job) -> str:
            path = reverse("frontend:export_file", args=[link_token(job, user), job.result["name"]])
            return request.build_absolute_uri(path)

        return {"request": request, "link": link}

    def one(self, job: Job) -> Any:
        return JobSerializer(job, context=self.get_serializer_context()).data

    def job(self, id: UUID) -> Job:
        return get_object_or_404(Job.objects.filter(project=self.access.project), pk=id)


class Snapshots(WithJobs, ListAPIView):
    """Frozen datasets, newest first."""

    allowed = {"GET": (Capability.READ_LABELS, Scope.READ), "POST": (Capability.SNAPSHOT, Scope.EXPORT)}
    serializer_class = SnapshotSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[Snapshot]:
        asked = SnapshotFilter(data=self.request.query_params)
        asked.is_valid(raise_exception=True)
        return snapshots_of(self.access.project).filter(**asked.validated_data).select_related("leak_check")

    @extend_schema(parameters=[SnapshotFilter], responses={200: SnapshotSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)

    @extend_schema(request=SnapshotBuildSerializer, responses={201: SnapshotSerializer, 202: JobSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Freeze what a query selects. The same query on the same labels is the same snapshot. Of many rows a worker
        does it: follow the job until its `state` is `succeeded`; then its `snapshot` is there."""
        asked = SnapshotBuildSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        snapshot = build_or_ask(
            project=self.access.project,
            kind=data["kind"],
            query=plain(data.get("query") or {}),
            name=data["name"],
            by=actor(request),
        )
        if isinstance(snapshot, Job):
            return ApiResponse(self.one(snapshot), status=status.HTTP_202_ACCEPTED)
        made = self.get_queryset().get(pk=snapshot.pk)  # with what the leak check has just written
        return ApiResponse(SnapshotSerializer(made).data, status=status.HTTP_201_CREATED)


class SnapshotDetail(ProjectView):
    allowed = {"GET": (Capability.READ_LABELS, Scope.READ)}

    @extend_schema(responses={200: SnapshotSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """One snapshot with its manifest."""
        return ApiResponse(SnapshotSerializer(get_object_or_404(snapshots_of(self.access.project), pk=id)).data)


class SnapshotPreview(ProjectView):
    allowed = {"POST": (Capability.SNAPSHOT, Scope.EXPORT)}

    @extend_schema(request=SnapshotBuildSerializer, responses={200: PreviewSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Count what a query selects now, and show the first rows, without freezing anything."""
        asked = SnapshotBuildSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        return ApiResponse(snapshot_preview(self.access.project, data["kind"], plain(data.get("query") or {})))


DOWNLOAD: dict[Any, Any] = {
    **dict.fromkeys(
        [(200, kind) for kind in ("application/jsonl", "application/gzip", "application/zstd", "text/csv")],
        OpenApiTypes.BINARY,
    ),
    **PROBLEMS,
}


class OfSnapshot(ProjectView):
    """A view of one snapshot."""

    def snapshot(self, id: UUID) -> Snapshot:
        return get_object_or_404(snapshots_of(self.access.project), pk=id)


class SnapshotDownload(OfSnapshot):
    allowed = {"GET": (Capability.SNAPSHOT, Scope.EXPORT)}

    @extend_schema(parameters=[DownloadFilter], responses=DOWNLOAD)
    def get(self, request: Request, slug: str, id: UUID) -> StreamingHttpResponse:
        """One file of a snapshot, streamed. For a download that can go on where it broke off, ask for an export."""
        snapshot = self.snapshot(id)
        asked = DownloadFilter(data=request.query_params)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        container = data["container"]
        lines = export_lines(
            snapshot, split=data["split"], format=data["form"], ties=data.get("ties"), container=container
        )
        name = f"{snapshot.kind}-{snapshot.sha256[:12]}-{data['split']}.{container}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        content_type = "application/jsonl" if container == "jsonl" else CONTENT_TYPES[container]
        return StreamingHttpResponse(lines, content_type=content_type, headers=headers)


class SnapshotFormats(OfSnapshot):
    allowed = {"GET": (Capability.READ_LABELS, Scope.READ)}

    @extend_schema(responses={200: StatementSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """What each format that this snapshot can be written in carries, and what it does not."""
        snapshot = self.snapshot(id)
        statements = [target.statement(snapshot.kind) for target in TARGETS[snapshot.kind].values()]
        return ApiResponse(StatementSerializer(statements, many=True).data)


class SnapshotExports(WithJobs, OfSnapshot, ListAPIView):
    """Exports of a snapshot, newest first."""

    allowed = dict.fromkeys(("GET", "POST"), (Capability.SNAPSHOT, Scope.EXPORT))
    serializer_class = JobSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[Job]:
        return Job.objects.filter(snapshot=self.snapshot(self.kwargs["id"]), kind=JobKind.EXPORT)

    @extend_schema(responses={200: JobSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)

    @extend_schema(request=ExportCreateSerializer, responses={202: JobSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Have a worker write a file, or the whole folder as a zip; poll the job, then fetch its `url`."""
        snapshot = self.snapshot(id)
        asked = ExportCreateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        job = export_create(snapshot=snapshot, by=actor(request), **asked.validated_data)
        return ApiResponse(self.one(job), status=status.HTTP_202_ACCEPTED)


class SnapshotTokens(WithJobs, OfSnapshot, ListAPIView):
    """How many tokens the rows are for a model, and which would not fit; newest first."""

    allowed = {"GET": (Capability.READ_LABELS, Scope.READ), "POST": (Capability.SNAPSHOT, Scope.EXPORT)}
    serializer_class = JobSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[Job]:
        return tokens_counted(self.snapshot(self.kwargs["id"]))

    @extend_schema(responses={200: JobSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)

    @extend_schema(request=TokensAskSerializer, responses={202: JobSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Have a worker count; poll the job for its `result`. What was counted already is answered as it was."""
        snapshot = self.snapshot(id)
        asked = TokensAskSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        model = get_object_or_404(Model.objects.filter(project=self.access.project), pk=data.pop("model"))
        job = tokens_ask(snapshot=snapshot, model=model, by=actor(request), **data)
        return ApiResponse(self.one(job), status=status.HTTP_202_ACCEPTED)


class SnapshotPush(WithJobs, OfSnapshot):
    allowed = {"POST": (Capability.SNAPSHOT, Scope.EXPORT)}

    @extend_schema(request=PushCreateSerializer, responses={202: JobSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Have a worker push the whole export to a dataset repository of the installation's hub. The token is used
        once and not kept; poll the job, whose `result` says where the commit is."""
        snapshot = self.snapshot(id)
        asked = PushCreateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        job = push_create(snapshot=snapshot, by=actor(request), **asked.validated_data)
        return ApiResponse(self.one(job), status=status.HTTP_202_ACCEPTED)


class JobDetail(WithJobs):
    allowed = dict.fromkeys(("GET", "DELETE"), (Capability.SNAPSHOT, Scope.EXPORT))

    @extend_schema(responses={200: JobSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """How far a job is; of a finished export also where its file is."""
        return ApiResponse(self.one(self.job(id)))

    @extend_schema(responses={200: JobSerializer, **PROBLEMS})
    def delete(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Cancel a job, or remove the file that it made."""
        return ApiResponse(self.one(job_cancel(job=self.job(id), by=actor(request))))


class SnapshotLeaks(WithJobs, OfSnapshot, ListAPIView):
    """Prompts in train that are held out too, word for word or nearly, each beside the one it is closest to."""

    allowed = {"GET": (Capability.READ_LABELS, Scope.READ), "POST": (Capability.SNAPSHOT, Scope.EXPORT)}
    serializer_class = LeakPairSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[LeakPair]:
        return LeakPair.objects.filter(leak_check__snapshot=self.snapshot(self.kwargs["id"]))

    @extend_schema(responses={200: LeakPairSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)

    @extend_schema(request=LeakDecisionSerializer, responses={200: SnapshotSerializer, 202: JobSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Decide: accept the leaks with a reason, or freeze the same rows without them (of many rows a worker does)."""
        snapshot = self.snapshot(id)
        get_object_or_404(LeakCheck, snapshot=snapshot)
        asked = LeakDecisionSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        if data["decision"] == "accept":
            leaks_accept(snapshot=snapshot, reason=data["reason"], by=actor(request))
        else:
            made = without_leaks_or_ask(snapshot=snapshot, by=actor(request))
            if isinstance(made, Job):
                return ApiResponse(self.one(made), status=status.HTTP_202_ACCEPTED)
            snapshot = made
        return ApiResponse(SnapshotSerializer(self.snapshot(snapshot.pk)).data)


class SnapshotDifference(WithJobs, OfSnapshot):
    allowed = {"GET": (Capability.READ_LABELS, Scope.READ)}

    @extend_schema(parameters=[DifferenceFilter], responses={200: DifferenceSerializer, 202: JobSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """What changed from another snapshot to this one. Of large ones a worker finds out: ask again until it has."""
        after = self.snapshot(id)
        asked = DifferenceFilter(data=request.query_params)
        asked.is_valid(raise_exception=True)
        found = compare(before=self.snapshot(asked.validated_data["before"]), after=after, by=actor(request))
        if isinstance(found, Job):
            return ApiResponse(self.one(found), status=status.HTTP_202_ACCEPTED)
        return ApiResponse(DifferenceSerializer(found).data)


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
