"""The prompts of a snapshot that are in train and held out too, side by side, and what is decided about them."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from annotation.errors import PlackettError
from annotation.roles import Capability
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.paging import page_of
from frontend.project_forms.exports import AcceptLeaksForm
from frontend.views.snapshots import snapshot_for
from training.leaks import THRESHOLD
from training.models import Job, LeakCheck, LeakState, Snapshot
from training.services.builds import without_leaks_or_ask
from training.services.leaks import PAIRS_KEPT, leaks_accept

PAIRS_A_PAGE = 20


@login_required
@require_http_methods(["GET", "POST"])
def leaks(request: HttpRequest, slug: str, snapshot_id: UUID) -> HttpResponse:
    capability = Capability.SNAPSHOT if request.method == "POST" else Capability.READ_LABELS
    access = project_for(request.user, slug, capability)
    found = snapshot_for(access, snapshot_id)
    if not LeakCheck.objects.filter(snapshot=found).exists():
        raise Http404(NOTHING_HERE)  # a corpus has no prompts
    if request.method == "POST" and request.POST.get("decision") == "leave_out":
        return leave_out(request, access, found)
    form = AcceptLeaksForm(request.POST or None)
    if form.is_valid():
        try:
            leaks_accept(snapshot=found, reason=form.cleaned_data["reason"], by=access.user)
        except PlackettError as problem:
            form.add_error(None, problem.message)
        else:
            messages.success(request, _("The leaks are accepted. Runs may train on this snapshot now."))
            return redirect("frontend:snapshot", slug, snapshot_id)
    check = LeakCheck.objects.select_related("replaced_by", "decided_by").get(snapshot=found)
    context = {
        "snapshot": found,
        "check": check,
        "page": page_of(check.pairs.all(), request, size=PAIRS_A_PAGE),
        "form": form,
        "may_decide": access.can(Capability.SNAPSHOT) and check.state in {LeakState.FOUND, LeakState.ACCEPTED},
        "threshold": THRESHOLD,
        "pairs_kept": PAIRS_KEPT,
    }
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "snapshots", "snapshots/leaks.html", context, status)


def leave_out(request: HttpRequest, access: ProjectAccess, found: Snapshot) -> HttpResponse:
    try:
        made = without_leaks_or_ask(snapshot=found, by=access.user)
    except PlackettError as problem:
        messages.error(request, problem.message)
        return redirect("frontend:snapshot_leaks", access.project.slug, found.pk)
    if isinstance(made, Job):
        return redirect("frontend:job", access.project.slug, made.pk)
    messages.success(request, _("This is the same snapshot without the leaks. Train on this one."))
    return redirect("frontend:snapshot", access.project.slug, made.pk)
