"""How the API takes and shows imports."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from annotation.formats import FORMATS
from annotation.models import ImportBatch, ImportKind, ImportRejection, ImportState, Pool
from annotation.selectors.imports import import_progress

FORMAT_NAMES = [found.name for found in FORMATS]
MAPPING_HELP = (
    'Our fields to the file\'s columns, such as {"prompt": "question", "answers": ["a", "b"], "choice": "vote"}; '
    "for files in no format that is known. Nested columns are named with dots"
)


@extend_schema_field(OpenApiTypes.OBJECT)
class MappingField(serializers.JSONField):
    """An object; in a form, as JSON text."""

    def to_internal_value(self, data: Any) -> Any:
        if data == "":
            return {}
        value = super().to_internal_value(data)
        if not isinstance(value, dict):
            raise serializers.ValidationError("Write an object: {our field: the file's column}.")
        return value


@extend_schema_field(OpenApiTypes.BINARY)
class UploadField(serializers.FileField):
    """The bytes of a file; described as an address without this."""


class ReadingSerializer(serializers.Serializer):
    """How a file is to be read."""

    format = serializers.ChoiceField(
        choices=FORMAT_NAMES,
        required=False,
        allow_blank=True,
        help_text="Recognised by the first row where neither it nor a mapping is given",
    )
    mapping = MappingField(required=False, help_text=MAPPING_HELP)
    accept_bad_lines = serializers.BooleanField(
        required=False, help_text="Add the good lines of a file that has bad ones; otherwise it is all or nothing"
    )


class ImportSerializer(ReadingSerializer):
    kind = serializers.ChoiceField(choices=ImportKind.values)
    file = UploadField()
    pool = serializers.ChoiceField(choices=Pool.choices)
    source = serializers.CharField(max_length=120, help_text="Where from")  # type: ignore[assignment]
    licence = serializers.CharField(max_length=120, required=False, default="", allow_blank=True)
    consent = serializers.CharField(required=False, default="", allow_blank=True)
    start = serializers.BooleanField(default=True, help_text="False: only keep the file, to look at its preview first")


class ImportBatchSerializer(serializers.ModelSerializer):
    state = serializers.ChoiceField(choices=ImportState.choices)
    fraction = serializers.SerializerMethodField(help_text="Of the phase, 0 to 1; null where it can't be known")
    seconds_left = serializers.SerializerMethodField(help_text="Of the phase; null where it can't be known")

    class Meta:
        model = ImportBatch
        fields = [
            "id", "kind", "pool", "source", "licence", "filename", "sha256", "size", "format", "mapping",
            "accept_bad_lines", "state", "phase", "position", "rows", "fraction", "seconds_left", "message",
            "added", "known", "rejected_count", "created_at", "ended_at", "undone_at",
        ]  # fmt: skip

    def get_fraction(self, batch: ImportBatch) -> float | None:
        return import_progress(batch).fraction

    def get_seconds_left(self, batch: ImportBatch) -> float | None:
        return import_progress(batch).seconds_left


class RejectionSerializer(serializers.ModelSerializer):
    class Meta:
        model = ImportRejection
        fields = ["line", "problem"]


class PreviewRow(serializers.Serializer):
    """A row as it will be."""

    line = serializers.IntegerField()
    prompt = serializers.ListField(child=serializers.DictField())
    answers = serializers.ListField(child=serializers.DictField(), help_text="[{text, author, rank, rating}]")
    labeler = serializers.CharField()


class ImportPreviewSerializer(serializers.Serializer):
    format = serializers.CharField(help_text="As which the file was read")
    columns = serializers.ListField(child=serializers.CharField())
    suggested_mapping = serializers.DictField(help_text="By the columns' names, or the last one that fits")
    rows = PreviewRow(many=True)
    good = serializers.IntegerField(help_text="Of the lines that were looked at")
    rejected = RejectionSerializer(many=True)
    problem = serializers.CharField(help_text="Why the file as a whole can't be read; else empty")
