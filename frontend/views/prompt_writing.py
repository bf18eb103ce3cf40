"""The lead's page on which labelers are asked for prompts."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import PromptBrief
from annotation.roles import Capability
from annotation.selectors.briefs import briefs_of
from annotation.services.prompt_writing import prompt_tasks_create, prompt_tasks_withdraw
from frontend.access import project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.prompt_writing import BriefForm


@login_required
@require_http_methods(["GET", "POST"])
def prompt_writing(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    form = BriefForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            prompt_tasks_create(project=access.project, by=access.user, **form.cleaned_data)
        except PlackettError as problem:
            form.add_error(None, problem.message)
        else:
            number = form.cleaned_data["number"]
            said = ngettext("%(n)s prompt is asked for.", "%(n)s prompts are asked for.", number)
            messages.success(request, said % {"n": number})
            return redirect("frontend:prompt_writing", slug)
    context = {
        "form": form,
        "briefs": briefs_of(access.project),
        "may_read_prompts": access.can(Capability.READ_PROMPTS),
        "page_name": "prompt_writing",
    }
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "queue", "queue/prompt_writing.html", context, status)


@login_required
@require_POST
def withdraw(request: HttpRequest, slug: str, brief_id: UUID) -> HttpResponse:
    """Ask for no more prompts of one brief."""
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    brief = get_object_or_404(PromptBrief, project=access.project, pk=brief_id)
    withdrawn = prompt_tasks_withdraw(brief=brief, by=access.user)
    said = ngettext("%(n)s task has been withdrawn.", "%(n)s tasks have been withdrawn.", withdrawn)
    messages.success(request, said % {"n": withdrawn})
    return redirect("frontend:prompt_writing", slug)
