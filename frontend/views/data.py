"""Looking at labels instead of reading files: the list with its filters, and one label beside everyone else's."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from annotation.errors import PlackettError
from annotation.fields import Category
from annotation.models import Demonstration, Origin, Project, Purpose, RankedResponse, Ranking
from annotation.ranking_form import scale_of
from annotation.roles import Capability
from annotation.selectors.forms import flag_choices, flag_words
from annotation.selectors.prompts import prompts_list
from annotation.selectors.rows import demonstrations_for, rankings_for
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import project_page
from frontend.paging import page_of

KINDS: dict[str, Any] = {
    "rankings": (Ranking, rankings_for, _("Rankings")),
    "demonstrations": (Demonstration, demonstrations_for, _("Demonstrations")),
}
ANY = ("", _("any"))


class LabelFilterForm(forms.Form):
    """Filters of the list of labels; an address with a wrong value filters nothing by it."""

    text = forms.CharField(label=_("Text of the prompt"), required=False, max_length=200)
    labeler = forms.CharField(label=_("Pseudonym"), required=False, max_length=16)
    category = forms.ChoiceField(label=_("Category"), choices=[ANY, *Category.choices], required=False)
    origin = forms.ChoiceField(label=_("Labels made"), choices=[ANY, *Origin.choices], required=False)
    purpose = forms.ChoiceField(label=_("Purpose"), choices=[ANY, *Purpose.choices], required=False)
    flag = forms.ChoiceField(label=_("Flag"), required=False)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        flag = self.fields["flag"]
        assert isinstance(flag, forms.ChoiceField)
        flag.choices = [ANY, *flag_choices(project)]

    def chosen(self) -> dict[str, str]:
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}


@login_required
@require_GET
def labels(request: HttpRequest, slug: str, kind: str) -> HttpResponse:
    """Current labels, newest first."""
    access = project_for(request.user, slug, Capability.READ_LABELS)
    if kind not in KINDS:
        raise Http404(NOTHING_HERE)
    form = LabelFilterForm(request.GET, project=access.project)
    if kind != "rankings":
        del form.fields["flag"]
    try:
        found = found_labels(access, kind, form.chosen())
    except PlackettError:
        found = KINDS[kind][0].objects.none()
    context = {
        "form": form,
        "kind": kind,
        "kinds": [(name, words) for name, (_model, _rows, words) in KINDS.items()],
        "page": page_of(found, request),
    }
    return project_page(request, access, "snapshots", "labels/list.html", context)


def found_labels(access: ProjectAccess, kind: str, chosen: dict[str, str]) -> QuerySet[Any]:
    query: dict[str, Any] = {"purpose": chosen.get("purpose", ""), "extras": True}
    query |= {f"{name}s": [chosen[name]] for name in ("labeler", "origin") if name in chosen}
    if "category" in chosen:
        query["categories"] = [chosen["category"]]
    found = KINDS[kind][1](access.project, query).select_related("prompt", "labeler")
    if "text" in chosen:
        found = found.filter(prompt__in=prompts_list(access.project, text=chosen["text"], withdrawn=None).values("pk"))
    if "flag" in chosen:
        flagged = RankedResponse.objects.filter(~Q(flags=[]), flags__icontains=f'"{chosen["flag"]}"')
        found = found.filter(pk__in=flagged.values("ranking"))
    return found.select_related("response") if kind == "demonstrations" else found


@login_required
@require_GET
def label(request: HttpRequest, slug: str, kind: str, label_id: UUID) -> HttpResponse:
    """One label in full, with what everyone said of the same task."""
    access = project_for(request.user, slug, Capability.READ_LABELS)
    if kind not in KINDS:
        raise Http404(NOTHING_HERE)
    model, _rows, words = KINDS[kind]
    found = model.objects.filter(project=access.project, pk=label_id).select_related("prompt", "labeler").first()
    if found is None:
        raise Http404(NOTHING_HERE)
    everyone = model.objects.filter(task=found.task_id, is_current=True).select_related("labeler").order_by("id")
    context: dict[str, Any] = {"label": found, "kind": kind, "kind_words": words, "prompt": found.prompt}
    if kind == "rankings":
        context |= comparison_of(list(everyone.select_related("form")), flag_words(access.project))
    else:
        context["demonstrations"] = everyone.select_related("response")
    return project_page(request, access, "snapshots", "labels/label.html", context)


def comparison_of(rankings: list[Ranking], words: dict[str, str]) -> dict[str, Any]:
    """Each answer with what each labeler said of it: a row an answer, a column a labeler. `words`: the flags'."""
    ranked = RankedResponse.objects.filter(ranking__in=rankings).select_related("response__model")
    by_answer: dict[UUID, dict[str, Any]] = {}
    for item in ranked.order_by("response_id"):
        row = by_answer.setdefault(item.response_id, {"response": item.response, "said": {}})
        row["said"][item.ranking_id] = item
    answers = [
        {
            "response": row["response"],
            "said": [said_in_words(row["said"].get(ranking.pk), ranking, words) for ranking in rankings],
        }
        for row in by_answer.values()
    ]
    return {"rankings": rankings, "answers": answers}


def said_in_words(item: RankedResponse | None, ranking: Ranking, words: dict[str, str]) -> dict[str, Any] | None:
    """What a labeler said of an answer; `highest` is the best rating of the form that they had, if it is known."""
    if item is None:
        return None
    return {
        "rank": item.rank,
        "rating": item.rating,
        "highest": scale_of(ranking.form.fields)[-1] if ranking.form else None,
        "flags": [words.get(flag, flag) for flag in item.flags],
    }
