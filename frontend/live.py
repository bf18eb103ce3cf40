"""Fragments that pages ask for again and again while something runs: the same state is answered by 304, no body."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response, patch_cache_control
from django.utils.translation import get_language


def unless_same(request: HttpRequest, state: str, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """Return `answer()`, or 304 where the browser has this state already. Who is asking was checked before.

    The name of a state holds the language and the person, since the fragment's words and buttons depend on both.
    """
    etag = f'"{state}-{get_language()}-{request.user.pk}"'
    response = get_conditional_response(request, etag=etag)
    if response is None:
        response = answer()
        response["ETag"] = etag
    patch_cache_control(response, private=True, no_cache=True)
    response["Vary"] = "Cookie"
    return response
