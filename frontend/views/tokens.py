"""One's own API tokens in a project: made, shown once, revoked."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import ApiToken, Membership
from annotation.roles import Capability
from annotation.services.tokens import scopes_for, token_create
from annotation.services.tokens import token_revoke as revoke
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.project_forms.tokens import TokenForm


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest, slug: str) -> HttpResponse:
    access, member = member_access(request, slug)
    form = TokenForm(request.POST or None, allowed=scopes_for(member))
    if not form.is_valid():
        return _tokens_page(request, access, member, form, status=UNPROCESSABLE if form.is_bound else 200)
    try:
        token, secret = token_create(membership=member, by=access.user, **form.cleaned_data)
    except PlackettError as problem:
        form.add_error(None, problem.message)
        return _tokens_page(request, access, member, form, status=UNPROCESSABLE)
    fresh = TokenForm(allowed=scopes_for(member))
    return _tokens_page(request, access, member, fresh, made=token, secret=secret)


def _tokens_page(
    request: HttpRequest,
    access: ProjectAccess,
    member: Membership,
    form: TokenForm,
    *,
    status: int = 200,
    made: ApiToken | None = None,
    secret: str = "",
) -> HttpResponse:
    rows = [{"token": token, "state": state_of(token)} for token in ApiToken.objects.filter(membership=member)]
    context = {"rows": rows, "form": form, "made": made, "secret": secret, "host": request.build_absolute_uri("/")}
    return project_page(request, access, "tokens", "tokens/list.html", context, status)


def state_of(token: ApiToken) -> str:
    if token.revoked_at:
        return "revoked"
    return "expired" if token.expires_at <= timezone.now() else "active"


@login_required
@require_POST
def token_revoke(request: HttpRequest, slug: str, token_id: UUID) -> HttpResponse:
    access, member = member_access(request, slug)
    token = ApiToken.objects.filter(membership=member, id=token_id).select_related("membership__project").first()
    if token is None:
        raise Http404(NOTHING_HERE)
    revoke(token=token, by=access.user)
    said = _("%(name)s is revoked; requests with it are refused from now on.")
    messages.success(request, said % {"name": token.name})
    return redirect("frontend:tokens", slug)


def member_access(request: HttpRequest, slug: str) -> tuple[ProjectAccess, Membership]:
    """Tokens act in a member's name, so only members have any."""
    access = project_for(request.user, slug, Capability.TOKENS)
    if access.membership is None:
        raise Http404(NOTHING_HERE)
    return access, access.membership
