"""Content Security Policy: text written by models and people must never run as script."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

# No inline script or style at all; `data:` only for images, because the browser's own form controls use it.
DIRECTIVES = {
    "default-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "form-action": "'self'",
}
TAKES_NONCE = ("script-src", "style-src")


class Nonce:
    """A random word per request, made when a template first asks for it: pages that need none advertise none."""

    def __init__(self) -> None:
        self.value = ""

    def __str__(self) -> str:
        self.value = self.value or secrets.token_urlsafe(16)
        return self.value


def policy(nonce: Nonce) -> str:
    def sources(name: str, allowed: str) -> str:
        return f"{allowed} 'nonce-{nonce.value}'" if nonce.value and name in TAKES_NONCE else allowed

    return "; ".join(f"{name} {sources(name, allowed)}" for name, allowed in DIRECTIVES.items())


class ContentSecurityPolicyMiddleware:
    """Put the policy on every response that has none of its own; templates read `request.csp_nonce`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        nonce = Nonce()
        annotated: Any = request
        annotated.csp_nonce = nonce
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy(nonce))
        return response
