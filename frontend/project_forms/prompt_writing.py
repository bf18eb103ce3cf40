"""The form in which a lead asks labelers for prompts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotation.models import FollowUp, Pool, PromptStyle
from annotation.services.prompt_writing import MAX_TASKS, MAX_USE_CASE


class BriefForm(forms.Form):
    style = forms.ChoiceField(
        label=_("Style"), choices=PromptStyle.choices, initial=PromptStyle.PLAIN, widget=forms.RadioSelect
    )
    use_case = forms.CharField(
        label=_("Use case"),
        required=False,
        max_length=MAX_USE_CASE,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("For user-based prompts: what somebody wants the model for, without anyone's name in it."),
    )
    number = forms.IntegerField(label=_("Prompts wanted"), min_value=1, max_value=MAX_TASKS, initial=20)
    language = forms.CharField(
        label=_("Language"), required=False, max_length=16, help_text=_("Empty: the labeler chooses.")
    )
    pool = forms.ChoiceField(
        label=_("Pool"),
        choices=Pool.choices,
        help_text=_("What the prompts are for. Those for rankings become tasks when a model has answered them."),
    )
    follow_up = forms.ChoiceField(
        label=_("What is made of each at once"),
        required=False,
        choices=FollowUp.choices,
        help_text=_("Labelers can change their prompt until something is made of it."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("style") == PromptStyle.USER_BASED and not (cleaned.get("use_case") or "").strip():
            self.add_error("use_case", _("Write the use case that the prompts are to be written from."))
        return cleaned
