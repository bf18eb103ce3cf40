"""Workers: they belong to the installation. Who reads runs anywhere may see them; its owner drains them.

Draining a worker holds up every project's runs, so no project's admin decides it alone.
"""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from annotation.errors import PlackettError
from annotation.models import User
from frontend.access import NOTHING_HERE, as_user
from frontend.queue_page import readable_projects
from training import machine
from training.models import Drain, DrainHow
from training.selectors.workers import IDLE_SECONDS, WorkerThere, workers_there
from training.services import workers as worker_services


def reader_of_workers(request: HttpRequest) -> User:
    """The person, if they may see workers. Raises Http404."""
    user = as_user(request.user)
    if not user.is_superuser and not readable_projects(user):
        raise Http404(NOTHING_HERE)
    return user


@login_required
@require_GET
def workers(request: HttpRequest) -> HttpResponse:
    user = reader_of_workers(request)
    readable = readable_projects(user)
    there = workers_there(silent_too=True)
    nodes = {each.worker.node for each in there}
    context = {
        "rows": [{"there": each, "runs": runs_shown(each, readable)} for each in there],
        "drains": [drain for drain in Drain.objects.select_related("by") if drain.node not in nodes],
        "may_drain": user.is_superuser,
        "ways": DrainHow.choices,
        "here": machine.version(),
        "idle_seconds": IDLE_SECONDS,
    }
    return render(request, "frontend/workers/list.html", context)


def runs_shown(each: WorkerThere, readable: object) -> list[dict[str, object]]:
    """What it runs, by name only where this person may read it."""
    return [
        {"run": run, "since": each.since.get(run.pk), "visible": run.project_id in readable}  # type: ignore[operator]
        for run in each.runs
    ]


@login_required
@require_POST
def worker_drain(request: HttpRequest) -> HttpResponse:
    """Drain a node, or undo it; `how` is empty for undoing."""
    user = reader_of_workers(request)
    if not user.is_superuser:
        raise Http404(NOTHING_HERE)
    node, how = request.POST.get("node", "")[:120], request.POST.get("how", "")
    try:
        if how:
            worker_services.worker_drain(node=node, how=how, why=request.POST.get("why", ""), by=user)
            messages.success(request, _("%(node)s takes nothing new from now on.") % {"node": node})
        else:
            worker_services.worker_undrain(node=node, by=user)
            messages.success(request, _("%(node)s takes runs again.") % {"node": node})
    except PlackettError as refusal:
        messages.error(request, refusal.message)
    return redirect("frontend:workers")
