"""Forms of a snapshot's page: an export, a comparison, and a decision about leaks."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from frontend.project_forms.snapshots import TIES
from frontend.templatetags.plackett import split_label
from training.exports import TARGETS
from training.models import Snapshot, SnapshotKind
from training.packing import CONTAINERS
from training.services.leaks import SHORTEST_REASON

CONTAINER_LABELS = {
    "jsonl": _("JSON lines"),
    "jsonl.gz": _("JSON lines, gzip"),
    "jsonl.zst": _("JSON lines, Zstandard"),
    "csv": _("CSV"),
    "parquet": _("Parquet"),
}
WHOLE = ("", _("all splits, as a folder with its dataset card (zip)"))


class ExportForm(forms.Form):
    format = forms.ChoiceField(label=_("Format"))
    container = forms.ChoiceField(
        label=_("File type"), choices=[(name, CONTAINER_LABELS[name]) for name in CONTAINERS], initial="jsonl"
    )
    split = forms.ChoiceField(label=_("What"), required=False)
    ties = forms.ChoiceField(label=_("Ties in rankings"), choices=TIES, required=False)

    def __init__(self, *args: Any, snapshot: Snapshot, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        formats, splits = self.fields["format"], self.fields["split"]
        assert isinstance(formats, forms.ChoiceField) and isinstance(splits, forms.ChoiceField)
        formats.choices = [(target.key, target.label) for target in TARGETS[snapshot.kind].values()]
        splits.choices = [WHOLE, *((split, split_label(split)) for split in snapshot.counts)]
        if snapshot.kind != SnapshotKind.RANKINGS:
            del self.fields["ties"]
        else:
            self.fields["ties"].initial = snapshot.query.get("ties") or "drop"


class AcceptLeaksForm(forms.Form):
    reason = forms.CharField(
        label=_("Why they may stay in train"),
        min_length=SHORTEST_REASON,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("The audit log and the dataset card keep it."),
    )
