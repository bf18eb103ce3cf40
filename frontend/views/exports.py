"""Exports of a snapshot, comparisons of two, and the jobs that make them; and the file behind a signed link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST, require_safe
from django_htmx.http import HTMX_STOP_POLLING

from annotation.errors import PlackettError
from annotation.roles import Capability
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import project_page
from frontend.project_forms.exports import ExportForm, PushForm, TokensForm
from frontend.ranges import file_response
from frontend.snapshot_page import counted_of
from frontend.views.snapshots import snapshot_for
from training import files
from training.exports import REASONS
from training.files import FileStoreError
from training.links import export_of, link_token
from training.models import Job, JobKind, JobState, Snapshot
from training.packing import CONTENT_TYPES
from training.selectors.snapshots import snapshots_of
from training.services.differences import compare
from training.services.exports import export_create
from training.services.jobs import job_cancel
from training.services.pushes import push_create
from training.services.token_counts import tokens_ask


@login_required
@require_POST
def export_new(request: HttpRequest, slug: str, snapshot_id: UUID) -> HttpResponse:
    """Ask for an export; its page shows how far it is."""
    return start_job(request, slug, snapshot_id, ExportForm, export_create)


@sensitive_post_parameters("push-token")
@login_required
@require_POST
def push_new(request: HttpRequest, slug: str, snapshot_id: UUID) -> HttpResponse:
    """Push the whole export to the installation's hub, by the token that was typed in."""
    return start_job(request, slug, snapshot_id, PushForm, push_create)


@login_required
@require_POST
def tokens_new(request: HttpRequest, slug: str, snapshot_id: UUID) -> HttpResponse:
    """Have the tokens counted for a model; the snapshot's page shows them when it is done."""
    return start_job(request, slug, snapshot_id, TokensForm, tokens_ask)


def start_job(
    request: HttpRequest,
    slug: str,
    snapshot_id: UUID,
    form_class: type[ExportForm | TokensForm],
    ask: Callable[..., Job],
) -> HttpResponse:
    """Have `ask` make the job that a form of the snapshot's page orders, and go to its page; or back, with a word."""
    access = project_for(request.user, slug, Capability.SNAPSHOT)
    found = snapshot_for(access, snapshot_id)
    form = form_class(request.POST, snapshot=found)
    try:
        if not form.is_valid():
            raise PlackettError(" ".join(str(problem) for problems in form.errors.values() for problem in problems))
        made = ask(snapshot=found, by=access.user, **form.asked())
    except PlackettError as problem:
        messages.error(request, problem.message)
        return redirect("frontend:snapshot", slug, snapshot_id)
    return redirect("frontend:job", slug, made.pk)


@login_required
@require_GET
def job(request: HttpRequest, slug: str, job_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.SNAPSHOT)
    return project_page(request, access, "snapshots", "snapshots/job.html", job_context(request, access, job_id))


@login_required
@require_GET
def job_live(request: HttpRequest, slug: str, job_id: UUID) -> HttpResponse:
    """The part of the page that changes, asked for until it is over."""
    access = project_for(request.user, slug, Capability.SNAPSHOT)
    context = job_context(request, access, job_id)
    status = HTMX_STOP_POLLING if context["job"].is_over else 200
    return project_page(request, access, "snapshots", "snapshots/_job.html", context, status)


@login_required
@require_POST
def job_stop(request: HttpRequest, slug: str, job_id: UUID) -> HttpResponse:
    """Cancel a job, or remove the file that it made."""
    access = project_for(request.user, slug, Capability.SNAPSHOT)
    found = job_for(access, job_id)
    job_cancel(job=found, by=access.user)
    messages.success(request, _("It is cancelled, and its file is removed."))
    if found.snapshot_id is None:
        return redirect("frontend:snapshots", slug)
    return redirect("frontend:snapshot", slug, found.snapshot_id)


def job_for(access: ProjectAccess, job_id: UUID) -> Job:
    found = Job.objects.filter(project=access.project, pk=job_id).select_related("snapshot", "created_by").first()
    if found is None:
        raise Http404(NOTHING_HERE)
    return found


