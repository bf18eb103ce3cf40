"""A project's webhooks: added with their secret shown once, changed, tried out, switched off and on, deleted."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.roles import Capability
from frontend.access import NOTHING_HERE, ProjectAccess, project_for
from frontend.pages import UNPROCESSABLE, project_page
from training.models import Delivery, NoticeKind, Webhook
from training.models.notices import NEEDS_A_PERSON, SENT
from training.services import webhooks as services

DELIVERIES_SHOWN = 50


class WebhookForm(forms.Form):
    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=500,
        widget=forms.URLInput(attrs={"placeholder": "https://example.org/hooks/plackett"}),
    )
    kinds = forms.MultipleChoiceField(
        label=gettext_lazy("Tell of"),
        choices=[(kind.value, kind.label) for kind in SENT],
        widget=forms.CheckboxSelectMultiple,
        initial=[kind.value for kind in SENT if kind in NEEDS_A_PERSON or kind == NoticeKind.SUCCEEDED],
    )


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def webhooks(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request.user, slug, Capability.MANAGE)
    form = WebhookForm(request.POST or None)
    made, secret = None, ""
    if form.is_valid():
        try:
            made, secret = services.webhook_create(project=access.project, by=access.user, **form.cleaned_data)
            form = WebhookForm()
        except PlackettError as problem:
            form.add_error(None, problem.message)
    rows = Webhook.objects.filter(project=access.project)
    context = {"rows": rows, "form": form, "made": made, "secret": secret}
    return project_page(request, access, "settings", "webhooks/list.html", context, status_of(form))


def status_of(form: forms.Form) -> int:
    return UNPROCESSABLE if form.is_bound and not form.is_valid() else 200


def webhook_for(access: ProjectAccess, webhook_id: UUID) -> Webhook:
    found = Webhook.objects.select_related("project").filter(project=access.project, pk=webhook_id).first()
    if found is None:
        raise Http404(NOTHING_HERE)
    return found


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def webhook(request: HttpRequest, slug: str, webhook_id: UUID) -> HttpResponse:
    """One webhook: its address and kinds, and what became of its messages."""
    access = project_for(request.user, slug, Capability.MANAGE)
    found = webhook_for(access, webhook_id)
    form = WebhookForm(request.POST or None, initial={"url": found.url, "kinds": found.kinds})
    if form.is_valid():
        try:
            services.webhook_change(webhook=found, by=access.user, **form.cleaned_data)
        except PlackettError as problem:
            form.add_error(None, problem.message)
        else:
            messages.success(request, _("Saved."))
            return redirect("frontend:webhook", slug, webhook_id)
    return _page(request, access, found, form)


def _page(
    request: HttpRequest, access: ProjectAccess, found: Webhook, form: forms.Form, secret: str = ""
) -> HttpResponse:
    rows = Delivery.objects.filter(webhook=found).select_related("notice__run")[:DELIVERIES_SHOWN]
    context = {"webhook": found, "form": form, "deliveries": rows, "secret": secret}
    return project_page(request, access, "settings", "webhooks/detail.html", context, status_of(form))


@never_cache
@login_required
@require_POST
def webhook_action(request: HttpRequest, slug: str, webhook_id: UUID, action: str) -> HttpResponse:
    """test, enable, disable, secret (a new one) or delete."""
    access = project_for(request.user, slug, Capability.MANAGE)
    found = webhook_for(access, webhook_id)
    by = access.user
    try:
        if action == "test":
            services.webhook_test(webhook=found, by=by)
            messages.success(request, _("A test message is on its way; below you see what becomes of it."))
        elif action in ("enable", "disable"):
            services.webhook_switch(webhook=found, enabled=action == "enable", by=by)
        elif action == "secret":
            secret = services.webhook_new_secret(webhook=found, by=by)
            form = WebhookForm(None, initial={"url": found.url, "kinds": found.kinds})
            return _page(request, access, found, form, secret)
        elif action == "delete":
            services.webhook_delete(webhook=found, by=by)
            messages.success(request, _("The webhook is deleted."))
            return redirect("frontend:webhooks", slug)
        else:
            raise Http404(NOTHING_HERE)
    except PlackettError as problem:
        messages.error(request, problem.message)
    return redirect("frontend:webhook", slug, webhook_id)
