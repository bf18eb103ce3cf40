"""The audit log of a project."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from annotation.roles import Capability
from annotation.selectors.audit import audit_events
from frontend.access import project_for
from frontend.pages import project_page
from frontend.paging import page_of
from frontend.project_forms.tokens import AuditFilterForm


@login_required
@require_GET
def audit(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_AUDIT)
    form = AuditFilterForm(request.GET)
    page = page_of(audit_events(access.project, **form.chosen()), request)
    return project_page(request, access, "audit", "audit/list.html", {"form": form, "page": page})
