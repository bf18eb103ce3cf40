"""Signing in and out, one's projects, one's profile."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import User
from annotation.models.accounts import AnswersLayout, Theme
from annotation.roles import Capability
from annotation.services import sign_in as sign_in_service
from frontend import throttle
from frontend.access import ProjectAccess, as_user, project_for, projects_of
from frontend.forms import ProfileForm, SignInForm
from frontend.preferences import remember_language, remember_theme
from frontend.waiting import waiting_in

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect(next_url(request))
    if request.method == "GET":
        return render_sign_in(request, SignInForm(request))
    username = request.POST.get("username", "")
    if throttle.is_throttled(request, username):
        messages.error(request, _("Too many failed attempts. Wait five minutes, then try again."))
        return render_sign_in(request, SignInForm(request), status=429)
    form = SignInForm(request, request.POST)
    if not form.is_valid():
        throttle.count_failure(request, username)
        return render_sign_in(request, form, status=422)
    throttle.forget_failures(request, username)
    return let_in(request, as_user(form.get_user()), next_url(request))


def render_sign_in(request: HttpRequest, form: SignInForm, status: int = 200) -> HttpResponse:
    return render(request, "frontend/accounts/sign_in.html", {"form": form, "next": next_url(request)}, status=status)


@never_cache
@require_http_methods(["GET", "POST"])
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """A one-time link. Opening it only asks; the button uses it up, so that a link preview does not."""
    if request.method == "GET":
        return render(request, "frontend/accounts/sign_in_link.html")
    try:
        user = sign_in_service.sign_in_link_use(token)
    except PlackettError as problem:
        context = {"problem": problem.message}
        return render(request, "frontend/accounts/sign_in_link.html", context, status=410)
    return let_in(request, user, resolve_url(settings.LOGIN_REDIRECT_URL))


def let_in(request: HttpRequest, user: User, url: str) -> HttpResponse:
    login(request, user, backend=MODEL_BACKEND)
    response = redirect(url)
    remember_theme(response, user.theme)
    if user.language:
        remember_language(response, user.language)
    return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("frontend:sign_in")


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """The projects that one may open; with only one, that project."""
    user = as_user(request.user)
    projects = list(projects_of(user))
    if len(projects) == 1 and not user.is_superuser and "all" not in request.GET:
        return redirect("frontend:project", projects[0].slug)
    roles = {membership.project_id: membership for membership in user.memberships.filter(is_active=True)}
    waiting = waiting_in(projects)
    rows = [
        {"project": project, "membership": roles.get(project.id), "waiting": waiting[project.id]}
        for project in projects
    ]
    return render(request, "frontend/accounts/home.html", {"rows": rows})


@login_required
def project(request: HttpRequest, slug: str) -> HttpResponse:
    """Where a person's work in this project begins."""
    access = project_for(request.user, slug, Capability.READ_GUIDELINES)
    return redirect(f"frontend:{first_page(access)}", slug)


def first_page(access: ProjectAccess) -> str:
    if access.can(Capability.READ_RUNS):
        return "dashboard"
    return "label" if access.can(Capability.LABEL) else "guidelines"


@login_required
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Name, language and theme in one form, the password in another; the button pressed says which."""
    user = as_user(request.user)
    changes_password = "change_password" in request.POST
    details = ProfileForm(request.POST if request.POST and not changes_password else None, instance=user)
    # Someone who came by a one-time link has no old password to give.
    form_class = PasswordChangeForm if user.has_usable_password() else SetPasswordForm
    password = form_class(user, request.POST if changes_password else None)
    for field in password.fields.values():
        field.widget.attrs.pop("autofocus", None)  # it is the second form of the page
    if changes_password and password.is_valid():
        password.save()
        update_session_auth_hash(request, user)
        messages.success(request, _("Your password has been changed."))
        return redirect("frontend:profile")
    if details.is_bound and details.is_valid():
        return save_profile(request, details)
    status = 422 if request.method == "POST" else 200
    return render(request, "frontend/accounts/profile.html", {"details": details, "password": password}, status=status)


def save_profile(request: HttpRequest, form: ProfileForm) -> HttpResponse:
    user = form.save()
    response = redirect("frontend:profile")
    remember_theme(response, user.theme)
    if user.language:
        remember_language(response, user.language)
    else:
        response.delete_cookie(settings.LANGUAGE_COOKIE_NAME)
    messages.success(request, _("Your profile has been saved."))
    return response


@require_POST
def language(request: HttpRequest) -> HttpResponse:
    response = HttpResponseRedirect(next_url(request))
    chosen = request.POST.get("language", "")
    if chosen in dict(settings.LANGUAGES):
        remember_language(response, chosen)
        if isinstance(request.user, User):
            User.objects.filter(pk=request.user.pk).update(language=chosen)
    return response


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    response = HttpResponseRedirect(next_url(request))
    chosen = request.POST.get("theme", "")
    if chosen in Theme.values:
        remember_theme(response, chosen)
        if isinstance(request.user, User):
            User.objects.filter(pk=request.user.pk).update(theme=chosen)
    return response


@login_required
@require_POST
def answers_layout(request: HttpRequest) -> HttpResponse:
    """Remember whether this person reads answers side by side or stacked."""
    chosen = request.POST.get("layout", "")
    if chosen not in AnswersLayout.values:
        return HttpResponse(status=422)
    assert isinstance(request.user, User)
    User.objects.filter(pk=request.user.pk).update(answers_layout=chosen)
    return HttpResponse(status=204)


def next_url(request: HttpRequest) -> str:
    """Where to go on: the form's or the address's `next`, if it is a page of ours."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return resolve_url(settings.LOGIN_REDIRECT_URL)
