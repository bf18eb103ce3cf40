"""What people make of models' answers: comparing two models blind, and correcting one's answers."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import Project
from annotation.roles import Capability
from annotation.selectors.comparisons import comparison_results
from annotation.services.comparisons import comparison_tasks_create
from annotation.services.corrections import correction_tasks_create
from frontend.access import project_for
from frontend.pages import UNPROCESSABLE, project_page
from training.models import Model, ModelKind

MOST = 100_000


class ModelByName(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return str(obj.name)


class ComparisonForm(forms.Form):
    """Two models, and how many prompts at most."""

    first = ModelByName(label=_("Model"), queryset=Model.objects.none(), empty_label=None)
    second = ModelByName(label=_("against"), queryset=Model.objects.none(), empty_label=None)
    limit = forms.IntegerField(label=_("Prompts at most"), min_value=1, max_value=MOST, initial=200)

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policies = policies_of(project)
        for name in ("first", "second"):
            field = self.fields[name]
            assert isinstance(field, ModelByName)
            field.queryset = policies


class CorrectionForm(forms.Form):
    """A model whose answers are to be corrected, and how many of them at most."""

    model = ModelByName(label=_("Model"), queryset=Model.objects.none(), empty_label=None)
    limit = forms.IntegerField(label=_("Prompts at most"), min_value=1, max_value=MOST, initial=200)

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "correction_%s"  # another form of the page has fields of the same names
        field = self.fields["model"]
        assert isinstance(field, ModelByName)
        field.queryset = policies_of(project)


def policies_of(project: Project) -> QuerySet[Model]:
    return Model.objects.filter(project=project, kind=ModelKind.POLICY).order_by("-created_at")


@login_required
@require_POST
def corrections(request: HttpRequest, slug: str) -> HttpResponse:
    """Hand out a model's answers to be corrected; the form stands on the page of the comparisons."""
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    form = CorrectionForm(access.project, request.POST)
    try:
        if not form.is_valid():
            raise PlackettError(" ".join(str(error) for errors in form.errors.values() for error in errors))
        chosen = form.cleaned_data
        made = correction_tasks_create(
            project=access.project, model=chosen["model"].pk, limit=chosen["limit"], by=access.user
        )
        said = ngettext("%(n)s new task corrects its answers.", "%(n)s new tasks correct its answers.", made)
        messages.success(request, said % {"n": made})
    except PlackettError as problem:
        messages.error(request, problem.message)
    return redirect("frontend:comparisons", slug)


@login_required
@require_http_methods(["GET", "POST"])
def comparisons(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.MANAGE_QUEUE)
    form = ComparisonForm(access.project, request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            chosen = form.cleaned_data
            first, second, limit = chosen["first"].pk, chosen["second"].pk, chosen["limit"]
            made = comparison_tasks_create(
                project=access.project, first=first, second=second, limit=limit, by=access.user
            )
        except PlackettError as problem:
            form.add_error("second", problem.message)
        else:
            said = ngettext("%(n)s new task compares them.", "%(n)s new tasks compare them.", made)
            messages.success(request, said % {"n": made})
            return redirect("frontend:comparisons", slug)
    names = dict(Model.objects.filter(project=access.project).values_list("pk", "name"))
    rows = [
        {"result": result, "first": names.get(result.first), "second": names.get(result.second)}
        for result in comparison_results(access.project)
    ]
    correction_form = CorrectionForm(access.project)
    context = {"form": form, "correction_form": correction_form, "rows": rows, "page_name": "comparisons"}
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "queue", "queue/comparisons.html", context, status)
