"""Forms of the prompts pages: the list's filters, and pasting."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotation.fields import Category
from annotation.models import Pool, Split

ANY = [("", _("any"))]


class PromptFilterForm(forms.Form):
    """Every field may be empty; a value that does not exist is taken as empty rather than refused."""

    text = forms.CharField(label=_("Words in it"), required=False, max_length=200)
    pool = forms.ChoiceField(label=_("Pool"), required=False, choices=[*ANY, *Pool.choices])
    split = forms.ChoiceField(label=_("Split"), required=False, choices=[*ANY, *Split.choices])
    category = forms.ChoiceField(label=_("Category"), required=False, choices=[*ANY, *Category.choices])
    language = forms.CharField(
        label=_("Language"), required=False, max_length=16, widget=forms.TextInput(attrs={"placeholder": "en"})
    )

    def chosen(self) -> dict[str, Any]:
        """The filters that are set and valid."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}


class PastePromptsForm(forms.Form):
    LINE, BLANK_LINE = "line", "blank"

    text = forms.CharField(
        label=_("Prompts"),
        max_length=2_000_000,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 12}),
        help_text=_("Each becomes one conversation with a single turn by the user."),
    )
    separated_by = forms.ChoiceField(
        label=_("One prompt is"),
        choices=[(LINE, _("one line")), (BLANK_LINE, _("everything up to a blank line"))],
        widget=forms.RadioSelect,
        initial=LINE,
    )
    pool = forms.ChoiceField(
        label=_("Pool"), choices=Pool.choices, help_text=_("What they are for. It stays: no prompt changes its pool.")
    )
    category = forms.ChoiceField(label=_("Category"), choices=Category.choices, initial=Category.OTHER)
    language = forms.CharField(
        label=_("Language"), max_length=16, initial="en", help_text=_("Such as en, de or zh-hans.")
    )

    def texts(self) -> list[str]:
        """The prompts that were pasted, without surrounding space, in their order."""
        pasted = self.cleaned_data["text"].replace("\r\n", "\n")
        if self.cleaned_data["separated_by"] == self.LINE:
            parts = pasted.split("\n")
        else:
            parts, block = [], []
            for line in [*pasted.split("\n"), ""]:
                if line.strip():
                    block.append(line)
                elif block:
                    parts.append("\n".join(block))
                    block = []
        return [part.strip() for part in parts if part.strip()]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("text") is not None and cleaned.get("separated_by") and not self.texts():
            self.add_error("text", _("There is no prompt in it. Write at least one."))
        return cleaned