def job_context(request: HttpRequest, access: ProjectAccess, job_id: UUID) -> dict[str, Any]:
    found = job_for(access, job_id)
    context: dict[str, Any] = {"job": found, "percent": found.percent, "may_stop": may_stop(found)}
    if found.kind == JobKind.EXPORT and found.state == JobState.SUCCEEDED:
        name = found.result["name"]
        path = reverse("frontend:export_file", args=[link_token(found, access.user), name])
        context |= {
            "link": request.build_absolute_uri(path),
            "left_out": [(REASONS[reason], number) for reason, number in found.result["left_out"].items()],
            "lost": ", ".join(found.result["statement"]["does_not_carry"]),
        }
    if found.kind == JobKind.PUSH and found.state == JobState.SUCCEEDED:
        context["pushed"] = found.result["url"]
    if found.kind == JobKind.TOKENS and found.result:
        context["counted"] = counted_of(found)
    if found.kind == JobKind.DIFFERENCE and found.state == JobState.SUCCEEDED:
        page = reverse("frontend:snapshot_difference", args=[access.project.slug, found.snapshot_id])
        context["difference"] = f"{page}?before={found.asked['before']}"
    return context


def may_stop(job: Job) -> bool:
    """Whether there is something to stop, or a file to remove."""
    return not job.is_over or (job.state == JobState.SUCCEEDED and job.kind == JobKind.EXPORT)


@require_safe
def export_file(request: HttpRequest, token: str, name: str) -> HttpResponse:
    """The file itself, for whoever has the link while it is good; in parts where a download goes on."""
    found = export_of(token)
    if found is None or found.result.get("name") != name:
        raise Http404(NOTHING_HERE)
    try:
        path = files.present(files.key_of(files.job_folder(found.pk) / name), found.result["sha256"])
    except FileStoreError:
        raise Http404(NOTHING_HERE) from None
    if not path.is_file():
        raise Http404(NOTHING_HERE)
    kind = next((type for ending, type in CONTENT_TYPES.items() if name.endswith(f".{ending}")), "")
    content_type = kind or "application/octet-stream"
    return file_response(request, path, name=name, etag=found.result["sha256"], content_type=content_type)


@login_required
@require_GET
def difference(request: HttpRequest, slug: str, snapshot_id: UUID) -> HttpResponse:
    """What changed from another snapshot to this one."""
    access = project_for(request.user, slug, Capability.READ_LABELS)
    after = snapshot_for(access, snapshot_id)
    before = other_snapshot(access, after, request.GET.get("before", ""))
    try:
        found = compare(before=before, after=after, by=access.user)
    except PlackettError as problem:
        messages.error(request, problem.message)
        return redirect("frontend:snapshot", slug, snapshot_id)
    if isinstance(found, Job):
        if access.can(Capability.SNAPSHOT):
            return redirect("frontend:job", slug, found.pk)
        messages.info(request, _("The two are being compared. Come back in a minute."))
        return redirect("frontend:snapshot", slug, snapshot_id)
    titles = {"labeler": _("Labelers"), "category": _("Categories"), "language": _("Languages"), "origin": _("Origins")}
    context = {
        "before": before,
        "after": after,
        "found": found,
        "mixes": [(titles[name], rows) for name, rows in found["mix"].items() if rows],
        "examples": [
            (_("Added"), found["examples"]["added"]),
            (_("Gone"), found["examples"]["gone"]),
            (_("Changed"), found["examples"]["changed"]),
        ],
    }
    return project_page(request, access, "snapshots", "snapshots/difference.html", context)


def other_snapshot(access: ProjectAccess, after: Snapshot, asked: str) -> Snapshot:
    """The one that is named, or the one of the same kind that was frozen before this."""
    others = snapshots_of(access.project).filter(kind=after.kind, erased_at=None).exclude(pk=after.pk)
    try:
        found = others.filter(pk=asked).first() if asked else others.filter(pk__lt=after.pk).order_by("-pk").first()
    except (ValidationError, ValueError):
        found = None
    if found is None:
        raise Http404(NOTHING_HERE)
    return found
