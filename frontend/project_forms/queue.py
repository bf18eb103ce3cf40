"""Forms of the queue's pages: how each kind of task is handed out, and what comes next."""

from __future__ import annotations

from typing import Any

from django import forms
from django.forms.boundfield import BoundField
from django.utils.translation import gettext_lazy as _

from annotation.fields import Category, SensitiveTopic
from annotation.models import KindSettings, QueuePolicy, TaskKind
from annotation.models.queue import MAX_DAILY
from annotation.services.limits import language_codes


class KindForm(forms.ModelForm):
    """One kind of task: how often it comes, how many labels its tasks want, and for which share another number."""

    class Meta:
        model = KindSettings
        fields = ["weight", "overlap", "sampled_percent", "sampled_overlap", "target_labels"]
        labels = {
            "weight": _("Weight"),
            "overlap": _("Labels for each task"),
            "sampled_percent": _("Sampled share (%)"),
            "sampled_overlap": _("Labels for each of the share"),
            "target_labels": _("Labels wanted in all"),
        }
        help_texts = dict.fromkeys(fields, "")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.kind == TaskKind.PROMPT:  # each task yields one prompt
            for name in ("overlap", "sampled_percent", "sampled_overlap"):
                del self.fields[name]


class LimitsForm(forms.Form):
    """What a lead sets for one labeler."""

    daily_limit = forms.IntegerField(label=_("Tasks a day"), required=False, min_value=1, max_value=MAX_DAILY)
    languages = forms.CharField(label=_("Languages"), required=False, max_length=200)

    def changes(self) -> dict[str, Any]:
        """What the service takes."""
        codes = language_codes(self.cleaned_data["languages"])
        return {"daily_limit": self.cleaned_data["daily_limit"], "languages": codes}


class TopicsForm(forms.Form):
    """Sensitive topics: those of a prompt, or those that a labeler would rather not see."""

    topics = forms.MultipleChoiceField(
        label=_("Sensitive topics"),
        choices=SensitiveTopic.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )


class PolicyForm(forms.ModelForm):
    """What comes next, beside the kinds: a quota for each category, and the rest."""

    class Meta:
        model = QueuePolicy
        fields = ["uncertain_first", "review_after_skips", "daily_limit"]
        labels = {
            "uncertain_first": _("Rank first what the reward model is most unsure of"),
            "review_after_skips": _("Skips after which a task goes to review"),
            "daily_limit": _("Tasks a day for each labeler"),
        }
        help_texts = {
            "uncertain_first": _("Holds for tasks that have scores; the others come by age."),
            "review_after_skips": _("So many labelers skipped it; 0: never."),
            "daily_limit": _("Empty: no limit. A labeler's own limit comes before it."),
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
