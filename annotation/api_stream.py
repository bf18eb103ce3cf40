"""New labels as they come, for programs that poll: JSON lines behind a cursor."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from annotation.api_base import PROBLEMS, ProjectView, Scope
from annotation.ids import uuid7_floor
from annotation.roles import Capability
from annotation.selectors import rows
from annotation.serializers import RowFilter

SETTLED_SECONDS = 10.0
"""Ids sort by time, but a transaction may commit after a later one: what is younger waits for the next poll."""
MOST_ROWS = 10_000
CHUNK = 500
KINDS: dict[str, tuple[Any, Any]] = {
    "demonstrations": (rows.demonstrations_with_all, rows.demonstration_row),
    "rankings": (rows.rankings_with_all, rows.ranking_row),
}


class StreamFilter(RowFilter):
    kind = serializers.ChoiceField(choices=list(KINDS))
    after = serializers.UUIDField(required=False, help_text="The id of the last row that you have")
    limit = serializers.IntegerField(min_value=1, max_value=MOST_ROWS, default=1000)


STREAM: dict[Any, Any] = {(200, "application/jsonl"): OpenApiTypes.BINARY, **PROBLEMS}


class LabelStream(ProjectView):
    allowed = {"GET": (Capability.READ_LABELS, Scope.EXPORT)}

    @extend_schema(parameters=[StreamFilter], responses=STREAM)
    def get(self, request: Request, slug: str) -> StreamingHttpResponse:
        """Canonical rows of current labels, oldest first, a JSON object a line, from behind `after`.

        Poll with the last line's id. A revised label comes again, with a new id and a higher revision. Nothing is
        skipped: a label is told ten seconds after it was submitted, or later.
        """
        asked = StreamFilter(data=request.query_params)
        asked.is_valid(raise_exception=True)
        query = dict(asked.validated_data)
        kind, after, limit = query.pop("kind"), query.pop("after", None), query.pop("limit")
        labels_for, row_of = KINDS[kind]
        found = labels_for(self.access.project, query)
        lines = label_lines(found, row_of, after, limit)
        return StreamingHttpResponse(lines, content_type="application/jsonl")


def label_lines(labels: Any, row_of: Any, after: UUID | None, limit: int) -> Iterator[bytes]:
    labels = labels.filter(pk__lt=uuid7_floor(time.time() - SETTLED_SECONDS))
    if after:
        labels = labels.filter(pk__gt=after)
    for label in islice(labels.iterator(chunk_size=CHUNK), limit):
        yield json.dumps(row_of(label), ensure_ascii=False).encode() + b"\n"
