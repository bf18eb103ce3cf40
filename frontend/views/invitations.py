"""Invitations: an admin makes and revokes them; whoever holds the link comes in by it."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import Invitation, Membership
from annotation.roles import Capability
from annotation.services.invitations import (
    invitation_accept,
    invitation_accept_as_new,
    invitation_create,
    invitation_find,
    invitation_revoke,
)
from frontend.access import NOTHING_HERE, as_user, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.invitations import InvitationForm, JoinForm
from frontend.views.accounts import let_in


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def invitations(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's links, and the form that makes one; its address is shown once."""
    access = project_for(request.user, slug, Capability.MANAGE)
    form = InvitationForm(request.POST if request.method == "POST" else None)
    link = ""
    if form.is_valid():
        try:
            _made, token = invitation_create(project=access.project, by=access.user, **form.cleaned_data)
        except PlackettError as problem:
            form.add_error(None, problem.message)
        else:
            link = request.build_absolute_uri(reverse("frontend:join", args=[token]))
            form = InvitationForm()
    rows = Invitation.objects.filter(project=access.project).select_related("created_by")
    status = UNPROCESSABLE if form.is_bound else 200
    context = {"rows": rows, "form": form, "link": link}
    return project_page(request, access, "people", "people/invitations.html", context, status)


@login_required
@require_POST
def invitation_withdraw(request: HttpRequest, slug: str, invitation_id: UUID) -> HttpResponse:
    access = project_for(request.user, slug, Capability.MANAGE)
    found = Invitation.objects.filter(project=access.project, pk=invitation_id).first()
    if found is None:
        raise Http404(NOTHING_HERE)
    invitation_revoke(invitation=found, by=access.user)
    messages.success(request, _("The invitation lets nobody in any more."))
    return redirect("frontend:invitations", slug)


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Where an invitation leads: with an account one presses a button, without one the form makes it.

    Opening the page uses nothing up, so that a link preview does not.
    """
    form = JoinForm(request.POST if request.method == "POST" and not request.user.is_authenticated else None)
    try:
        invitation = invitation_find(token)
        if request.method == "POST" and request.user.is_authenticated:
            return welcome(request, invitation_accept(token=token, user=as_user(request.user)))
    except PlackettError as problem:
        return render(request, "frontend/people/join.html", {"problem": problem.message}, status=410)
    if form.is_valid():
        try:
            language = get_language() or ""
            known = language if language in dict(settings.LANGUAGES) else ""
            return welcome(request, invitation_accept_as_new(token=token, language=known, **form.cleaned_data))
        except PlackettError as problem:
            form.add_error(None, problem.message)
    status = UNPROCESSABLE if form.is_bound else 200
    context = {"invitation": invitation, "form": form, "address": request.path}
    return render(request, "frontend/people/join.html", context, status=status)


def welcome(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Lead whoever just came in to where their work begins."""
    assert membership.user is not None
    messages.success(request, _("Welcome to %(name)s.") % {"name": membership.project.name})
    url = reverse("frontend:project", args=[membership.project.slug])
    return redirect(url) if request.user.is_authenticated else let_in(request, membership.user, url)
