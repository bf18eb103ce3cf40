"""The form about the ranking form: its scale, its flags, its questions, and what may be left open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from annotation.fields import HIGHEST_RATING, LOWEST_RATING, Flag, PromptField
from annotation.ranking_form import CHOICE, MAX_CHOICE, MAX_CHOICES, MAX_LABEL, MAX_OWN, TEXT, YES_NO, scale_of

SPARE_ROWS = 2


class RankingFormForm(forms.Form):
    """What every project may ask. `based_on` is the version that the editor started from."""

    minimum = forms.IntegerField(label=_("Lowest rating"), min_value=LOWEST_RATING, max_value=HIGHEST_RATING)
    maximum = forms.IntegerField(label=_("Highest rating"), min_value=LOWEST_RATING, max_value=HIGHEST_RATING)
    allow_ties = forms.BooleanField(label=_("Two answers may share a rank"), required=False)
    allow_partial = forms.BooleanField(
        label=_("An answer may be left unranked"), required=False, help_text=_("At least two are ranked all the same.")
    )
    flags = forms.MultipleChoiceField(
        label=_("Flags of an answer"), choices=Flag.choices, required=False, widget=forms.CheckboxSelectMultiple
    )
    prompt_fields = forms.MultipleChoiceField(
        label=_("Asked about the prompt"),
        choices=PromptField.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Yes or no, as InstructGPT's labelers said of each prompt."),
    )
    based_on = forms.IntegerField(widget=forms.HiddenInput, min_value=0)


class OwnFlagForm(forms.Form):
    """A flag of the project's own; a row left empty is none."""

    key = forms.CharField(label=_("Key"), max_length=40, required=False)
    label = forms.CharField(label=_("What labelers read"), max_length=MAX_LABEL, required=False)


class OwnQuestionForm(OwnFlagForm):
    """A question of the project's own about the prompt."""

    type = forms.ChoiceField(
        label=_("Takes"),
        choices=[(TEXT, _("a short text")), (CHOICE, _("a choice")), (YES_NO, _("yes or no"))],
        required=False,
    )
    choices = forms.CharField(
        label=_("Choices, one a line"),
        max_length=MAX_CHOICES * (MAX_CHOICE + 2),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    required = forms.BooleanField(label=_("Must be answered"), required=False)


class RowSet(forms.BaseFormSet):
    """Rows that each may be left empty."""

    def rows(self) -> list[dict[str, Any]]:
        """What was filled in. The rows must be valid."""
        said = [form.cleaned_data for form in self.forms]
        return [row for row in said if row.get("key", "").strip() or row.get("label", "").strip()]


def rows_of(form: type[forms.Form]) -> type[RowSet]:
    made = forms.formset_factory(form, formset=RowSet, extra=SPARE_ROWS, max_num=MAX_OWN, absolute_max=MAX_OWN)
    return cast("type[RowSet]", made)


OwnFlags, OwnQuestions = rows_of(OwnFlagForm), rows_of(OwnQuestionForm)


class FormEditor:
    """The three parts of the page, filled from what was sent, or from a version of the form."""

    def __init__(self, data: QueryDict | None, fields: Mapping[str, Any], version: int) -> None:
        start = initial_of(fields)
        self.form = RankingFormForm(data, initial=start["form"] | {"based_on": version})
        self.flags: RowSet = OwnFlags(data, initial=start["flags"], prefix="flag")
        self.questions: RowSet = OwnQuestions(data, initial=start["questions"], prefix="question")

    def is_valid(self) -> bool:
        return all([self.form.is_valid(), self.flags.is_valid(), self.questions.is_valid()])

    def fields(self) -> dict[str, Any]:
        """The ranking form that was asked for, to be checked by `annotation.ranking_form`."""
        said = self.form.cleaned_data
        own = [{"key": row["key"].strip(), "label": row["label"]} for row in self.flags.rows()]
        return {
            "rating": {"minimum": said["minimum"], "maximum": said["maximum"]},
            "flags": [*said["flags"], *(row["key"] for row in own)],
            "own_flags": own,
            "prompt_fields": [{"key": key} for key in said["prompt_fields"]]
            + [question_of(row) for row in self.questions.rows()],
            "allow_ties": said["allow_ties"],
            "allow_partial": said["allow_partial"],
        }

    def again(self) -> None:
        """New rows to write in, after what was sent has been read."""
        self.flags, self.questions = with_spare_rows(self.flags), with_spare_rows(self.questions)


def with_spare_rows(rows: RowSet) -> RowSet:
    """The rows as they were sent, with as many empty ones at their end as a fresh page has."""
    data = QueryDict(mutable=True)
    data.update(rows.data)
    forms = enumerate(rows.forms, start=1)
    filled = max((place for place, row in forms if row["key"].data or row["label"].data), default=0)
    data[f"{rows.prefix}-TOTAL_FORMS"] = str(min(MAX_OWN, filled + SPARE_ROWS))
    again = type(rows)(data, initial=rows.initial, prefix=rows.prefix)
    again.is_valid()
    return again


def question_of(row: Mapping[str, Any]) -> dict[str, Any]:
    question = {
        "key": row["key"].strip(),
        "label": row["label"],
        "type": row["type"] or TEXT,
        "required": row["required"],
    }
    if question["type"] == CHOICE:
        question["choices"] = [line.strip() for line in row["choices"].splitlines() if line.strip()]
    return question


def initial_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A version of the form as the page's three parts."""
    scale, asked = scale_of(fields), fields.get("prompt_fields") or []
    own = [row for row in asked if row["key"] not in PromptField.values]
    return {
        "form": {
            "minimum": scale[0],
            "maximum": scale[-1],
            "flags": [key for key in fields.get("flags") or [] if key in Flag.values],
            "prompt_fields": [row["key"] for row in asked if row["key"] in PromptField.values],
            "allow_ties": fields.get("allow_ties", True),
            "allow_partial": fields.get("allow_partial", False),
        },
        "flags": list(fields.get("own_flags") or []),
        "questions": [row | {"choices": "\n".join(row.get("choices") or [])} for row in own],
    }
