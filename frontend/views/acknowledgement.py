"""The page that a labeler meets when the guidelines have changed: what changed, all of it, and one button."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from annotation.changes import line_changes
from annotation.errors import PlackettError
from annotation.models import Guideline
from annotation.selectors.guidelines import guideline_known, guideline_to_acknowledge, guidelines_current
from annotation.services.guidelines import guideline_acknowledge
from frontend.access import ProjectAccess, labeler_for
from frontend.submissions import whole_number
from frontend.views.labeling import next_url


@login_required
@require_http_methods(["GET", "POST"])
def acknowledge(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what changed since the labeler last read the guidelines; the button notes it and leads back to work."""
    access, membership = labeler_for(request.user, slug)
    known = guideline_known(membership)
    if request.method == "POST":
        try:
            guideline_acknowledge(labeler=membership, version=whole_number(request.POST.get("version", "")))
        except PlackettError as problem:
            messages.error(request, problem.message)
        else:
            return redirect(next_url(request, membership))
    waiting = guideline_to_acknowledge(membership)
    if waiting is None and request.method == "GET":
        return redirect("frontend:guidelines", slug)
    return acknowledge_page(request, access, waiting or guidelines_current(access.project), known)


def acknowledge_page(
    request: HttpRequest, access: ProjectAccess, current: Guideline | None, known: Guideline | None
) -> HttpResponse:
    changes = line_changes(known.body, current.body) if known and current else []
    context = {"access": access, "section": "label", "current": current, "known": known, "changes": changes}
    status = 422 if request.method == "POST" else 200
    return render(request, "frontend/labeling/acknowledge.html", context, status=status)
