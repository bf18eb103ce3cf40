"""What of a person is where, for admins, and erasing it; and erasing one snapshot."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import Project
from annotation.roles import Capability
from frontend.access import project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.views.people import member_for
from frontend.views.snapshots import snapshot_for
from training.selectors.snapshots import snapshots_of
from training.selectors.traces import models_made_of, traces_of
from training.services.erasure import SHORTEST_REASON, person_erase, person_pseudonymise, snapshot_erase


class ReasonForm(forms.Form):
    why = forms.CharField(
        label=gettext_lazy("Why"),
        min_length=SHORTEST_REASON,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("The audit log keeps it. Name no person in it."),
    )


@login_required
@require_http_methods(["GET", "POST"])
def traces(request: HttpRequest, slug: str, member_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.MANAGE)
    member = member_for(access, member_id)
    form = ReasonForm(request.POST or None)
    if form.is_valid():
        erases = request.POST.get("what") == "erase"
        service = person_erase if erases else person_pseudonymise
        found = service(member=member, why=form.cleaned_data["why"], by=access.user)
        if erases:
            said = ngettext(
                "Their work is erased, and with it the files of %(n)s snapshot. What to build anew stands below.",
                "Their work is erased, and with it the files of %(n)s snapshots. What to build anew stands below.",
                len(found),
            )
        else:
            said = ngettext(
                "They have another pseudonym. %(n)s snapshot holds the old one: erase it, and build it anew.",
                "They have another pseudonym. %(n)s snapshots hold the old one: erase them, and build them anew.",
                len(found),
            )
        messages.success(request, said % {"n": len(found)})
        names = ",".join(str(snapshot.pk) for snapshot in found[:100])
        return redirect(f"{request.path}?rebuild={names}" if names else request.path)
    context = {
        "member": member,
        "traces": traces_of(member),
        "form": form,
        "rebuild": rebuilt(access.project, request.GET.get("rebuild", "")),
    }
    status = UNPROCESSABLE if form.is_bound else 200
    return project_page(request, access, "people", "people/traces.html", context, status)


def rebuilt(project: Project, ids: str) -> dict[str, object]:
    """The snapshots that an erasure has just touched, and the models that were made of them."""
    wanted = []
    for part in ids.split(",")[:100]:
        try:
            wanted.append(UUID(part))
        except ValueError:
            continue
    snapshots = list(snapshots_of(project).filter(pk__in=wanted)) if wanted else []
    return {"snapshots": snapshots, "models": models_made_of(snapshots) if snapshots else []}


@login_required
@require_POST
def snapshot_erased(request: HttpRequest, slug: str, snapshot_id: UUID) -> HttpResponse:
    """Destroy a snapshot's files."""
    access = project_for(request.user, slug, Capability.MANAGE)
    found = snapshot_for(access, snapshot_id)
    try:
        snapshot_erase(snapshot=found, why=request.POST.get("why", ""), by=access.user)
    except PlackettError as problem:
        messages.error(request, problem.message)
    else:
        messages.success(request, _("The snapshot's files are destroyed; its manifest stays."))
    return redirect("frontend:snapshot", slug, snapshot_id)
