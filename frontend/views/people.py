"""The members of a project: who they are, what they do, who comes in and with which role."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import Membership, User
from annotation.roles import Capability, Role
from annotation.selectors.members import members
from annotation.services import accounts
from annotation.services.sign_in import sign_in_link_create
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.people import MemberForm, RoleForm


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def people(request: HttpRequest, slug: str) -> HttpResponse:
    """The list; posting brings someone in."""
    access = project_for(request.user, slug, Capability.MANAGE)
    form = MemberForm(request.POST or None)
    if not form.is_valid():
        return _people_page(request, access, form, status=UNPROCESSABLE if form.is_bound else 200)
    try:
        membership, token = _bring_in(access, form)
    except PlackettError as problem:
        form.add_error("username", problem.message)
        return _people_page(request, access, form, status=UNPROCESSABLE)
    if token:
        return _people_page(request, access, MemberForm(), link_for=membership, token=token)
    messages.success(request, _("%(name)s is in the project now.") % {"name": membership.user})
    return redirect("frontend:people", slug)


@transaction.atomic
def _bring_in(access: ProjectAccess, form: MemberForm) -> tuple[Membership, str]:
    """Add the member that the form names; for a new account also return the token of its first sign-in."""
    user, token = form.cleaned_data["user"], ""
    if user is None:
        user = accounts.user_create(username=form.cleaned_data["username"], password=None)
        token = sign_in_link_create(user=user, by=access.user)
    role = form.cleaned_data["role"]
    return accounts.member_add(project=access.project, user=user, role=role, by=access.user), token


def _people_page(
    request: HttpRequest,
    access: ProjectAccess,
    form: MemberForm,
    *,
    status: int = 200,
    link_for: Membership | None = None,
    token: str = "",
) -> HttpResponse:
    link = request.build_absolute_uri(reverse("frontend:sign_in_link", args=[token])) if token else ""
    rows = [{"member": member, "may_get_link": _may_get_link(access, member)} for member in members(access.project)]
    context = {"rows": rows, "form": form, "roles": Role.choices, "link": link, "link_for": link_for}
    return project_page(request, access, "people", "people/list.html", context, status)


@login_required
@require_POST
def member(request: HttpRequest, slug: str, member_id: UUID) -> HttpResponse:
    """Change a member's role, pause, remove or let them in again; the button pressed says which."""
    access = project_for(request.user, slug, Capability.MANAGE)
    membership = member_for(access, member_id)
    try:
        if "remove" in request.POST:
            accounts.member_remove(membership=membership, by=access.user)
            said = _("%(name)s is no longer in the project. What they made stays.")
        elif "active" in request.POST:
            active = request.POST["active"] == "yes"
            accounts.member_set_active(membership=membership, active=active, by=access.user)
            said = _("%(name)s can work again.") if active else _("%(name)s is paused and cannot open the project.")
        else:
            form = RoleForm(request.POST)
            if not form.is_valid():
                raise PlackettError(_("Choose one of the four roles."))
            accounts.member_set_role(membership=membership, role=form.cleaned_data["role"], by=access.user)
            said = _("The role of %(name)s has been changed.")
    except PlackettError as problem:
        messages.error(request, problem.message)
    else:
        messages.success(request, said % {"name": membership.user or membership.pseudonym})
    return redirect("frontend:people", slug)


@never_cache
@login_required
@require_POST
def member_link(request: HttpRequest, slug: str, member_id: UUID) -> HttpResponse:
    """A fresh one-time sign-in link, shown once."""
    access = project_for(request.user, slug, Capability.MANAGE)
    membership = member_for(access, member_id)
    if membership.user is None or not _may_get_link(access, membership):
        raise Http404(NOTHING_HERE)
    token = sign_in_link_create(user=membership.user, by=access.user)
    return _people_page(request, access, MemberForm(), link_for=membership, token=token)


def member_for(access: ProjectAccess, member_id: UUID) -> Membership:
    found = Membership.objects.select_related("user", "project").filter(project=access.project, id=member_id).first()
    if found is None:
        raise Http404(NOTHING_HERE)
    return found


def _may_get_link(access: ProjectAccess, membership: Membership) -> bool:
    """A link is a key to the whole account, so a project's admin may only hand one to an account that nobody used yet.

    The owner of the installation may for anyone.
    """
    user: User | None = membership.user
    if user is None or not membership.is_active:
        return False
    if access.user.is_superuser:
        return True
    return user.last_login is None and not user.has_usable_password() and not user.is_superuser and not user.is_staff
