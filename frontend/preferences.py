"""How a visitor likes the pages: theme and language, kept in cookies and, for those signed in, on their account."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse

THEME_COOKIE = "plackett_theme"
COOKIE_SECONDS = 365 * 24 * 3600


def remember_theme(response: HttpResponse, theme: str) -> None:
    _set_cookie(response, THEME_COOKIE, theme)


def remember_language(response: HttpResponse, language: str) -> None:
    _set_cookie(response, settings.LANGUAGE_COOKIE_NAME, language)


def _set_cookie(response: HttpResponse, name: str, value: str) -> None:
    response.set_cookie(
        name, value, max_age=COOKIE_SECONDS, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE, httponly=True
    )
