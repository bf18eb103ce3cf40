"""Control of runs over HTTP: the queue, checkpoints, deletion, workers, notices, webhooks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response as ApiResponse
from rest_framework.views import APIView

from annotation.access import NOTHING_HERE, projects_where
from annotation.api_base import PROBLEMS, ProjectView, Scope, actor
from annotation.models import ApiToken, User
from annotation.roles import Capability
from training.api import NewestFirst, runs_of
from training.models import Checkpoint, Delivery, Notice, Run, Webhook
from training.selectors.dependents import dependents_of
from training.selectors.notices import notices_for
from training.selectors.workers import lines, workers_there
from training.serializers import RunSerializer
from training.serializers_control import (
    CheckpointSerializer,
    DeleteSerializer,
    DeliverySerializer,
    DependentsSerializer,
    DrainSerializer,
    FromCheckpointSerializer,
    MoveSerializer,
    NoticeSerializer,
    QueuedSerializer,
    ReadSerializer,
    UndrainSerializer,
    WebhookChangeSerializer,
    WebhookMadeSerializer,
    WebhookSerializer,
    WebhookWriteSerializer,
    WorkerSerializer,
)
from training.services import webhooks as webhook_services
from training.services.checkpoints import run_copy_from, run_go_on_from
from training.services.deletion import run_delete
from training.services.notices import notices_read
from training.services.ordering import run_move, run_set_priority, run_to_queue
from training.services.workers import worker_drain, worker_undrain

QUEUE_SHOWN = 1000


class RunQueue(ProjectView):
    allowed = {"GET": (Capability.READ_RUNS, Scope.READ)}

    @extend_schema(responses={200: QueuedSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, slug: str) -> ApiResponse:
        """The project's waiting runs with their place in the installation's queues, and why each waits."""
        rows = [
            queued
            for line in lines(QUEUE_SHOWN)
            for queued in line.shown
            if queued.run.project_id == self.access.project.pk
        ]
        return ApiResponse(QueuedSerializer(rows, many=True).data)


class RunMove(ProjectView):
    allowed = {"POST": (Capability.LAUNCH, Scope.LAUNCH)}

    @extend_schema(request=MoveSerializer, responses={200: RunSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Move a waiting run among the project's own, or give it another priority or queue."""
        run: Run = get_object_or_404(runs_of(self.access.project), pk=id)
        asked = MoveSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        if "queue" in data:
            run = run_to_queue(run=run, queue=data["queue"], by=actor(request))
        if "priority" in data:
            run = run_set_priority(run=run, priority=data["priority"], by=actor(request))
        if "to" in data:
            run_move(run=run, to=data["to"], by=actor(request))
        return ApiResponse(RunSerializer(runs_of(self.access.project).get(pk=id)).data)


