"""Forms of the queue's pages: how each kind of task is handed out, and what comes next."""

from __future__ import annotations

from typing import Any

from django import forms
from django.forms.boundfield import BoundField
from django.utils.translation import gettext_lazy as _

from annotation.fields import Category
from annotation.models import KindSettings, QueuePolicy


class KindForm(forms.ModelForm):
    """One kind of task: how often it comes, how many labels its tasks want, and for which share another number."""

    class Meta:
        model = KindSettings
        fields = ["weight", "overlap", "sampled_percent", "sampled_overlap"]
        labels = {
            "weight": _("Weight"),
            "overlap": _("Labels for each task"),
            "sampled_percent": _("Sampled share (%)"),
            "sampled_overlap": _("Labels for each of the share"),
        }
        help_texts = dict.fromkeys(fields, "")


class PolicyForm(forms.ModelForm):
    """What comes next, beside the kinds: a quota for each category, and the rest."""

    class Meta:
        model = QueuePolicy
        fields = ["uncertain_first", "review_after_skips"]
        labels = {
            "uncertain_first": _("Rank first what the reward model is most unsure of"),
            "review_after_skips": _("Skips after which a task goes to review"),
        }
        help_texts = {
            "uncertain_first": _("Holds for tasks that have scores; the others come by age."),
            "review_after_skips": _("So many labelers skipped it; 0: never."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for category in Category:
            self.fields[f"quota-{category}"] = forms.FloatField(
                label=category.label,
                required=False,
                min_value=0,
                max_value=100,
                initial=self.instance.quotas.get(category, 0),
                widget=forms.NumberInput(attrs={"step": "any", "aria-describedby": f"so-far-{category}"}),
            )

    @property
    def quota_fields(self) -> dict[str, BoundField]:
        return {str(category): self[f"quota-{category}"] for category in Category}

    def changes(self) -> dict[str, Any]:
        """What the service takes."""
        quotas = {str(category): self.cleaned_data[f"quota-{category}"] or 0 for category in Category}
        return {name: self.cleaned_data[name] for name in self.Meta.fields} | {"quotas": quotas}
