"""Pages of a long list, found by key and not by counting, so that page 1000 costs what page 1 costs.

Every list is newest first by id: ids are UUIDs that sort by age, or counted numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

PAGE_SIZE = 50


@dataclass(frozen=True)
class Page:
    """Rows of one page; `older` and `newer` are the query strings of its neighbours, empty at the ends."""

    rows: Sequence[Any]
    older: str
    newer: str


def page_of(queryset: QuerySet[Any], request: HttpRequest, size: int = PAGE_SIZE) -> Page:
    """Return the page that the address asks for by `before` or `after` an id. One query."""
    before, after = request.GET.get("before", ""), request.GET.get("after", "")
    backwards = bool(after) and not before
    try:
        rows = list(_rows(queryset, before, after, size))
    except (ValidationError, ValueError):
        before = after = ""
        rows, backwards = list(_rows(queryset, "", "", size)), False
    more = len(rows) > size
    rows = rows[:size]
    if backwards:
        rows.reverse()
    has_older, has_newer = (True, more) if backwards else (more, bool(before))
    return Page(
        rows=rows,
        older=_query(request, before=rows[-1].pk) if rows and has_older else "",
        newer=_query(request, after=rows[0].pk) if rows and has_newer else "",
    )


def _rows(queryset: QuerySet[Any], before: str, after: str, size: int) -> QuerySet[Any]:
    if before:
        return queryset.filter(pk__lt=before).order_by("-pk")[: size + 1]
    if after:
        return queryset.filter(pk__gt=after).order_by("pk")[: size + 1]
    return queryset.order_by("-pk")[: size + 1]


def _query(request: HttpRequest, **changes: object) -> str:
    """The address's query with its place in the list changed and its filters kept."""
    query = request.GET.copy()
    for name in ("before", "after"):
        query.pop(name, None)
    for name, value in changes.items():
        query[name] = str(value)
    return "?" + query.urlencode()
