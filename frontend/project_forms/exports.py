"""Forms of a snapshot's page: an export, a comparison, and a decision about leaks."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from frontend.project_forms.snapshots import TIES
from frontend.templatetags.plackett import split_label
from training.exports import TARGETS
from training.models import Model, ModelKind, Snapshot, SnapshotKind
from training.packing import CONTAINERS
from training.services.leaks import SHORTEST_REASON
from training.services.pushes import LONGEST_TOKEN

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

    def asked(self) -> dict[str, Any]:
        """What the service is asked for."""
        return dict(self.cleaned_data)


class PushForm(ExportForm):
    """The whole export, to a hub. The fields' names differ from the export's, as both stand on one page."""

    prefix = "push"
    repository = forms.CharField(
        label=_("Repository"), max_length=200, help_text=_("owner/name on the hub; made where it is not there yet.")
    )
    token = forms.CharField(
        label=_("Your access token"),
        max_length=LONGEST_TOKEN,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("One that may write. It is used once and not kept."),
    )
    public = forms.BooleanField(label=_("Everyone may read it"), required=False)
    field_order = ("repository", "token", "format", "container", "ties", "public")

    def __init__(self, *args: Any, snapshot: Snapshot, **kwargs: Any) -> None:
        super().__init__(*args, snapshot=snapshot, **kwargs)
        del self.fields["split"]  # a hub gets the whole

    def asked(self) -> dict[str, Any]:
        chosen = super().asked()
        return {"private": not chosen.pop("public"), **chosen}


class TokensForm(forms.Form):
    """For whose tokenizer the tokens are counted, and against which context."""

    model = forms.ModelChoiceField(label=_("For the model"), queryset=Model.objects.none(), empty_label=None)
    context_length = forms.IntegerField(
        label=_("Context, in tokens"),
        required=False,
        min_value=8,
        max_value=1_048_576,
        help_text=_("Empty: as many as the model takes."),
    )
    room = forms.IntegerField(
        label=_("Room for an answer, in tokens"),
        required=False,
        min_value=0,
        max_value=131_072,
        initial=128,
        help_text=_("What a prompt leaves free."),
    )

    def __init__(self, *args: Any, snapshot: Snapshot, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model = self.fields["model"]
        assert isinstance(model, forms.ModelChoiceField)
        model.queryset = Model.objects.filter(project=snapshot.project_id, kind=ModelKind.POLICY)
        if snapshot.kind != SnapshotKind.PROMPTS:
            del self.fields["room"]

    def asked(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if value is not None}


class AcceptLeaksForm(forms.Form):
    reason = forms.CharField(
        label=_("Why they may stay in train"),
        min_length=SHORTEST_REASON,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("The audit log and the dataset card keep it."),
    )
