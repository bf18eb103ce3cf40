"""What every page of a project does at its end: render with the project's frame, or go back with a sentence."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from frontend.access import ProjectAccess

UNPROCESSABLE = 422


def project_page(
    request: HttpRequest,
    access: ProjectAccess,
    section: str,
    template: str,
    context: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    """Render a page (or a fragment) of a project; `section` is the tab that it belongs to."""
    frame = {"access": access, "project": access.project, "section": section}
    return render(request, f"frontend/{template}", frame | (context or {}), status=status)
