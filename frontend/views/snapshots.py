"""Snapshots: the list, building one with a preview, one with its counts and files, downloads, a corpus to upload."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from annotation.errors import PlackettError
from annotation.roles import Capability
from annotation.selectors.forms import flag_choices
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.paging import page_of
from frontend.project_forms.exports import ExportForm, PushForm, TokensForm
from frontend.project_forms.snapshots import CorpusForm, SnapshotForm
from frontend.snapshot_page import charts_of, counted_of, figures_of, files_of, formats_of, query_words, statements_of
from training.models import Job, JobKind, LeakCheck, Snapshot, SnapshotKind
from training.packing import CONTENT_TYPES
from training.selectors.snapshots import builds_of, export_lines, runs_using, snapshot_preview, snapshots_of
from training.services.builds import build_or_ask
from training.services.exports import export_create
from training.services.snapshots import corpus_add
from training.services.token_counts import tokens_counted

RUNS_SHOWN = 50
EXPORTS_SHOWN = 20
COUNTS_SHOWN = 5
OTHERS_SHOWN = 100
ROWS_AT_ONCE = 20_000  # a file up to this is streamed while the page waits; a larger one is a job


@login_required
@require_GET
def snapshots(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_LABELS)
    rows = snapshots_of(access.project).select_related("leak_check")
    kind = request.GET.get("kind", "")
    if kind in SnapshotKind.values:
        rows = rows.filter(kind=kind)
    context = {
        "page": page_of(rows, request),
        "kinds": SnapshotKind.choices,
        "kind": kind,
        "builds": builds_of(access.project) if access.can(Capability.SNAPSHOT) else [],
        "may_build": access.can(Capability.SNAPSHOT),
        "may_upload": access.can(Capability.LAUNCH),
    }
    return project_page(request, access, "snapshots", "snapshots/list.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def snapshot_new(request: HttpRequest, slug: str) -> HttpResponse:
    """The query form. Its preview counts live; without scripts the button "Count" does the same."""
    access = project_for(request.user, slug, Capability.SNAPSHOT)
    form = SnapshotForm(request.POST or None, project=access.project)
    context: dict[str, Any] = {"form": form}
    if form.is_valid():
        if "count" in request.POST:
            return project_page(request, access, "snapshots", "snapshots/new.html", context | _preview(access, form))
        try:
            made = _build(access, form)
        except PlackettError as problem:
            form.add_error(None, problem.message)
        else:
            if isinstance(made, Job):
                return redirect("frontend:job", slug, made.pk)
            messages.success(request, _("The snapshot is there. It will never change."))
            return redirect("frontend:snapshot", slug, made.pk)
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "snapshots", "snapshots/new.html", context, status)


def _build(access: ProjectAccess, form: SnapshotForm) -> Snapshot | Job:
    chosen = form.cleaned_data
    return build_or_ask(
        project=access.project, kind=chosen["kind"], name=chosen["name"], query=form.query(), by=access.user
    )


@login_required
@require_http_methods(["POST"])
def snapshot_preview_counts(request: HttpRequest, slug: str) -> HttpResponse:
    """The preview alone, for htmx."""
    access = project_for(request.user, slug, Capability.SNAPSHOT)
    form = SnapshotForm(request.POST, project=access.project)
    context = _preview(access, form) if form.is_valid() else {}
    return project_page(request, access, "snapshots", "snapshots/_preview.html", context)


def _preview(access: ProjectAccess, form: SnapshotForm) -> dict[str, Any]:
    try:
        preview = snapshot_preview(access.project, form.cleaned_data["kind"], form.query())
        return {"preview": preview, "words": query_words(preview["query"], flag_choices(access.project))}
    except PlackettError as problem:
        return {"problem": problem.message}


@login_required
@require_GET
def snapshot(request: HttpRequest, slug: str, snapshot_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_LABELS)
    found = snapshot_for(access, snapshot_id)
    may_export = access.can(Capability.SNAPSHOT) and not found.erased_at
    others = snapshots_of(access.project).filter(kind=found.kind, erased_at=None).exclude(pk=found.pk)
    flags = flag_choices(access.project)
    context = {
        "snapshot": found,
        "check": LeakCheck.objects.filter(snapshot=found).first(),
        "files": files_of(found),
        "formats": formats_of(found),
        "statements": statements_of(found),
        "export_form": ExportForm(snapshot=found) if may_export else None,
        "jobs": Job.objects.filter(snapshot=found, kind__in=[JobKind.EXPORT, JobKind.PUSH])[:EXPORTS_SHOWN]
        if may_export
        else [],
        "push_form": PushForm(snapshot=found) if may_export and settings.HUB_ENDPOINT else None,
        "hub": settings.HUB_ENDPOINT,
        "tokens_form": TokensForm(snapshot=found) if may_export else None,
        "counts": [counted_of(job) for job in tokens_counted(found)[:COUNTS_SHOWN] if job.result],
        "may_erase": access.can(Capability.MANAGE) and not found.erased_at,
        "charts": charts_of(found.facts, flags),
        "figures": figures_of(found.facts),
        "others": [] if found.erased_at else others[:OTHERS_SHOWN],
        "query": query_words(found.query, flags),
        "manifest_json": json.dumps(found.manifest, indent=2, ensure_ascii=False),
        "runs": runs_using(found)[:RUNS_SHOWN],
    }
    return project_page(request, access, "snapshots", "snapshots/detail.html", context)


@login_required
@require_GET
def snapshot_download(request: HttpRequest, slug: str, snapshot_id: UUID, split: str, form: str) -> HttpResponse:
    """A file of the snapshot in one of its formats, streamed line by line; `?as=` packs it. A large one is a job."""
    access = project_for(request.user, slug, Capability.SNAPSHOT)
    found = snapshot_for(access, snapshot_id)
    container = request.GET.get("as") or "jsonl"
    try:
        if found.counts.get(split, 0) > ROWS_AT_ONCE:
            made = export_create(snapshot=found, by=access.user, format=form, container=container, split=split)
            return redirect("frontend:job", slug, made.pk)
        lines = export_lines(found, split=split, format=form, container=container)
    except PlackettError as problem:
        messages.error(request, problem.message)
        return redirect("frontend:snapshot", slug, snapshot_id)
    response = StreamingHttpResponse(lines, content_type=CONTENT_TYPES[container])
    name = "-".join([slugify(found.name) or found.kind, split, form])
    response["Content-Disposition"] = f'attachment; filename="{name}.{container}"'
    return response  # type: ignore[return-value]  # django-stubs: streaming is a sibling class


@login_required
@require_http_methods(["GET", "POST"])
def corpus_new(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.LAUNCH)
    form = CorpusForm(request.POST or None, request.FILES or None)
    if form.is_valid():
        try:
            found = _add_corpus(access, form)
        except PlackettError as problem:
            form.add_error(None, problem.message)
        else:
            messages.success(request, _("The corpus is there. A base model can be pretrained on it."))
            return redirect("frontend:snapshot", slug, found.id)
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "snapshots", "snapshots/corpus.html", {"form": form}, status)


def _add_corpus(access: ProjectAccess, form: CorpusForm) -> Snapshot:
    chosen = form.cleaned_data
    if chosen["file"]:
        return corpus_add(project=access.project, name=chosen["name"], file=chosen["file"], by=access.user)
    texts = [block for block in chosen["text"].replace("\r\n", "\n").split("\n\n") if block.strip()]
    return corpus_add(project=access.project, name=chosen["name"], texts=texts, by=access.user)


def snapshot_for(access: ProjectAccess, snapshot_id: UUID) -> Snapshot:
    found = snapshots_of(access.project).filter(id=snapshot_id).first()
    if found is None:
        raise Http404(NOTHING_HERE)
    return found
