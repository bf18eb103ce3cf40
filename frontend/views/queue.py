"""The lead's pages about the queue: how it is steered, and what was skipped often."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.fields import Category
from annotation.models import Membership, Project, Task
from annotation.policy import deficits
from annotation.roles import Capability
from annotation.selectors.health import queue_health
from annotation.selectors.limits import labelers_today
from annotation.selectors.queue_settings import kind_settings, queue_policy
from annotation.selectors.reviews import tasks_in_review
from annotation.selectors.taken import labels_taken
from annotation.services.limits import member_limits_set
from annotation.services.queue_settings import kind_settings_update, queue_policy_update
from annotation.services.reviews import task_put_back, task_withdraw
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.queue import KindForm, LimitsForm, PolicyForm

TASKS_A_PAGE = 20


@login_required
def overview(request: HttpRequest, slug: str) -> HttpResponse:
    """How labeling goes, and when it will be done."""
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    days, kinds = queue_health(access.project)
    numbers = [[kind.a_day[place] for kind in kinds] for place in range(len(days))]
    rows = [{"day": day, "numbers": each, "all": sum(each)} for day, each in zip(days, numbers, strict=True)]
    context = {
        "kinds": kinds,
        "days": rows[::-1],
        "most": max(1, *map(sum, numbers)),
        "page_name": "overview",
    }
    return project_page(request, access, "queue", "queue/overview.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def policy(request: HttpRequest, slug: str) -> HttpResponse:
    """How tasks are handed out, to read and to change."""
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    data = request.POST if request.method == "POST" else None
    form = PolicyForm(data, instance=copy(queue_policy(access.project)))
    kinds = kind_forms(data, access.project)
    wrong = [one for one in (form, *kinds.values()) if not one.is_valid()]
    if not wrong:
        save(access, form, kinds)
        messages.success(request, _("The queue's settings have been saved."))
        return redirect("frontend:queue_policy", slug)
    status = UNPROCESSABLE if request.method == "POST" else 200
    context = {"kinds": kinds.values(), "form": form, "quotas": quota_rows(access.project, form), "page_name": "policy"}
    return project_page(request, access, "queue", "queue/policy.html", context, status)


def kind_forms(data: Any, project: Project) -> dict[str, KindForm]:
    """A form for each kind of task. On copies: checking a form writes into its instance."""
    rows = kind_settings(project)
    return {kind: KindForm(data, instance=copy(row), prefix=kind) for kind, row in rows.items()}


@transaction.atomic
def save(access: ProjectAccess, form: PolicyForm, kinds: dict[str, KindForm]) -> None:
    for kind, settings in kinds.items():
        kind_settings_update(project=access.project, kind=kind, by=access.user, **settings.cleaned_data)
    queue_policy_update(project=access.project, by=access.user, **form.changes())


def quota_rows(project: Project, form: PolicyForm) -> Iterable[dict[str, Any]]:
    """Each category with its quota's field, the labels it got of all kinds together, and what it lacks."""
    taken = {str(category): 0 for category in Category}
    for counts in labels_taken(project).values():
        for category, count in counts.items():
            taken[category] += count.taken
    quotas = queue_policy(project).quotas
    lacking = deficits(taken, quotas) if quotas else {}
    for category, field in form.quota_fields.items():
        yield {
            "category": category,
            "field": field,
            "taken": taken[category],
            "percent": 100 * taken[category] / max(1, sum(taken.values())),
            "deficit": max(0, round(lacking.get(category, 0))),
        }


@login_required
def limits(request: HttpRequest, slug: str) -> HttpResponse:
    """What each labeler may be given: how much a day, in which languages."""
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    rows = [{"member": member, "done": done} for member, done in labelers_today(access.project)]
    context = {"rows": rows, "may_name": access.can(Capability.MANAGE), "page_name": "limits"}
    context["usual"] = queue_policy(access.project).daily_limit
    return project_page(request, access, "queue", "queue/limits.html", context)


@login_required
@require_POST
def limits_set(request: HttpRequest, slug: str, member_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    member = Membership.objects.filter(project=access.project, pk=member_id).first()
    if member is None:
        raise Http404(NOTHING_HERE)
    form = LimitsForm(request.POST)
    try:
        if not form.is_valid():
            raise PlackettError(" ".join(str(error) for errors in form.errors.values() for error in errors))
        member_limits_set(membership=member, by=access.user, **form.changes())
        messages.success(request, _("The limits of %(name)s have been saved.") % {"name": member.pseudonym})
    except PlackettError as problem:
        messages.error(request, problem.message)
    return redirect("frontend:queue_limits", slug)


@login_required
def review(request: HttpRequest, slug: str) -> HttpResponse:
    """Tasks that many labelers skipped, with their reasons."""
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    page = Paginator(tasks_in_review(access.project), TASKS_A_PAGE).get_page(request.GET.get("page"))
    return project_page(request, access, "queue", "queue/review.html", {"page": page, "page_name": "review"})


@login_required
@require_POST
def review_decide(request: HttpRequest, slug: str, task_id: UUID) -> HttpResponse:
    """Put a task back or withdraw it; the button pressed says which."""
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    task = Task.objects.filter(project=access.project, pk=task_id).first()
    if task is None:
        raise Http404(NOTHING_HERE)
    try:
        if request.POST.get("decision") == "put_back":
            task_put_back(task=task, by=access.user)
            messages.success(request, _("The task is handed out again."))
        else:
            task_withdraw(task=task, by=access.user)
            messages.success(request, _("The task has been withdrawn."))
    except PlackettError as problem:
        messages.error(request, problem.message)
    return redirect("frontend:queue_review", slug)
