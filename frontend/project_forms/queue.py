"""Forms of the queue's page: how each kind of task is handed out."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from annotation.models import KindSettings


class KindForm(forms.ModelForm):
    """One kind of task: how many labels its tasks want, and for which share of them another number."""

    class Meta:
        model = KindSettings
        fields = ["overlap", "sampled_percent", "sampled_overlap"]
        labels = {
            "overlap": _("Labels for each task"),
            "sampled_percent": _("Sampled share (%)"),
            "sampled_overlap": _("Labels for each of the share"),
        }
        help_texts = {"overlap": "", "sampled_percent": "", "sampled_overlap": ""}
