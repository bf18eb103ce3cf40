"""The loop: what there is at each stage, and the button for each next step; the page that launches a run."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.roles import Capability
from annotation.services.tasks import demonstration_tasks_create
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.live import unless_same
from frontend.loop_page import loop_context, loop_etag, prompts_to_hand_out
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.runs import INPUT, LaunchForm
from frontend.run_pages import latest_config, run_for
from training.models import Run, RunInput, Stage
from training.rlhf.config import CONFIGS
from training.services.loop import STEPS, input_choices, launch, next_step

NAMED_IN_ADDRESS = frozenset({"train", "prompts", "policy", "reward_model", "reference", "opponent"})


@login_required
@require_GET
def dashboard(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_RUNS)
    return project_page(request, access, "dashboard", "loop/dashboard.html", loop_context(access))


@login_required
@require_GET
def loop_live(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_RUNS)
    context = loop_context(access)
    return unless_same(
        request, loop_etag(context), lambda: project_page(request, access, "dashboard", "loop/_stages.html", context)
    )


@login_required
@require_POST
def hand_out(request: HttpRequest, slug: str) -> HttpResponse:
    """Put every prompt of the SFT pool that has no task yet into the labelers' queue."""
    access = project_for(request.user, slug, Capability.EDIT_PROMPTS)
    made = demonstration_tasks_create(
        project=access.project, prompts=prompts_to_hand_out(access.project), by=access.user
    )
    said = ngettext("%(n)s prompt waits for an answer now.", "%(n)s prompts wait for an answer now.", made)
    messages.success(request, said % {"n": made})
    return redirect("frontend:dashboard", slug)


@login_required
@require_http_methods(["GET", "POST"])
def run_new(request: HttpRequest, slug: str, stage: str) -> HttpResponse:
    """The page that launches a run: what goes in, the settings that matter, and all the others folded away."""
    access = project_for(request.user, slug, Capability.LAUNCH)
    if stage not in CONFIGS:
        raise Http404(NOTHING_HERE)
    values, initial = _beginning(request, access, stage)
    if stage == Stage.SAMPLE:
        values = {"samples_per_prompt": access.project.responses_per_prompt, **values}
    choices = input_choices(access.project, stage)
    form = LaunchForm(request.POST or None, stage=stage, choices=choices, values=values, initial=initial)
    if form.is_valid():
        try:
            copied = _copied_from(request, access, stage)
            run = launch(project=access.project, by=access.user, cloned_from=copied, **form.launch_arguments())
        except PlackettError as problem:
            form.add_error(None, problem.message)
        else:
            return redirect("frontend:run", slug, run.id)
    elif form.is_bound and stage in STEPS and not (step := next_step(access.project, stage)).possible:
        form.add_error(None, step.reason)  # the form knows that a field is empty; this says where to get what goes in
    source = _copied_from(request, access, stage)
    context = {
        "source": source,
        "form": form,
        "stage": stage,
        "title": Stage(stage).label,
        "about": CONFIGS[stage].__doc__,
    }
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "dashboard", "loop/launch.html", context, status)


def _copied_from(request: HttpRequest, access: ProjectAccess, stage: str) -> Run | None:
    """The run of this stage that the address names by `from`."""
    try:
        found = run_for(access, UUID(request.GET.get("from", "")))
    except ValueError:
        return None
    return found if found.stage == stage else None


def _beginning(request: HttpRequest, access: ProjectAccess, stage: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings and the inputs that the form starts with.

    From the run that `from` names; else the settings of the latest run of this stage, unless `defaults` was asked for.
    The address may name inputs, as `?policy=` of the loop's "Sample again" does.
    """
    initial = {INPUT + name: value for name, value in request.GET.items() if name in NAMED_IN_ADDRESS}
    try:
        source = UUID(request.GET.get("from", ""))
    except ValueError:
        if "defaults" in request.GET:
            return {}, initial
        return latest_config(access.project.id, stage), initial
    run = run_for(access, source)
    for item in RunInput.objects.filter(run=run):
        initial[INPUT + item.name] = str(item.model_id or item.snapshot_id)
    return (run.config if run.stage == stage else {}), initial | {"seed": run.seed}
