"""What one was told of one's projects' runs, and what one wants to be written about."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from frontend.access import as_user
from frontend.pages import UNPROCESSABLE
from frontend.paging import page_of
from frontend.views.accounts import next_url
from training.models import Notice, NoticeChoice
from training.models.notices import NEEDS_A_PERSON
from training.selectors.notices import notices_for, unread_for
from training.services.notices import notice_choice_set, notices_read

ALL_AT_ONCE = 2000


class ChoiceForm(forms.Form):
    email = forms.EmailField(label=gettext_lazy("Your e-mail address"), required=False)
    needs_a_person = forms.BooleanField(
        label=gettext_lazy(
            "When a run needs someone: it failed, waits in vain, could not save before a pause, or goes on in trouble"
        ),
        required=False,
    )
    ends = forms.BooleanField(label=gettext_lazy("When a run ends well, or is cancelled"), required=False)
    only_mine = forms.BooleanField(label=gettext_lazy("Only about runs that I launched"), required=False)

    def clean(self) -> dict[str, object]:
        cleaned = super().clean() or {}
        if (cleaned.get("ends") or cleaned.get("needs_a_person")) and not cleaned.get("email"):
            self.add_error("email", _("Where to? Give an address, or take the ticks away."))
        return cleaned


@login_required
@require_GET
def notices(request: HttpRequest) -> HttpResponse:
    user = as_user(request.user)
    rows = unread_for(user) if "unread" in request.GET else notices_for(user)
    context = {
        "page": page_of(rows.select_related("project", "run"), request),
        "only_unread": "unread" in request.GET,
        "urgent": NEEDS_A_PERSON,
    }
    return render(request, "frontend/notices/list.html", context)


@login_required
@require_POST
def notices_mark(request: HttpRequest) -> HttpResponse:
    """Mark one as read, or, without an id, all."""
    user = as_user(request.user)
    rows = unread_for(user)
    if wanted := request.POST.get("notice"):
        rows = rows.filter(pk=wanted) if is_uuid(wanted) else Notice.objects.none()
    notices_read(user=user, notices=list(rows[:ALL_AT_ONCE]))
    return redirect(next_url(request) if "next" in request.POST else "frontend:notices")


def is_uuid(text: str) -> bool:
    try:
        Notice._meta.pk.to_python(text)
    except forms.ValidationError:
        return False
    return True


@login_required
@require_http_methods(["GET", "POST"])
def notice_choices(request: HttpRequest) -> HttpResponse:
    user = as_user(request.user)
    choice = NoticeChoice.objects.filter(user=user).first() or NoticeChoice(user=user)
    initial = {name: getattr(choice, name) for name in ("ends", "needs_a_person", "only_mine")} | {"email": user.email}
    form = ChoiceForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        notice_choice_set(user=user, **form.cleaned_data)
        messages.success(request, _("Saved."))
        return redirect("frontend:notice_choices")
    context = {"form": form, "mail_is_on": bool(settings.EMAIL_HOST)}
    return render(request, "frontend/notices/choices.html", context, status=UNPROCESSABLE if form.errors else 200)
