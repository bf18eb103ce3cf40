"""A project itself: making one, its settings, and the editor of its guidelines."""

from __future__ import annotations

from copy import copy

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import Guideline
from annotation.roles import Capability
from annotation.selectors.guidelines import guidelines_current
from annotation.services import accounts
from annotation.services.guidelines import guideline_publish
from frontend.access import NOTHING_HERE, ProjectAccess, as_user, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.projects import GuidelineForm, NewProjectForm, ProjectSettingsForm


@login_required
@require_http_methods(["GET", "POST"])
def project_new(request: HttpRequest) -> HttpResponse:
    """A new project, with its maker as the first admin. For the owner of the installation."""
    user = as_user(request.user)
    if not user.is_superuser:
        raise Http404(NOTHING_HERE)
    form = NewProjectForm(request.POST or None)
    if form.is_valid():
        try:
            project = accounts.project_create(by=user, **form.cleaned_data)
        except PlackettError as problem:
            form.add_error(None, problem.message)
        else:
            messages.success(request, _("%(name)s is there. Add prompts and people next.") % {"name": project.name})
            return redirect("frontend:prompts", project.slug)
    status = UNPROCESSABLE if form.is_bound else 200
    return render(request, "frontend/projects/new.html", {"form": form}, status=status)


@login_required
@require_http_methods(["GET", "POST"])
def settings(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.MANAGE)
    # A copy: checking a form writes into its instance, and the page's head shows the project as it is.
    form = ProjectSettingsForm(request.POST or None, instance=copy(access.project))
    if form.is_valid():
        accounts.project_update(project=access.project, by=access.user, **form.cleaned_data)
        messages.success(request, _("The settings have been saved. They hold for tasks made from now on."))
        return redirect("frontend:settings", slug)
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "settings", "projects/settings.html", {"form": form}, status)


@login_required
@require_http_methods(["GET", "POST"])
def guideline_edit(request: HttpRequest, slug: str) -> HttpResponse:
    """The editor: each publishing adds a version, and labels say under which one they were made."""
    access = project_for(request.user, slug, Capability.EDIT_GUIDELINES)
    current = guidelines_current(access.project)
    latest = current.version if current else 0
    if request.method == "POST":
        form = GuidelineForm(request.POST)
        if not form.is_valid():
            return _editor(request, access, form, current, UNPROCESSABLE)
        if form.cleaned_data["based_on"] != latest:
            return _editor(request, access, _outdated(form, latest), current, UNPROCESSABLE)
        guideline = guideline_publish(project=access.project, body=form.cleaned_data["body"], by=access.user)
        said = _("Version %(version)s is what labelers see now.")
        messages.success(request, said % {"version": guideline.version})
        return redirect("frontend:guidelines", slug)
    initial = {"body": current.body if current else "", "based_on": latest}
    return _editor(request, access, GuidelineForm(initial=initial), current, 200)


def _outdated(form: GuidelineForm, latest: int) -> GuidelineForm:
    """The form again, telling that someone published meanwhile; sent once more, it replaces that, knowingly."""
    again = GuidelineForm({"body": form.cleaned_data["body"], "based_on": latest})
    again.is_valid()
    said = _("Version %(version)s was published while you wrote. Compare the two, then publish again to replace it.")
    again.add_error("body", said % {"version": latest})
    return again


def _editor(
    request: HttpRequest, access: ProjectAccess, form: GuidelineForm, current: Guideline | None, status: int
) -> HttpResponse:
    context = {"form": form, "current": current}
    return project_page(request, access, "guidelines", "projects/guideline_edit.html", context, status)


@login_required
@require_POST
def guideline_preview(request: HttpRequest, slug: str) -> HttpResponse:
    """What the text will look like; a fragment beside the editor."""
    project_for(request.user, slug, Capability.EDIT_GUIDELINES)
    return render(request, "frontend/projects/_guideline_preview.html", {"body": request.POST.get("body", "")})
