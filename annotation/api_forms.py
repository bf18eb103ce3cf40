"""What labelers are asked and told, over HTTP: the versions of the ranking form, and the guidelines."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response as ApiResponse

from annotation.access import labeler_for
from annotation.api_base import PROBLEMS, ProjectView, Scope, actor
from annotation.models import FormVersion, Guideline
from annotation.roles import Capability
from annotation.selectors.forms import form_versions
from annotation.selectors.guidelines import guideline_to_acknowledge, guidelines_current
from annotation.services.forms import form_publish
from annotation.services.guidelines import guideline_acknowledge


class ScaleShape(serializers.Serializer):
    minimum = serializers.IntegerField()
    maximum = serializers.IntegerField()


class OwnFlagShape(serializers.Serializer):
    key = serializers.CharField(help_text="Such as too_long")
    label = serializers.CharField(help_text="What labelers read")  # type: ignore[assignment]


class PromptQuestionShape(serializers.Serializer):
    """A question about the prompt. One of InstructGPT's needs its key alone."""

    key = serializers.CharField()
    label = serializers.CharField(required=False)  # type: ignore[assignment]
    type = serializers.ChoiceField(choices=["yes_no", "choice", "text"], required=False)
    choices = serializers.ListField(child=serializers.CharField(), required=False)
    required = serializers.BooleanField(required=False)  # type: ignore[assignment]


class FieldsShape(serializers.Serializer):
    """The whole form: what is left out is as in a new project."""

    rating = ScaleShape(required=False)
    flags = serializers.ListField(child=serializers.CharField(), required=False)
    own_flags = OwnFlagShape(many=True, required=False)
    prompt_fields = PromptQuestionShape(many=True, required=False)
    allow_ties = serializers.BooleanField(required=False)
    allow_partial = serializers.BooleanField(required=False)


class FormVersionShape(serializers.Serializer):
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()

    def get_fields(self) -> dict[str, serializers.Field]:
        return super().get_fields() | {"fields": FieldsShape()}


class FormsShape(serializers.Serializer):
    versions = FormVersionShape(many=True)


class PublishShape(serializers.Serializer):
    based_on = serializers.IntegerField(min_value=0, help_text="The version that the change was made from")

    def get_fields(self) -> dict[str, serializers.Field]:
        return super().get_fields() | {"fields": FieldsShape()}


class PublishAsk(serializers.Serializer):
    """As `PublishShape` is sent; what is in the form is checked, in words, by `annotation.ranking_form`."""

    based_on = serializers.IntegerField(min_value=0)

    def get_fields(self) -> dict[str, serializers.Field]:
        return super().get_fields() | {"fields": serializers.JSONField(source="form")}


class Forms(ProjectView):
    allowed = {
        "GET": (Capability.READ_GUIDELINES, Scope.READ),
        "POST": (Capability.EDIT_FORMS, Scope.FORMS),
    }

    @extend_schema(responses={200: FormsShape, **PROBLEMS})
    def get(self, request: Request, slug: str) -> ApiResponse:
        """The versions of the ranking form, the one in force first."""
        return ApiResponse({"versions": [as_row(form) for form in form_versions(self.access.project)]})

    @extend_schema(request=PublishShape, responses={201: FormVersionShape, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Publish the next version of the ranking form. Labels keep the version that they were made under."""
        asked = PublishAsk(data=request.data)
        asked.is_valid(raise_exception=True)
        sent = asked.validated_data
        form = form_publish(
            project=self.access.project, fields=sent["form"], based_on=sent["based_on"], by=actor(request)
        )
        return ApiResponse(as_row(form), status=status.HTTP_201_CREATED)


def as_row(form: FormVersion) -> dict[str, Any]:
    return {"version": form.version, "created_at": form.created_at.isoformat(), "fields": form.fields}


class GuidelinesShape(serializers.Serializer):
    version = serializers.IntegerField(allow_null=True)
    body = serializers.CharField(help_text="Markdown")
    acknowledge = serializers.IntegerField(
        allow_null=True, help_text="The version that you have to acknowledge before the next task"
    )


class Guidelines(ProjectView):
    allowed = {"GET": (Capability.READ_GUIDELINES, Scope.READ)}

    @extend_schema(responses={200: GuidelinesShape, **PROBLEMS})
    def get(self, request: Request, slug: str) -> ApiResponse:
        """The guidelines in force, and whether you have to acknowledge them."""
        current, membership = guidelines_current(self.access.project), self.access.membership
        waiting = guideline_to_acknowledge(membership) if membership else None
        return ApiResponse(guidelines_row(current, waiting))


def guidelines_row(current: Guideline | None, waiting: Guideline | None) -> dict[str, Any]:
    return {
        "version": current.version if current else None,
        "body": current.body if current else "",
        "acknowledge": waiting.version if waiting else None,
    }


class AcknowledgeShape(serializers.Serializer):
    version = serializers.IntegerField(min_value=1)


class Acknowledgement(ProjectView):
    allowed = {"POST": (Capability.LABEL, Scope.LABEL)}

    @extend_schema(request=AcknowledgeShape, responses={200: GuidelinesShape, **PROBLEMS})
    def post(self, request: Request, slug: str) -> ApiResponse:
        """Say that you have read this version, which must be the one in force."""
        _access, labeler = labeler_for(request.user, slug)
        asked = AcknowledgeShape(data=request.data)
        asked.is_valid(raise_exception=True)
        current = guideline_acknowledge(labeler=labeler, version=asked.validated_data["version"])
        return ApiResponse(guidelines_row(current, None))
