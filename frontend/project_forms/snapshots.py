"""Forms of the snapshots pages: a query on the tables, and a corpus to upload."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from annotation.fields import Category
from annotation.models import Origin, Pool, Project, Prompt, Purpose
from annotation.selectors.forms import flag_choices
from frontend.project_forms.tokens import beginning_of
from training.models import SnapshotKind

KINDS = [
    (SnapshotKind.DEMONSTRATIONS, _("Demonstrations, for SFT")),
    (SnapshotKind.RANKINGS, _("Rankings, for a reward model")),
    (SnapshotKind.PROMPTS, _("Prompts, for PPO and sampling")),
]
TIES = [
    ("drop", _("leave tied pairs out")),
    ("half", _("each of two tied answers wins half the time")),
    ("margin", _("tied answers are drawn together (Rao-Kupper)")),
]
OVERLAPS = [
    ("all", _("all labels of a task")),
    ("latest", _("only the latest label of a task")),
    ("majority", _("only the ranking of a task that agrees most with the others")),
]
FLAGGED = [
    ("ranking", _("leave out the whole ranking")),
    ("answer", _("leave out only the flagged answers")),
]
LEAKS = [
    ("keep", _("keep them; the check after the build says if there are any")),
    ("leave_out", _("leave them out of train")),
]
ANY_OF = ("pools", "origins", "categories", "languages")
PEOPLE = ("labelers", "labelers_out", "held_out_labelers")


class PseudonymsField(forms.CharField):
    """Pseudonyms in a line, with commas or spaces between them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, max_length=4000, **kwargs)

    def clean(self, value: Any) -> list[str]:
        return sorted(set(str(super().clean(value) or "").replace(",", " ").split()))


class SnapshotForm(forms.Form):
    """`query` is what the training side understands; an empty choice restricts nothing."""

    kind = forms.ChoiceField(label=_("What"), choices=KINDS, widget=forms.RadioSelect, initial=KINDS[0][0])
    name = forms.CharField(
        label=_("Name"), max_length=120, required=False, help_text=_("Left empty, it is named by kind and number.")
    )
    pools = forms.MultipleChoiceField(
        label=_("Pools"), choices=Pool.choices, required=False, widget=forms.CheckboxSelectMultiple
    )
    origins = forms.MultipleChoiceField(
        label=_("Labels made"), choices=Origin.choices, required=False, widget=forms.CheckboxSelectMultiple
    )
    categories = forms.MultipleChoiceField(
        label=_("Categories"), choices=Category.choices, required=False, widget=forms.CheckboxSelectMultiple
    )
    languages = forms.MultipleChoiceField(label=_("Languages"), required=False, widget=forms.CheckboxSelectMultiple)
    purpose = forms.ChoiceField(
        label=_("Purpose of the labels"),
        choices=Purpose.choices,
        initial=Purpose.TRAIN,
        help_text=_("Labels made for evaluation never go into training."),
    )
    ties = forms.ChoiceField(label=_("Ties in rankings"), choices=TIES, initial="drop")
    overlap = forms.ChoiceField(label=_("Where several people labeled"), choices=OVERLAPS, initial="all")
    labelers = PseudonymsField(
        label=_("Only labels by"), help_text=_("Pseudonyms, with commas between them. Empty: everyone's.")
    )
    labelers_out = PseudonymsField(label=_("No labels by"))
    held_out_labelers = PseudonymsField(
        label=_("Held-out labelers"),
        help_text=_("Their labels go into a file of their own, which nothing trains on."),
    )
    flags_out = forms.MultipleChoiceField(
        label=_("Without answers flagged as"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Only answers in rankings have flags."),
    )
    flagged = forms.ChoiceField(
        label=_("Where an answer has one of these flags"), choices=FLAGGED, initial="ranking", required=False
    )
    leaks = forms.ChoiceField(
        label=_("Prompts in train that are nearly held out"), choices=LEAKS, initial="keep", required=False
    )
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("Before"), required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        languages = self.fields["languages"]
        assert isinstance(languages, forms.MultipleChoiceField)
        used = Prompt.objects.filter(project=project).order_by("language").values_list("language", flat=True).distinct()
        languages.choices = [(code, code) for code in used]
        flags = self.fields["flags_out"]
        assert isinstance(flags, forms.MultipleChoiceField)
        flags.choices = flag_choices(project)

    def query(self) -> dict[str, Any]:
        """The filters that restrict something. The same choices give the same query, whatever their order."""
        chosen = self.cleaned_data
        query: dict[str, Any] = {name: sorted(chosen[name]) for name in ANY_OF if chosen[name]}
        query |= {name: beginning_of(chosen[name]).isoformat() for name in ("since", "until") if chosen[name]}
        query["leaks"] = chosen["leaks"] or "keep"
        if chosen["kind"] != SnapshotKind.PROMPTS:
            query |= {"purpose": chosen["purpose"], "overlap": chosen["overlap"]}
            query |= {name: chosen[name] for name in PEOPLE if chosen[name]}
        if chosen["kind"] == SnapshotKind.RANKINGS:
            query["ties"] = chosen["ties"]
            if chosen["flags_out"]:
                query |= {"flags_out": sorted(chosen["flags_out"]), "flagged": chosen["flagged"] or "ranking"}
        return query


class CorpusForm(forms.Form):
    """Text for pretraining, as a file or pasted."""

    name = forms.CharField(label=_("Name"), max_length=120)
    file = forms.FileField(
        label=_("File"),
        required=False,
        help_text=_("Plain text in UTF-8, with a blank line between documents; or JSONL with a “text” in each line."),
    )
    text = forms.CharField(
        label=_("Or paste it"),
        required=False,
        strip=False,
        max_length=5_000_000,
        widget=forms.Textarea(attrs={"rows": 8}),
    )

    def clean_file(self) -> UploadedFile | None:
        file: UploadedFile | None = self.cleaned_data["file"]
        if file and file.size and file.size > settings.UPLOAD_MAX_BYTES:
            raise forms.ValidationError(
                _("This file is %(size)s; at most %(limit)s is taken. Split it into several."),
                params={"size": filesizeformat(file.size), "limit": filesizeformat(settings.UPLOAD_MAX_BYTES)},
            )
        return file

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "file" not in self.errors and not cleaned.get("file") and not str(cleaned.get("text") or "").strip():
            self.add_error("file", _("Choose a file, or paste the text below."))
        return cleaned


class RegisterModelForm(forms.Form):
    """A Hugging Face folder below MODELS_DIR."""

    folder = forms.ChoiceField(label=_("Folder"))
    name = forms.CharField(
        label=_("Name"), max_length=120, required=False, help_text=_("Left empty, it is the folder's name.")
    )

    def __init__(self, *args: Any, folders: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        folder = self.fields["folder"]
        assert isinstance(folder, forms.ChoiceField)
        folder.choices = [(name, name) for name in folders]
