"""Bringing a file in: sent, looked at, started, followed, and the report of what became of its lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import ImportBatch, ImportState
from annotation.roles import Capability
from annotation.selectors.imports import mapping_for, rejections_streamed
from annotation.services import imports as services
from annotation.staging import blocks_of
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.import_pages import (
    bad_lines_context,
    is_complete,
    live_context,
    live_etag,
    preview_context,
    still_context,
)
from frontend.live import unless_same
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.imports import ImportForm

MAY_EDIT = "may_edit"


@login_required
@require_http_methods(["GET", "POST"])
def prompts_import(request: HttpRequest, slug: str) -> HttpResponse:
    """Send a file. What it will be is shown next; nothing is imported yet."""
    access = project_for(request.user, slug, Capability.EDIT_PROMPTS)
    form = ImportForm(request.POST or None, request.FILES or None)
    context: dict[str, object] = {"form": form}
    if form.is_valid():
        try:
            batch = _stage(access, form)
        except PlackettError as problem:
            context["problem"] = problem.message
        else:
            return redirect("frontend:import_report", slug, batch.id)
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "prompts", "prompts/import.html", context, status)


def _stage(access: ProjectAccess, form: ImportForm) -> ImportBatch:
    chosen = dict(form.cleaned_data)
    file = chosen.pop("file")
    batch = services.import_stage(
        project=access.project,
        blocks=blocks_of(file),
        filename=file.name,
        by=access.user,
        limit=settings.UPLOAD_MAX_BYTES,
        **chosen,
    )
    return _guessed(access, batch)


def _guessed(access: ProjectAccess, batch: ImportBatch) -> ImportBatch:
    """For a file in no format that we know, begin with the mapping that is likeliest, where there is a whole one."""
    context = preview_context(batch)
    suggested, _whose = mapping_for(batch, context["preview"].columns)
    if not context["unknown"] or not is_complete(batch.kind, suggested):
        return batch
    return services.import_change(batch=batch, by=access.user, format="", mapping=suggested, accept_bad_lines=False)


@login_required
@require_GET
def import_report(request: HttpRequest, slug: str, batch_id: UUID) -> HttpResponse:
    """An import in whatever state it is: what it will be, how far it is, or what became of it."""
    access = project_for(request.user, slug, Capability.READ_PROMPTS)
    batch = batch_for(access, batch_id)
    may_edit = access.can(Capability.EDIT_PROMPTS)
    if batch.state == ImportState.STAGED:
        context = preview_context(batch)
        return project_page(request, access, "prompts", "prompts/preview.html", {**context, MAY_EDIT: may_edit})
    context = {**live_context(batch), **still_context(batch), **bad_lines_context(batch, request), MAY_EDIT: may_edit}
    return project_page(request, access, "prompts", "prompts/report.html", context)


@login_required
@require_GET
def import_live(request: HttpRequest, slug: str, batch_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_PROMPTS)
    batch = batch_for(access, batch_id)

    def answer() -> HttpResponse:
        context = {**live_context(batch), MAY_EDIT: access.can(Capability.EDIT_PROMPTS)}
        response = project_page(request, access, "prompts", "prompts/_import_live.html", context)
        if batch.is_over and request.htmx:  # type: ignore[attr-defined]  # the whole page says more by now
            response["HX-Refresh"] = "true"
        return response

    return unless_same(request, live_etag(batch), answer)


@login_required
@require_POST
def import_start(request: HttpRequest, slug: str, batch_id: UUID) -> HttpResponse:
    """Keep how the file is to be read, and start it unless only another look is wanted."""
    access = project_for(request.user, slug, Capability.EDIT_PROMPTS)
    batch = batch_for(access, batch_id)
    if batch.state != ImportState.STAGED:
        return redirect("frontend:import_report", slug, batch_id)
    context = preview_context(batch, request.POST)
    form = context["form"]
    if form.is_valid():
        try:
            batch = services.import_change(batch=batch, by=access.user, **form.reading())
            if request.POST.get("do") == "start":
                services.import_start(batch=batch, by=access.user)
        except PlackettError as problem:
            context["problem"] = problem.message
        else:
            return redirect("frontend:import_report", slug, batch_id)
    return project_page(request, access, "prompts", "prompts/preview.html", {**context, MAY_EDIT: True}, UNPROCESSABLE)


def act(
    request: HttpRequest, slug: str, batch_id: UUID, service: Callable[..., ImportBatch], done: str
) -> HttpResponse:
    """Have the service do it, and say so on the page of the import that it answers with."""
    access = project_for(request.user, slug, Capability.EDIT_PROMPTS)
    batch = batch_for(access, batch_id)
    try:
        batch = service(batch=batch, by=access.user)
    except PlackettError as problem:
        messages.error(request, problem.message)
    else:
        messages.success(request, done)
    return redirect("frontend:import_report", slug, batch.pk)


@login_required
@require_POST
def import_cancel(request: HttpRequest, slug: str, batch_id: UUID) -> HttpResponse:
    return act(
        request, slug, batch_id, services.import_cancel, _("The import is being cancelled. Nothing of it stays.")
    )


@login_required
@require_POST
def import_good(request: HttpRequest, slug: str, batch_id: UUID) -> HttpResponse:
    return act(request, slug, batch_id, services.import_again, _("The good lines are being imported."))


@login_required
@require_POST
def import_undo(request: HttpRequest, slug: str, batch_id: UUID) -> HttpResponse:
    return act(request, slug, batch_id, services.import_undo, _("The import is undone."))


@login_required
@require_GET
def import_report_file(request: HttpRequest, slug: str, batch_id: UUID, ending: str) -> StreamingHttpResponse:
    """The bad lines, to mend them by: as CSV or JSONL, one after another, however many."""
    access = project_for(request.user, slug, Capability.READ_PROMPTS)
    batch = batch_for(access, batch_id)
    if ending not in REPORTS:
        raise Http404(NOTHING_HERE)
    kind, lines_of = REPORTS[ending]
    response = StreamingHttpResponse(lines_of(batch), content_type=f"{kind}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="bad-lines-{batch.id}.{ending}"'
    return response


class Echo:
    """What a csv writer writes comes back to its caller."""

    def write(self, text: str) -> str:
        return text


def csv_lines(batch: ImportBatch) -> Iterator[str]:
    writer: Any = csv.writer(Echo())
    yield writer.writerow(["line", "problem"])
    for bad in rejections_streamed(batch):
        yield writer.writerow([bad.line, as_cell(bad.problem)])


def json_lines(batch: ImportBatch) -> Iterator[str]:
    for bad in rejections_streamed(batch):
        yield json.dumps({"line": bad.line, "problem": bad.problem}, ensure_ascii=False) + "\n"


REPORTS: dict[str, tuple[str, Callable[[ImportBatch], Iterator[str]]]] = {
    "csv": ("text/csv", csv_lines),
    "jsonl": ("application/x-ndjson", json_lines),
}


def as_cell(text: str) -> str:
    """A text that a spreadsheet will not take for a formula (the problem may quote what the file said)."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def batch_for(access: ProjectAccess, batch_id: UUID) -> ImportBatch:
    found = ImportBatch.objects.select_related("created_by").filter(project=access.project, id=batch_id).first()
    if found is None:
        raise Http404(NOTHING_HERE)
    return found
