"""Bringing a file in, the report of what became of its lines, and undoing it."""

from __future__ import annotations

import csv
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import ImportBatch
from annotation.roles import Capability
from annotation.services.imports import BadLines, import_file
from annotation.services.imports import import_undo as undo
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.prompts import ImportForm


@login_required
@require_http_methods(["GET", "POST"])
def prompts_import(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.EDIT_PROMPTS)
    form = ImportForm(request.POST or None, request.FILES or None)
    context: dict[str, object] = {"form": form}
    if form.is_valid():
        try:
            batch = _import(access, form)
        except BadLines as problem:
            context |= {"problem": problem.message, "rejected": problem.rejected, "rejected_count": problem.count}
        except PlackettError as problem:
            context["problem"] = problem.message
        else:
            return redirect("frontend:import_report", slug, batch.id)
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "prompts", "prompts/import.html", context, status)


def _import(access: ProjectAccess, form: ImportForm) -> ImportBatch:
    chosen = dict(form.cleaned_data)
    file = chosen.pop("file")
    return import_file(project=access.project, file=file, filename=file.name, by=access.user, **chosen)


@login_required
@require_GET
def import_report(request: HttpRequest, slug: str, batch_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_PROMPTS)
    batch = batch_for(access, batch_id)
    kind = dict(ImportForm.KINDS).get(batch.kind, batch.kind)
    context = {"batch": batch, "kind": kind, "may_edit": access.can(Capability.EDIT_PROMPTS)}
    return project_page(request, access, "prompts", "prompts/report.html", context)


@login_required
@require_GET
def import_report_file(request: HttpRequest, slug: str, batch_id: UUID) -> HttpResponse:
    """The bad lines as CSV, to mend them by."""
    access = project_for(request.user, slug, Capability.READ_PROMPTS)
    batch = batch_for(access, batch_id)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="bad-lines-{batch.id}.csv"'
    writer = csv.writer(response)
    writer.writerow(["line", "problem"])
    writer.writerows([bad["line"], as_cell(bad["problem"])] for bad in batch.rejected)
    return response


def as_cell(text: str) -> str:
    """A text that a spreadsheet will not take for a formula (the problem may quote what the file said)."""
    return "'" + text if text[:1] in "=+-@\t\r" else text


@login_required
@require_POST
def import_undo(request: HttpRequest, slug: str, batch_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.EDIT_PROMPTS)
    try:
        undo(batch=batch_for(access, batch_id), by=access.user)
    except PlackettError as problem:
        messages.error(request, problem.message)
    else:
        messages.success(request, _("The import is undone."))
    return redirect("frontend:import_report", slug, batch_id)


def batch_for(access: ProjectAccess, batch_id: UUID) -> ImportBatch:
    found = ImportBatch.objects.select_related("created_by").filter(project=access.project, id=batch_id).first()
    if found is None:
        raise Http404(NOTHING_HERE)
    return found
