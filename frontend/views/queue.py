"""The lead's pages about the queue: how it is steered."""

from __future__ import annotations

from copy import copy

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from annotation.models import Project
from annotation.roles import Capability
from annotation.selectors.queue_settings import kind_settings
from annotation.services.queue_settings import kind_settings_update
from frontend.access import ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.queue import KindForm


@login_required
@require_http_methods(["GET", "POST"])
def policy(request: HttpRequest, slug: str) -> HttpResponse:
    """How tasks are handed out, to read and to change."""
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    forms = kind_forms(request, access.project)
    wrong = [form for form in forms.values() if not form.is_valid()]
    if not wrong:
        save(access, forms)
        messages.success(request, _("The queue's settings have been saved."))
        return redirect("frontend:queue_policy", slug)
    status = UNPROCESSABLE if request.method == "POST" else 200
    return project_page(request, access, "queue_policy", "queue/policy.html", {"kinds": forms.values()}, status)


def kind_forms(request: HttpRequest, project: Project) -> dict[str, KindForm]:
    """A form for each kind of task. On copies: checking a form writes into its instance."""
    data = request.POST if request.method == "POST" else None
    rows = kind_settings(project)
    return {kind: KindForm(data, instance=copy(row), prefix=kind) for kind, row in rows.items()}


@transaction.atomic
def save(access: ProjectAccess, forms: dict[str, KindForm]) -> None:
    for kind, form in forms.items():
        kind_settings_update(project=access.project, kind=kind, by=access.user, **form.cleaned_data)
