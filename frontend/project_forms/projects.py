"""Forms of a project: its settings and its guidelines."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotation.models import Project

SHARES = frozenset({"validation_percent", "test_percent"})


class ProjectSettingsForm(forms.ModelForm):
    """What an admin may change; the same fields make a project."""

    class Meta:
        model = Project
        fields = ["name", "description", "responses_per_prompt"]
        labels = {
            "name": _("Name"),
            "description": _("Description"),
            "responses_per_prompt": _("Answers sampled for each prompt (K)"),
        }
        help_texts = {
            "description": _("One or two sentences that labelers read on their first page."),
            "responses_per_prompt": _("InstructGPT ranked 4 to 9; between 2 and 16."),
        }
        widgets = {
            "description": forms.Textarea(attrs={"rows": 3}),
            "responses_per_prompt": forms.NumberInput(attrs={"min": 2, "max": 16}),
        }

    def clean_responses_per_prompt(self) -> int:
        return self._within("responses_per_prompt", 2, 16)

    def _within(self, name: str, low: int, high: int) -> int:
        value: int = self.cleaned_data[name]
        if not low <= value <= high:
            params = {"low": low, "high": high}
            raise forms.ValidationError(_("Choose a number from %(low)s to %(high)s."), params=params)
        return value


class NewProjectForm(ProjectSettingsForm):
    """What makes a project: the settings, and the shares of prompts that are held out, which never change again."""

    validation_percent = forms.IntegerField(
        label=_("Held out for validation (%)"),
        required=False,
        initial=5,
        min_value=0,
        max_value=45,
        help_text=_("Share of prompts that no training reads. Fixed once the project is made."),
    )
    test_percent = forms.IntegerField(
        label=_("Held out for tests (%)"),
        required=False,
        initial=5,
        min_value=0,
        max_value=45,
        help_text=_("A second share, for the last word. With few prompts hold out more."),
    )

    class Meta(ProjectSettingsForm.Meta):
        fields = ["name", "slug", *ProjectSettingsForm.Meta.fields[1:]]
        labels = {**ProjectSettingsForm.Meta.labels, "slug": _("Short name in addresses")}
        help_texts = {
            **ProjectSettingsForm.Meta.help_texts,
            "slug": _("Letters, digits and hyphens, such as “support-bot”. Left empty, it is made from the name."),
        }

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["slug"].required = False

    def clean(self) -> dict[str, Any]:
        """Shares that were left empty are left to the project's own defaults."""
        cleaned = super().clean() or {}
        return {name: value for name, value in cleaned.items() if name not in SHARES or value is not None}


class GuidelineForm(forms.Form):
    """A new version of the guidelines. `based_on` is the version that the writer started from."""

    body = forms.CharField(
        label=_("Guidelines"),
        max_length=200_000,
        widget=forms.Textarea(attrs={"rows": 22, "class": "code-input"}),
        help_text=_("Markdown: # for headings, - for lists, **bold**. Labelers see it beside their work."),
    )
    based_on = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
