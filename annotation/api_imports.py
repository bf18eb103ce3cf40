"""Imports over HTTP: send a file, look at what it will be, start it, follow it, cancel or undo it."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response as ApiResponse

from annotation.api_base import PROBLEMS, Pages, ProjectView, Scope, actor
from annotation.import_serializers import (
    ImportBatchSerializer,
    ImportPreviewSerializer,
    ImportSerializer,
    ReadingSerializer,
    RejectionSerializer,
)
from annotation.models import ImportBatch, ImportRejection
from annotation.records import AnswerRecord, DemonstrationRecord, PromptRecord, RankingRecord, Record
from annotation.roles import Capability
from annotation.selectors.imports import import_batches, import_preview, import_rejections, mapping_for
from annotation.services import imports
from annotation.staging import blocks_of

READ = (Capability.READ_PROMPTS, Scope.READ)
WRITE = (Capability.EDIT_PROMPTS, Scope.WRITE_PROMPTS)


class Imports(ProjectView, ListAPIView):
    """Files that were brought in, newest first."""

    allowed = {"GET": READ, "POST": WRITE}
    serializer_class = ImportBatchSerializer

    class NewestFirst(Pages):
        ordering = "-id"

    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[ImportBatch]:
        return import_batches(self.access.project)

    @extend_schema(responses={200: ImportBatchSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)

    @extend_schema(
        request={"multipart/form-data": ImportSerializer}, responses={202: ImportBatchSerializer, **PROBLEMS}
    )
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Send a file: JSONL, a JSON list, CSV or Parquet, also packed. A worker imports it; follow the answer's `id`
        until its `state` is succeeded, refused (see its bad lines), failed or cancelled. The same file twice adds
        nothing."""
        asked = ImportSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = dict(asked.validated_data)
        file, start = data.pop("file"), data.pop("start")
        batch = imports.import_stage(
            project=self.access.project,
            blocks=blocks_of(file),
            filename=file.name,
            by=actor(request),
            limit=settings.UPLOAD_MAX_BYTES,
            **data,
        )
        if start:
            batch = imports.import_start(batch=batch, by=actor(request))
        headers = {"Location": reverse("annotation:import", args=[slug, batch.pk])}
        return ApiResponse(ImportBatchSerializer(batch).data, status=status.HTTP_202_ACCEPTED, headers=headers)


class ImportView(ProjectView):
    def batch(self, id: UUID) -> ImportBatch:
        return get_object_or_404(import_batches(self.access.project), pk=id)


class ImportDetail(ImportView):
    allowed = {"GET": READ, "PATCH": WRITE}

    @extend_schema(responses={200: ImportBatchSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """One import, and how far it is."""
        return ApiResponse(ImportBatchSerializer(self.batch(id)).data)

    @extend_schema(request=ReadingSerializer, responses={200: ImportBatchSerializer, **PROBLEMS})
    def patch(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Say anew how a file that was not started is to be read."""
        batch = self.batch(id)
        asked = ReadingSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        now = {"format": batch.format, "mapping": batch.mapping, "accept_bad_lines": batch.accept_bad_lines}
        batch = imports.import_change(batch=batch, by=actor(request), **{**now, **asked.validated_data})
        return ApiResponse(ImportBatchSerializer(batch).data)


class ImportPreview(ImportView):
    allowed = {"GET": READ}

    @extend_schema(responses={200: ImportPreviewSerializer, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """The first rows of the file as they will come in."""
        batch = self.batch(id)
        preview = import_preview(batch)
        suggested, _whose = mapping_for(batch, preview.columns)
        shown = {
            **{name: getattr(preview, name) for name in ("format", "columns", "good", "problem")},
            "suggested_mapping": suggested,
            "rows": [preview_row(line, record) for line, record in preview.records],
            "rejected": [{"line": line, "problem": problem} for line, problem in preview.rejected],
        }
        return ApiResponse(ImportPreviewSerializer(shown).data)


def preview_row(line: int, record: Record) -> dict[str, Any]:
    prompt = record if isinstance(record, PromptRecord) else record.prompt
    return {
        "line": line,
        "prompt": prompt.messages,
        "answers": [answer_row(answer) for answer in answers_in(record)],
        "labeler": record.work.labeler if isinstance(record, DemonstrationRecord | RankingRecord) else "",
    }


def answers_in(record: Record) -> list[AnswerRecord]:
    if isinstance(record, PromptRecord):
        return []
    if isinstance(record, DemonstrationRecord):
        return [AnswerRecord(text=record.text)]
    return record.answers


def answer_row(answer: AnswerRecord) -> dict[str, Any]:
    return {"text": answer.text, "author": answer.author, "rank": answer.rank, "rating": answer.rating}


class BadLines(ImportView, ListAPIView):
    allowed = {"GET": READ}
    serializer_class = RejectionSerializer
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[ImportRejection]:
        return import_rejections(self.batch(self.kwargs["id"]))

    @extend_schema(responses={200: RejectionSerializer(many=True), **PROBLEMS})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        """Each line that could not come in, and why."""
        return self.list(request, *args, **kwargs)


class ImportAction(ImportView):
    """What can be done with an import; each answers with the import as it is then."""

    allowed = {"POST": WRITE}
    service: ClassVar[Any]

    @extend_schema(request=None, responses={200: ImportBatchSerializer, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        batch = type(self).service(batch=self.batch(id), by=actor(request))
        return ApiResponse(ImportBatchSerializer(batch).data)


class ImportStart(ImportAction):
    """Start an import whose file was only kept. Starting it again changes nothing."""

    service = imports.import_start


class ImportCancel(ImportAction):
    """Have nothing of it. A running one ends in a moment."""

    service = imports.import_cancel


class ImportGood(ImportAction):
    """Import the good lines alone of a file that was refused: an import of its own, which is the answer."""

    service = imports.import_again


class ImportUndo(ImportAction):
    """Take back what it brought and nobody has used since."""

    service = imports.import_undo
