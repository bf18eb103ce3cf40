"""What people do to runs beside watching them: the queue's order, going back to a checkpoint, deleting."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.roles import Capability
from frontend.access import NOTHING_HERE, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.queue_page import queue_context
from frontend.run_pages import run_for
from training.models import Checkpoint
from training.selectors.checkpoints import OFFERS
from training.selectors.dependents import dependents_of
from training.services.checkpoints import run_copy_from, run_go_on_from
from training.services.deletion import run_delete as delete
from training.services.ordering import run_move as move
from training.services.ordering import run_set_priority, run_to_queue


@login_required
@require_GET
def run_queue(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_RUNS)
    return project_page(request, access, "runs", "runs/queue.html", queue_context(access))


@login_required
@require_POST
def run_move(request: HttpRequest, slug: str, run_id: UUID) -> HttpResponse:
    """Up, down, top or bottom; or another priority or queue, from the run's own page."""
    access = project_for(request.user, slug, Capability.LAUNCH)
    found = run_for(access, run_id)
    try:
        if "to" in request.POST:
            move(run=found, to=request.POST["to"], by=access.user)
            messages.success(request, _("%(run)s has moved.") % {"run": found.name})
            return redirect("frontend:run_queue", slug)
        if "priority" in request.POST:
            run_set_priority(run=found, priority=whole(request.POST["priority"]), by=access.user)
        if request.POST.get("queue", found.queue) != found.queue:
            run_to_queue(run=found, queue=request.POST["queue"].strip(), by=access.user)
        messages.success(request, _("The run's place in the queue is changed."))
    except PlackettError as refusal:
        messages.error(request, refusal.message)
    return redirect("frontend:run", slug, run_id)


def whole(text: str) -> int:
    """Raises PlackettError for what is no whole number."""
    try:
        return int(text[:12])
    except ValueError:
        raise PlackettError(_("A priority is a whole number.")) from None


@login_required
@require_POST
def run_checkpoint(request: HttpRequest, slug: str, run_id: UUID, checkpoint_id: int) -> HttpResponse:
    """Go on from this checkpoint: the run itself, or, where it was cancelled, a copy of it."""
    access = project_for(request.user, slug, Capability.LAUNCH)
    found = run_for(access, run_id)
    checkpoint = Checkpoint.objects.filter(run=found, pk=checkpoint_id).select_related("artifact", "run").first()
    if checkpoint is None:
        raise Http404(NOTHING_HERE)
    try:
        if OFFERS.get(found.state) == "copy":  # type: ignore[call-overload]
            found = run_copy_from(run=found, checkpoint=checkpoint, by=access.user)
            said = _("This is a new run. It waits for a worker and begins at step %(step)s.")
        else:
            run_go_on_from(run=found, checkpoint=checkpoint, by=access.user)
            said = _("The run waits for a worker and goes on from step %(step)s.")
        messages.success(request, said % {"step": checkpoint.step})
    except PlackettError as refusal:
        messages.error(request, refusal.message)
    return redirect("frontend:run", slug, found.id)


@login_required
@require_http_methods(["GET", "POST"])
def run_delete(request: HttpRequest, slug: str, run_id: UUID) -> HttpResponse:
    """What hangs on the run; where nothing forbids it, its name typed in deletes it."""
    access = project_for(request.user, slug, Capability.LAUNCH)
    found = run_for(access, run_id)
    problem = ""
    if request.method == "POST":
        try:
            delete(run=found, name=request.POST.get("name", ""), by=access.user)
        except PlackettError as refusal:
            problem = refusal.message
        else:
            messages.success(request, _("%(run)s is deleted. Its files go in a day.") % {"run": found.name})
            return redirect("frontend:runs", slug)
    context = {"run": found, "found": dependents_of(found), "problem": problem}
    return project_page(request, access, "runs", "runs/delete.html", context, UNPROCESSABLE if problem else 200)
