"""What every API view shares: who may, within which token's scope, and how errors are said."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import serializers, status
from rest_framework.exceptions import PermissionDenied
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response as ApiResponse
from rest_framework.views import APIView
from rest_framework.views import exception_handler as drf_exception_handler

from annotation.access import NOTHING_HERE, ProjectAccess, project_for
from annotation.errors import PlackettError
from annotation.models import ApiToken, User
from annotation.roles import Capability
from annotation.services.guidelines import GuidelinesChanged

Scope = ApiToken.Scope


class Problem(serializers.Serializer):
    """What an error answers with: a sentence that says the fix."""

    detail = serializers.CharField()


class Acknowledge(Problem):
    """What 409 answers with: the version of the guidelines to read and to acknowledge before going on."""

    acknowledge = serializers.IntegerField()


class Refusal(serializers.Serializer):
    """What a request that can't be is answered: a sentence as `detail`, or under each field's name what is wrong."""

    detail = serializers.CharField(required=False)


# For @extend_schema(responses=...): every view of a project can answer these.
PROBLEMS = {400: Refusal, 401: Problem, 403: Problem, 404: Problem}


class Pages(CursorPagination):
    """Keyset pages: the cost of a page does not grow with its number. Rows come oldest first."""

    page_size = 50
    max_page_size = 1000
    page_size_query_param = "limit"
    ordering = "id"


class ProjectView(APIView):
    """A view below /projects/{slug}/. `allowed` says for each method which capability and token scope it takes."""

    allowed: ClassVar[dict[str, tuple[Capability, ApiToken.Scope]]]
    access: ProjectAccess

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in self.allowed:
            self.http_method_not_allowed(request)
        capability, scope = self.allowed[str(request.method)]
        self.access = project_for(request.user, kwargs["slug"], capability)
        check_token(request, self.access, scope)


def check_token(request: Request, access: ProjectAccess, scope: ApiToken.Scope) -> None:
    """A token opens its own project only, and there only what its scopes name."""
    token = request.auth
    if not isinstance(token, ApiToken):
        return
    if token.membership.project_id != access.project.id:
        raise Http404(NOTHING_HERE)
    if scope not in token.scopes:
        raise PermissionDenied(
            _("This token lacks the scope “%(scope)s”. Make one that has it.") % {"scope": scope.value}
        )


def actor(request: Request) -> User:
    """The signed-in person; permission classes made sure that there is one."""
    assert isinstance(request.user, User)
    return request.user


def exception_handler(error: Exception, context: dict[str, Any]) -> ApiResponse | None:
    """Answer a domain error with 400 and its sentence (409 where guidelines are to be read); the rest as DRF does."""
    if isinstance(error, GuidelinesChanged):
        body = {"detail": error.message, "acknowledge": error.version}
        return ApiResponse(body, status=status.HTTP_409_CONFLICT)
    if isinstance(error, PlackettError):
        return ApiResponse({"detail": str(error.message)}, status=status.HTTP_400_BAD_REQUEST)
    return drf_exception_handler(error, context)
