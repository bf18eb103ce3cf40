"""The ranking form of a project: its versions, and the page where a lead changes it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from annotation.errors import PlackettError
from annotation.ranking_form import checked_form, differences
from annotation.roles import Capability
from annotation.selectors.forms import form_current, form_versions
from annotation.services.forms import form_publish
from frontend.access import ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.ranking import FormEditor
from frontend.ranking_page import form_context, questions_of


@login_required
@require_GET
def ranking_form(request: HttpRequest, slug: str) -> HttpResponse:
    """The form in force as labelers see it, and what each version changed."""
    access = project_for(request.user, slug, Capability.READ_GUIDELINES)
    versions = list(form_versions(access.project))
    changed = {newer.version: differences(older.fields, newer.fields) for newer, older in pairwise(versions)}
    current = versions[0] if versions else form_current(access.project)
    context = {
        "current": current,
        "history": [{"form": form, "changed": changed.get(form.version, [])} for form in versions],
        "may_edit": access.can(Capability.EDIT_FORMS),
    }
    return project_page(request, access, "guidelines", "forms/ranking.html", context | preview_of(current.fields))


@login_required
@require_http_methods(["GET", "POST"])
def ranking_form_edit(request: HttpRequest, slug: str) -> HttpResponse:
    """Change the form: look at what would be asked and what would change, then publish it as the next version."""
    access = project_for(request.user, slug, Capability.EDIT_FORMS)
    current = form_current(access.project)
    posted = request.POST if request.method == "POST" else None
    editor = FormEditor(posted, current.fields, current.version)
    fields = checked_fields(editor) if posted else current.fields
    if fields is not None and request.POST.get("action") == "publish":
        published = publish(request, access, editor, fields)
        if published:
            return redirect("frontend:ranking_form", slug)
        fields = None
    if posted:
        editor.again()
    context = {
        "editor": editor,
        "current": current,
        "shown": fields is not None,
        "changed": differences(current.fields, fields) if fields is not None else [],
        "looked": bool(posted),
    }
    if fields is not None:
        context |= preview_of(fields)
    status = UNPROCESSABLE if posted and fields is None else 200
    if "HX-Request" in request.headers and status == 200:
        return project_page(request, access, "guidelines", "forms/_preview.html", context)
    return project_page(request, access, "guidelines", "forms/ranking_edit.html", context, status)


def checked_fields(editor: FormEditor) -> dict[str, Any] | None:
    """The form that was asked for; None, with the words in the editor, where it can't be."""
    if not editor.is_valid():
        return None
    try:
        return checked_form(editor.fields())
    except PlackettError as problem:
        editor.form.add_error(None, problem.message)
        return None


def publish(request: HttpRequest, access: ProjectAccess, editor: FormEditor, fields: Mapping[str, Any]) -> bool:
    based_on = editor.form.cleaned_data["based_on"]
    try:
        form = form_publish(project=access.project, fields=fields, based_on=based_on, by=access.user)
    except PlackettError as problem:
        editor.form.add_error(None, problem.message)
        return False
    said = _("Version %(version)s is what new tasks ask. Tasks in hand keep the form they came with.")
    messages.success(request, said % {"version": form.version})
    return True


def preview_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    return form_context(fields) | {"questions": questions_of(fields)}
