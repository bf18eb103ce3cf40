"""Forms of an import: the file with where it is from, and how it is to be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from annotation import mapping
from annotation.formats import FORMATS
from annotation.models import ImportBatch, ImportKind, Pool

NO_COLUMN = [("", _("none"))]
FIELD = "map_"


class ImportForm(forms.Form):
    """A file to bring in, with where it is from and on what ground."""

    file = forms.FileField(
        label=_("File"),
        help_text=_(
            "JSONL (one JSON object a line), a JSON list, CSV with a header, or Parquet; also packed: .gz, .zst."
        ),
    )
    kind = forms.ChoiceField(label=_("What is in it"), choices=ImportKind.choices)
    pool = forms.ChoiceField(
        label=_("Pool"), choices=Pool.choices, help_text=_("For rows that name none. No prompt changes its pool.")
    )
    source = forms.CharField(
        label=_("Source"), max_length=120, help_text=_("Where it is from, such as the dataset's name. Kept.")
    )
    licence = forms.CharField(
        label=_("Licence"), max_length=120, required=False, help_text=_("Such as CC BY 4.0; repeated in every export.")
    )
    consent = forms.CharField(
        label=_("Consent"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("On what ground these people's words may be used."),
    )

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if file.size and file.size > settings.UPLOAD_MAX_BYTES:
            raise forms.ValidationError(
                _("This file is %(size)s; at most %(limit)s is taken. Split it into several."),
                params={"size": filesizeformat(file.size), "limit": filesizeformat(settings.UPLOAD_MAX_BYTES)},
            )
        return file


class ReadingForm(forms.Form):
    """How a staged file is to be read: as a format, or by a mapping of its columns."""

    format = forms.ChoiceField(label=_("Format"), required=False)
    accept_bad_lines = forms.BooleanField(
        label=_("Import the good lines even if others are broken"),
        required=False,
        help_text=_(
            "Otherwise every line is checked first, and one that is broken stops the import: nothing changes. "
            "Either way each is listed."
        ),
    )

    def __init__(self, batch: ImportBatch, columns: Sequence[str], suggested: dict[str, Any], data: Any = None) -> None:
        chosen = batch.mapping or suggested
        initial: dict[str, Any] = {FIELD + name: value for name, value in chosen.items()}
        super().__init__(data, initial={**initial, "format": batch.format, "accept_bad_lines": batch.accept_bad_lines})
        self.kind = batch.kind
        formats = [(found.name, found.label) for found in reversed(FORMATS) if batch.kind in found.kinds]
        choice = self.fields["format"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [("", _("as the first row looks")), (mapping.NAME, _("by the columns below")), *formats]
        for field in mapping.fields_of(batch.kind):
            self.fields[FIELD + field.name] = column_field(field, columns)
        if batch.kind == mapping.RANKINGS:
            self.fields[FIELD + mapping.COUNTS_FROM] = forms.ChoiceField(
                label=_("Its numbers count from"),
                required=False,
                choices=[
                    ("1", _("1: 1 is the first answer, 2 the second, 0 a tie")),
                    ("0", _("0: 0 is the first answer, 1 the second")),
                ],
            )

    def mapped_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith(FIELD)]

    def reading(self) -> dict[str, Any]:
        """What `import_change` takes."""
        by_columns = self.cleaned_data["format"] == mapping.NAME
        return {
            "format": "" if by_columns else self.cleaned_data["format"],
            "mapping": self.mapping() if by_columns else {},
            "accept_bad_lines": self.cleaned_data["accept_bad_lines"],
        }

    def mapping(self) -> dict[str, Any]:
        chosen = {
            name.removeprefix(FIELD): value
            for name, value in self.cleaned_data.items()
            if name.startswith(FIELD) and value not in ("", [])
        }
        if "choice" not in chosen:
            chosen.pop(mapping.COUNTS_FROM, None)
        return chosen or {"prompt": ""}


def column_field(field: mapping.Field, columns: Sequence[str]) -> forms.Field:
    choices = [(column, column) for column in columns]
    if field.is_list:
        return forms.MultipleChoiceField(
            label=field.label,
            help_text=field.help,
            required=False,
            choices=choices,
            widget=forms.CheckboxSelectMultiple,
        )
    return forms.ChoiceField(label=field.label, help_text=field.help, required=False, choices=[*NO_COLUMN, *choices])
