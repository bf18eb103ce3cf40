"""API tokens for DRF (`Authorization: Bearer pk_...`): a token acts as its owner, in its project, within its scopes."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from annotation.models import ApiToken, User
from annotation.services.tokens import token_find


class TokenAuthentication(BaseAuthentication):
    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        if len(words) != 2:
            raise AuthenticationFailed(_("Write the header as: Authorization: Bearer TOKEN."))
        token = token_find(words[1].decode("ascii", errors="replace"))
        if token is None or token.membership.user is None or not token.membership.user.is_active:
            raise AuthenticationFailed(_("This token is unknown, expired or revoked. Make a new one under API tokens."))
        return token.membership.user, token

    def authenticate_header(self, request: Request) -> str:
        return self.keyword


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "annotation.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token made under API tokens in the project."}
