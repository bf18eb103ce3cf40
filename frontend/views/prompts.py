"""Prompts: the list with its filters, adding by hand, one prompt with its answers and labels."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import Demonstration, Prompt, PromptSource, Ranking, Response
from annotation.ranking_form import asked_fields
from annotation.roles import Capability
from annotation.selectors.feedback import feedback_on
from annotation.selectors.forms import flag_words
from annotation.selectors.imports import import_batches
from annotation.selectors.prompts import prompts_list, responses_of
from annotation.services.limits import prompt_topics_set
from annotation.services.prompts import AddReport, PromptRow, prompt_withdraw, prompts_add
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.paging import page_of
from frontend.project_forms.prompts import PastePromptsForm, PromptFilterForm
from frontend.project_forms.queue import TopicsForm

IMPORTS_SHOWN = 20
AnyLabel = TypeVar("AnyLabel", Demonstration, Ranking)


@login_required
@require_GET
def prompts(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_PROMPTS)
    form = PromptFilterForm(request.GET)
    page = page_of(prompts_list(access.project, **form.chosen()), request)
    context = {
        "form": form,
        "page": page,
        "anything": bool(page.rows) or Prompt.objects.filter(project=access.project).exists(),
        "batches": import_batches(access.project)[:IMPORTS_SHOWN],
        "may_edit": access.can(Capability.EDIT_PROMPTS),
    }
    return project_page(request, access, "prompts", "prompts/list.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def prompts_paste(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.EDIT_PROMPTS)
    form = PastePromptsForm(request.POST or None)
    rejected: list[dict[str, object]] = []
    if form.is_valid():
        try:
            report = _add_pasted(access, form)
        except PlackettError as problem:
            form.add_error(None, problem.message)
        else:
            messages.success(request, added_words(report))
            if not report.rejected:
                return redirect("frontend:prompts", slug)
            rejected = [bad.as_dict() for bad in report.rejected]
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "prompts", "prompts/paste.html", {"form": form, "rejected": rejected}, status)


def _add_pasted(access: ProjectAccess, form: PastePromptsForm) -> AddReport:
    chosen = form.cleaned_data
    rows = [
        PromptRow(
            messages=[{"role": "user", "content": text}],
            category=chosen["category"],
            language=chosen["language"],
            author=access.membership,
            line=number,
        )
        for number, text in enumerate(form.texts(), start=1)
    ]
    return prompts_add(
        project=access.project, rows=rows, pool=chosen["pool"], source=PromptSource.LABELER, by=access.user
    )


def added_words(report: AddReport) -> str:
    """What became of the rows, in a sentence or two."""
    said = ngettext("%(n)s prompt was added.", "%(n)s prompts were added.", report.added) % {"n": report.added}
    if report.known:
        known = ngettext("%(n)s was here already.", "%(n)s were here already.", report.known)
        said += " " + known % {"n": report.known}
    return said


@login_required
@require_GET
def prompt(request: HttpRequest, slug: str, prompt_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_PROMPTS)
    found = prompt_for(access, prompt_id)
    responses = list(responses_of(found.id))
    may_read_labels = access.can(Capability.READ_LABELS)
    context = {
        "prompt": found,
        "responses": responses,
        "may_edit": access.can(Capability.EDIT_PROMPTS),
        "topics": found.topics.all(),
        "topics_form": topics_form(found) if access.can(Capability.MANAGE_QUEUE) else None,
        "may_read_labels": may_read_labels,
        "rankings": _rankings_of(found, responses) if may_read_labels else [],
        "demonstrations": _demonstrations_of(found) if may_read_labels else [],
        "may_review": access.can(Capability.REVIEW),
    }
    return project_page(request, access, "prompts", "prompts/detail.html", context)


def topics_form(prompt: Prompt) -> TopicsForm:
    return TopicsForm(initial={"topics": [row.topic for row in prompt.topics.all()]})


def _demonstrations_of(prompt: Prompt) -> list[Demonstration]:
    current = Demonstration.objects.filter(prompt=prompt, is_current=True)
    return with_feedback(list(current.select_related("labeler", "response")))


def _rankings_of(prompt: Prompt, responses: list[Response]) -> list[dict[str, object]]:
    """The current rankings, best answer first, each answer by the number that it has on the page."""
    numbers = {response.id: number for number, response in enumerate(responses, start=1)}
    current = Ranking.objects.filter(prompt=prompt, is_current=True).select_related("labeler", "form")
    flags = flag_words(prompt.project)
    return [
        {"ranking": ranking, "placed": _placed(ranking, numbers, flags), "said": said_of_prompt(ranking)}
        for ranking in with_feedback(list(current.prefetch_related("ranked_responses")))
    ]


def with_feedback(labels: list[AnyLabel]) -> list[AnyLabel]:
    """The labels, each with what reviewers said of it as `feedback`."""
    found = feedback_on([label.assignment_id for label in labels])
    for label in labels:
        label.feedback = found[label.assignment_id]  # type: ignore[attr-defined]
    return labels


def said_of_prompt(ranking: Ranking) -> list[tuple[str, Any]]:
    """What the label says of the prompt, in the words of the form that it was made under."""
    words = {asked.key: asked.label for asked in asked_fields(ranking.form.fields if ranking.form else {})}
    return [(words.get(key, key), said) for key, said in ranking.prompt_fields.items()]


def _placed(ranking: Ranking, numbers: dict[UUID, int], words: dict[str, str]) -> list[dict[str, Any]]:
    items = sorted(ranking.ranked_responses.all(), key=lambda item: item.rank or len(numbers) + 1)
    return [
        {
            "rank": item.rank,
            "rating": item.rating,
            "flags": [words.get(flag, flag) for flag in item.flags],
            "number": numbers.get(item.response_id),
        }
        for item in items
    ]


@login_required
@require_POST
def topics(request: HttpRequest, slug: str, prompt_id: UUID) -> HttpResponse:
    """Which sensitive topics the prompt has, so that it is kept from labelers who opted out of them."""
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    found = prompt_for(access, prompt_id)
    form = TopicsForm(request.POST)
    if form.is_valid():
        prompt_topics_set(prompt=found, topics=form.cleaned_data["topics"], by=access.user)
        messages.success(request, _("The topics have been saved."))
    else:
        messages.error(request, str(form.errors["topics"][0]))
    return redirect("frontend:prompt", slug, prompt_id)


@login_required
@require_POST
def withdraw(request: HttpRequest, slug: str, prompt_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.EDIT_PROMPTS)
    prompt_withdraw(prompt=prompt_for(access, prompt_id), by=access.user)
    messages.success(request, _("The prompt is withdrawn. Its labels stay."))
    return redirect("frontend:prompt", slug, prompt_id)


def prompt_for(access: ProjectAccess, prompt_id: UUID) -> Prompt:
    found = Prompt.objects.select_related("batch").filter(project=access.project, id=prompt_id).first()
    if found is None:
        raise Http404(NOTHING_HERE)
    return found
