"""Pages for what went wrong: one sentence about what happened, and a way on."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "frontend/errors/403.html", status=403)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "frontend/errors/403.html", {"csrf_failed": True}, status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "frontend/errors/404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    # Without the request: its context processors may be what broke (the database, the session).
    return HttpResponse(render_to_string("frontend/errors/500.html"), status=500)