class Checkpoints(ProjectView):
    allowed = {"GET": (Capability.READ_RUNS, Scope.READ), "POST": (Capability.LAUNCH, Scope.LAUNCH)}

    @extend_schema(responses={200: CheckpointSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """A run's checkpoints, newest first."""
        run: Run = get_object_or_404(runs_of(self.access.project), pk=id)
        return ApiResponse(CheckpointSerializer(run.checkpoints.select_related("artifact"), many=True).data)

    @extend_schema(request=FromCheckpointSerializer, responses={200: RunSerializer, 201: RunSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Go on from a checkpoint: a failed or paused run itself; of a cancelled one, a copy (201)."""
        run: Run = get_object_or_404(runs_of(self.access.project), pk=id)
        asked = FromCheckpointSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        rows = Checkpoint.objects.filter(run=run).select_related("artifact", "run")
        checkpoint: Checkpoint = get_object_or_404(rows, pk=asked.validated_data["checkpoint"])
        is_copy = run.state == "cancelled"
        service = run_copy_from if is_copy else run_go_on_from
        after = service(run=run, checkpoint=checkpoint, by=actor(request))
        answer = RunSerializer(runs_of(self.access.project).get(pk=after.pk)).data
        return ApiResponse(answer, status=201 if is_copy else 200)


class RunDelete(ProjectView):
    allowed = {"GET": (Capability.LAUNCH, Scope.READ), "POST": (Capability.LAUNCH, Scope.LAUNCH)}

    @extend_schema(responses={200: DependentsSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """What would go with the run, and what forbids that it goes."""
        run: Run = get_object_or_404(runs_of(self.access.project), pk=id)
        return ApiResponse(DependentsSerializer(dependents_of(run)).data)

    @extend_schema(request=DeleteSerializer, responses={200: DependentsSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Delete a run that is over, with what hangs on it. Its name confirms. Answers with what went."""
        run: Run = get_object_or_404(runs_of(self.access.project), pk=id)
        asked = DeleteSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        answer = DependentsSerializer(dependents_of(run)).data
        run_delete(run=run, name=asked.validated_data["name"], by=actor(request))
        return ApiResponse(answer)


class InstallationView(APIView):
    """What belongs to the installation: who reads runs anywhere may look, its owner may change."""

    def check(self, request: Request, scope: ApiToken.Scope, *, owner: bool) -> User:
        user = actor(request)
        if not (user.is_superuser or (not owner and projects_where(user, Capability.READ_RUNS))):
            raise Http404(NOTHING_HERE)
        if isinstance(request.auth, ApiToken) and scope not in request.auth.scopes:
            raise PermissionDenied(
                _("This token lacks the scope “%(scope)s”. Make one that has it.") % {"scope": scope.value}
            )
        return user


class Workers(InstallationView):
    @extend_schema(responses={200: WorkerSerializer(many=True), **PROBLEMS})
    def get(self, request: Request) -> ApiResponse:
        """The workers of the installation, with what they run of what you may read."""
        user = self.check(request, Scope.READ, owner=False)
        readable = projects_where(user, Capability.READ_RUNS)
        if isinstance(request.auth, ApiToken):
            readable &= {request.auth.membership.project_id}
        rows = WorkerSerializer(workers_there(silent_too=True), many=True, context={"readable": readable})
        return ApiResponse(rows.data)


class WorkerDrain(InstallationView):
    @extend_schema(request=DrainSerializer, responses={204: None, **PROBLEMS})
    def post(self, request: Request) -> ApiResponse:
        """Let a node take nothing new. For the owner of the installation."""
        user = self.check(request, Scope.LAUNCH, owner=True)
        asked = DrainSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        worker_drain(by=user, **asked.validated_data)
        return ApiResponse(status=204)


class WorkerUndrain(InstallationView):
    @extend_schema(request=UndrainSerializer, responses={204: None, **PROBLEMS})
    def post(self, request: Request) -> ApiResponse:
        """Let a node take runs again. For the owner of the installation."""
        user = self.check(request, Scope.LAUNCH, owner=True)
        asked = UndrainSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        worker_undrain(by=user, **asked.validated_data)
        return ApiResponse(status=204)


class Notices(ProjectView, ListAPIView):
    """What became of the project's runs, newest first."""

    allowed = {"GET": (Capability.READ_RUNS, Scope.READ), "POST": (Capability.READ_RUNS, Scope.READ)}
    serializer_class = NoticeSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[Notice]:
        return notices_for(actor(self.request)).filter(project=self.access.project)

    @extend_schema(responses={200: NoticeSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)

    @extend_schema(request=ReadSerializer, responses={204: None, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Mark as read by you."""
        asked = ReadSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        rows = self.get_queryset().filter(pk__in=asked.validated_data["notices"])
        notices_read(user=actor(request), notices=list(rows))
        return ApiResponse(status=204)


class Webhooks(ProjectView):
    allowed = {"GET": (Capability.MANAGE, Scope.READ), "POST": (Capability.MANAGE, Scope.LAUNCH)}

    @extend_schema(responses={200: WebhookSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, slug: str) -> ApiResponse:
        """Where the project's notices are posted."""
        return ApiResponse(WebhookSerializer(Webhook.objects.filter(project=self.access.project), many=True).data)

    @extend_schema(request=WebhookWriteSerializer, responses={201: WebhookMadeSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Add one. The answer holds its secret, this once."""
        asked = WebhookWriteSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        made, secret = webhook_services.webhook_create(
            project=self.access.project, by=actor(request), **asked.validated_data
        )
        return ApiResponse({**WebhookSerializer(made).data, "secret": secret}, status=201)


class WebhookDetail(ProjectView):
    allowed = {
        "GET": (Capability.MANAGE, Scope.READ),
        "PATCH": (Capability.MANAGE, Scope.LAUNCH),
        "DELETE": (Capability.MANAGE, Scope.LAUNCH),
    }

    def found(self, id: UUID) -> Webhook:
        return get_object_or_404(Webhook.objects.filter(project=self.access.project).select_related("project"), pk=id)

    @extend_schema(operation_id="webhook_deliveries", responses={200: DeliverySerializer(many=True), **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Its latest messages, and what became of them."""
        rows = Delivery.objects.filter(webhook=self.found(id)).select_related("notice")[:100]
        return ApiResponse(DeliverySerializer(rows, many=True).data)

    @extend_schema(request=WebhookChangeSerializer, responses={200: WebhookSerializer, **PROBLEMS})
    def patch(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Another address or other kinds; on or off."""
        webhook = self.found(id)
        asked = WebhookChangeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        if "url" in data or "kinds" in data:
            url, kinds = data.get("url", webhook.url), data.get("kinds", webhook.kinds)
            webhook_services.webhook_change(webhook=webhook, url=url, kinds=kinds, by=actor(request))
        if "is_enabled" in data:
            webhook_services.webhook_switch(webhook=webhook, enabled=data["is_enabled"], by=actor(request))
        return ApiResponse(WebhookSerializer(self.found(id)).data)

    @extend_schema(responses={204: None, **PROBLEMS})
    def delete(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Delete it, with what is on its way."""
        webhook_services.webhook_delete(webhook=self.found(id), by=actor(request))
        return ApiResponse(status=204)


class WebhookTest(ProjectView):
    allowed = {"POST": (Capability.MANAGE, Scope.LAUNCH)}

    @extend_schema(request=None, responses={201: DeliverySerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Send a test message, the way all others go."""
        rows = Webhook.objects.filter(project=self.access.project).select_related("project")
        delivery = webhook_services.webhook_test(webhook=get_object_or_404(rows, pk=id), by=actor(request))
        return ApiResponse(DeliverySerializer(delivery).data, status=201)
