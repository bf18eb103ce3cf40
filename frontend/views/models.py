"""Models: the list, one with what it came from and what came of it, and registering a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from annotation.errors import PlackettError
from annotation.roles import Capability
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.measures_page import agreement_rows, calibration_rows
from frontend.pages import UNPROCESSABLE, project_page
from frontend.paging import page_of
from frontend.project_forms.snapshots import RegisterModelForm
from frontend.run_pages import headlines, parents_of
from training.files import file_hash, path_of
from training.models import Model, ModelKind, Run, RunInput
from training.selectors.lineage import erased_behind, labels_behind
from training.selectors.models import files_in
from training.services.loop import LABELS as INPUT_LABELS
from training.services.models import folders_to_register, model_register_folder


@login_required
@require_GET
def models(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_RUNS)
    rows = Model.objects.filter(project=access.project).select_related("run", "artifact")
    kind = request.GET.get("kind", "")
    if kind in ModelKind.values:
        rows = rows.filter(kind=kind)
    context = {
        "page": page_of(rows, request),
        "kinds": ModelKind.choices,
        "kind": kind,
        "may_register": access.can(Capability.LAUNCH),
    }
    return project_page(request, access, "models", "models/list.html", context)


@login_required
@require_GET
def model(request: HttpRequest, slug: str, model_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.READ_RUNS)
    found = model_for(access, model_id)
    inputs = list(RunInput.objects.filter(run=found.run).select_related("snapshot", "model")) if found.run else []
    context = {
        "model": found,
        "inputs": [(INPUT_LABELS.get(item.name, item.name), item) for item in inputs],
        "parents": parents_of(inputs),
        "used_by": Run.objects.filter(inputs__model=found).distinct()[:50],
        "labels": labels_behind(found),
        "erased": erased_behind(found),
        "metrics": headlines(found.card.get("metrics", {})),
        "agreement": agreement_rows(found.card),
        "calibration": calibration_rows(found.card),
        "files": files_in(found.artifact),
        "card_json": json.dumps(found.card, indent=2, ensure_ascii=False),
        "may_read_labels": access.can(Capability.READ_LABELS),
        "may_launch": access.can(Capability.LAUNCH),
    }
    return project_page(request, access, "models", "models/detail.html", context)


@login_required
@require_GET
def model_hashes(request: HttpRequest, slug: str, model_id: UUID) -> StreamingHttpResponse:
    """Each file's SHA-256 as `sha256sum` writes them; hashed while they are sent, since weights may be large."""
    access = project_for(request.user, slug, Capability.READ_RUNS)
    return StreamingHttpResponse(hash_lines(model_for(access, model_id)), content_type="text/plain; charset=utf-8")


def hash_lines(model: Model) -> Iterator[str]:
    folder = path_of(model.artifact)
    for file in files_in(model.artifact):
        yield f"{file_hash(folder / file['name'])}  {file['name']}\n"


@login_required
@require_http_methods(["GET", "POST"])
def model_register(request: HttpRequest, slug: str) -> HttpResponse:
    """A folder below MODELS_DIR becomes a model of the project, if it is one that Plackett can train."""
    access = project_for(request.user, slug, Capability.LAUNCH)
    folders = folders_to_register()
    form = RegisterModelForm(request.POST or None, folders=folders)
    if form.is_valid():
        chosen = form.cleaned_data
        try:
            found = model_register_folder(
                project=access.project, folder_name=chosen["folder"], name=chosen["name"], by=access.user
            )
        except PlackettError as problem:
            form.add_error("folder", problem.message)
        else:
            messages.success(request, _("%(name)s can be fine-tuned now.") % {"name": found.name})
            return redirect("frontend:model", slug, found.id)
    status = UNPROCESSABLE if form.is_bound else 200
    context = {"form": form, "folders": folders}
    return project_page(request, access, "models", "models/register.html", context, status)


def model_for(access: ProjectAccess, model_id: UUID) -> Model:
    found = Model.objects.select_related("run", "artifact", "created_by").filter(project=access.project, id=model_id)
    model = found.first()
    if model is None:
        raise Http404(NOTHING_HERE)
    return model
