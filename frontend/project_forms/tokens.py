"""Forms of the API tokens page and of the audit log's filters."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.models import ApiToken


class TokenForm(forms.Form):
    """`scopes` are the ones that the person's role allows."""

    name = forms.CharField(label=_("Name"), max_length=80, help_text=_("What it is for, to recognise it by."))
    scopes = forms.MultipleChoiceField(label=_("What it may do"), widget=forms.CheckboxSelectMultiple)
    days = forms.IntegerField(
        label=_("Days until it expires"),
        min_value=1,
        max_value=366,
        initial=90,
        widget=forms.NumberInput(attrs={"min": 1, "max": 366}),
    )

    def __init__(self, *args: object, allowed: list[str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        scopes = self.fields["scopes"]
        assert isinstance(scopes, forms.MultipleChoiceField)
        scopes.choices = [(value, label) for value, label in ApiToken.Scope.choices if value in allowed]


class AuditFilterForm(forms.Form):
    verb = forms.CharField(
        label=_("Action"), required=False, max_length=64, widget=forms.TextInput(attrs={"placeholder": "run."})
    )
    actor = forms.CharField(label=_("Who"), required=False, max_length=150)
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("Until"), required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def chosen(self) -> dict[str, Any]:
        """The filters that are set and valid; a day means all of it."""
        self.is_valid()
        chosen: dict[str, Any] = {name: value for name, value in self.cleaned_data.items() if value}
        if since := self.cleaned_data.get("since"):
            chosen["since"] = beginning_of(since)
        if until := self.cleaned_data.get("until"):
            chosen["until"] = beginning_of(until + timedelta(days=1))
        return chosen


def beginning_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
