"""Runs: the list, and one run live while it goes on and whole when it is over."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from annotation.errors import PlackettError
from annotation.roles import Capability
from frontend.access import NOTHING_HERE, project_for
from frontend.curves import pictures_of
from frontend.live import unless_same
from frontend.pages import project_page
from frontend.paging import page_of
from frontend.run_pages import actions_of, live_context, live_etag, run_for, samples_context, still_context
from training.files import path_of
from training.models import ENDED, ArtifactKind, Run, RunState, Stage
from training.selectors.runs import metric_series
from training.selectors.workers import waits_of
from training.services import runs as run_services

CURVE_POINTS = 500
TABLE_ROWS = 200


@login_required
@require_GET
def runs(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_RUNS)
    stage, state = request.GET.get("stage", ""), request.GET.get("state", "")
    page = page_of(_filtered(Run.objects.filter(project=access.project), stage, state), request)
    context = {
        "page": page,
        "stages": Stage.choices,
        "states": RunState.choices,
        "stage": stage,
        "state": state,
        "filtered": bool(stage or state),
        "moving": any(run.state not in ENDED and run.state != RunState.PAUSED for run in page.rows),
    }
    return project_page(request, access, "runs", "runs/list.html", context)


def _filtered(runs: QuerySet[Run], stage: str, state: str) -> QuerySet[Run]:
    if stage in Stage.values:
        runs = runs.filter(stage=stage)
    if state in RunState.values:
        runs = runs.filter(state=state)
    return runs.select_related("created_by")


@login_required
@require_GET
def run(request: HttpRequest, slug: str, run_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_RUNS)
    found = run_for(access, run_id)
    samples = samples_context(found, request.GET.get("step", ""))
    context = live_context(access, found) | still_context(found, slug) | samples
    context["may_launch"] = access.can(Capability.LAUNCH)
    return project_page(request, access, "runs", "runs/detail.html", context)


@login_required
@require_GET
def run_live(request: HttpRequest, slug: str, run_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_RUNS)
    found = run_for(access, run_id)
    return unless_same(
        request,
        live_etag(found, waits_of([found]).get(found.pk)),
        lambda: project_page(request, access, "runs", "runs/_live.html", live_context(access, found)),
    )


@login_required
@require_GET
def run_samples(request: HttpRequest, slug: str, run_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_RUNS)
    found = run_for(access, run_id)
    context = samples_context(found, request.GET.get("step", ""))
    state = f"samples-{context['shown']}-{found.attempt}-{found.is_over}-{request.GET.get('step', '')}"
    return unless_same(request, state, lambda: project_page(request, access, "runs", "runs/_samples.html", context))


@login_required
@require_GET
def run_metrics(request: HttpRequest, slug: str, run_id: UUID) -> HttpResponse:
    """The curves as JSON: pictures, each with its steps and series, thinned to what a screen can show."""
    access = project_for(request.user, slug, Capability.READ_RUNS)
    found = run_for(access, run_id)

    def answer() -> HttpResponse:
        series = metric_series(found, points=CURVE_POINTS)
        return JsonResponse({"over": found.is_over, "pictures": pictures_of(series)})

    return unless_same(request, f"metrics-{found.attempt}-{found.step}-{found.state}", answer)


@login_required
@require_GET
def run_figures(request: HttpRequest, slug: str, run_id: UUID) -> HttpResponse:
    """The curves as a table, for those who read with their ears, without scripts, or with a calculator."""
    access = project_for(request.user, slug, Capability.READ_RUNS)
    found = run_for(access, run_id)
    series = metric_series(found, points=TABLE_ROWS)
    names = [name for name in series if name != "step"]
    rows = [(step, [series[name][place] for name in names]) for place, step in enumerate(series.get("step", []))]
    context = {"run": found, "names": names, "rows": rows}
    return project_page(request, access, "runs", "runs/figures.html", context)


@login_required
@require_GET
def run_report(request: HttpRequest, slug: str, run_id: UUID) -> HttpResponse:
    """The whole report of an evaluation, each ranking and each answer measured in it."""
    access = project_for(request.user, slug, Capability.READ_RUNS)
    found = run_for(access, run_id)
    if found.output is None or found.output.kind != ArtifactKind.REPORT:
        messages.error(request, _("This run has no report. Only an evaluation that has finished writes one."))
        return redirect("frontend:run", slug, run_id)
    content = path_of(found.output).open("rb")
    name = f"report-{slugify(found.name) or found.id}.json"
    return FileResponse(content, as_attachment=True, filename=name)  # type: ignore[return-value]  # a sibling class


@login_required
@require_POST
def run_action(request: HttpRequest, slug: str, run_id: UUID, action: str) -> HttpResponse:
    """Cancel, pause, resume or retry."""
    access = project_for(request.user, slug, Capability.LAUNCH)
    found = run_for(access, run_id)
    actions = {
        "cancel": (
            run_services.run_cancel,
            _("The run is being stopped. What it had done since its last checkpoint is dropped."),
        ),
        "pause": (run_services.run_pause, _("The run saves a checkpoint and pauses.")),
        "resume": (run_services.run_resume, _("The run waits for a worker and goes on from its checkpoint.")),
        "retry": (run_services.run_retry, _("The run starts again.")),
    }
    if action not in actions:
        raise Http404(NOTHING_HERE)
    service, said = actions[action]
    try:
        if action not in actions_of(access, found):
            problem = _("The run is now: %(state)s. So this can't be done.")
            raise PlackettError(problem % {"state": found.get_state_display()})
        service(run=found, by=access.user)
    except PlackettError as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, said)
    return redirect("frontend:run", slug, run_id)
