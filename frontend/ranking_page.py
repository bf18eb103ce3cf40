"""What a ranking form's page shows and sends beside the answers: the questions about the prompt, and contradictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from annotation.models import Ranking
from annotation.ranking_form import (
    MAX_OWN,
    MAX_TEXT,
    YES_NO,
    AskedField,
    FormProblem,
    asked_fields,
    checked_answer,
    flag_labels,
    scale_of,
)
from annotation.rankings import contradictions

if TYPE_CHECKING:
    from frontend.submissions import RankedAnswer

PREFIX = "field-"
MAX_KEPT = 2 * MAX_OWN  # of what a client may send


@dataclass(frozen=True)
class Question:
    """A question about the prompt as the page shows it."""

    asked: AskedField
    value: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        return PREFIX + self.asked.key


def questions_of(
    form: Mapping[str, Any], values: Mapping[str, Any] | None = None, problems: Mapping[str, str] | None = None
) -> list[Question]:
    """The questions with what the page's form says to each."""
    values, problems = values or {}, problems or {}
    return [
        Question(asked, str(values.get(PREFIX + asked.key, "")), problems.get(PREFIX + asked.key, ""))
        for asked in asked_fields(form)
    ]


def form_context(form: Mapping[str, Any]) -> dict[str, Any]:
    """What of the form's version the page draws: the scale, the flags, and what may be left open."""
    scale = scale_of(form)
    return {
        "ratings": [str(rating) for rating in scale],
        "lowest": scale[0],
        "highest": scale[-1],
        "flags": list(flag_labels(form).items()),
        "allow_partial": bool(form.get("allow_partial")),
        "allow_ties": bool(form.get("allow_ties", True)),
    }


def kept_fields(form: QueryDict) -> dict[str, str]:
    """What a half-filled form says of the prompt, for its draft."""
    names = [name for name in form if name.startswith(PREFIX)][:MAX_KEPT]
    return {name[:60]: form.get(name, "")[:MAX_TEXT] for name in names}


def field_values(label: Ranking) -> dict[str, str]:
    """What a label says of the prompt, as the page's form has it."""
    return {
        PREFIX + key: ("yes" if said else "") if isinstance(said, bool) else str(said)
        for key, said in label.prompt_fields.items()
    }


def read_fields(form: QueryDict, fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the form says of the prompt, and what is wrong with it by field. A box that is not ticked says no."""
    said: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for asked in asked_fields(fields):
        sent = form.get(PREFIX + asked.key, "")
        try:
            value = checked_answer(asked, sent == "yes" if asked.type == YES_NO else sent)
        except FormProblem as problem:
            problems[PREFIX + asked.key] = problem.message
        else:
            if value is not None:
                said[asked.key] = value
    return said, problems


def contradiction_words(answers: Sequence[RankedAnswer]) -> list[str]:
    """A sentence for each pair of answers that is ranked one way and rated the other."""
    ratings = [answer.rating for answer in answers]
    words = _("%(better)s is ranked above %(worse)s, but rated lower (%(low)s against %(high)s).")
    return [
        words % {"better": letter(better), "worse": letter(worse), "low": ratings[better], "high": ratings[worse]}
        for better, worse in contradictions([answer.rank for answer in answers], ratings)
    ]


def letter(position: int) -> str:
    return chr(ord("A") + position)
