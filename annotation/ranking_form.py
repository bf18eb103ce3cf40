"""The ranking form as data: what a project may ask, what a labeler may say, and how two versions differ, in words.

A form is a mapping such as `annotation.fields.default_ranking_fields`; versions made before a key existed lack it.
Pure: no table, no settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.fields import HIGHEST_RATING, LOWEST_RATING, RATING_MAX, RATING_MIN, Flag, PromptField

KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
RESERVED = frozenset({"category"})  # the prompt's own, beside what labelers say of it
MAX_LABEL = 120
MAX_OWN = 20
MAX_CHOICES = 20
MAX_CHOICE = 80
MAX_TEXT = 1000
YES_NO, CHOICE, TEXT = "yes_no", "choice", "text"
TYPES = (YES_NO, CHOICE, TEXT)
Form = Mapping[str, Any]


class FormProblem(PlackettError):
    """A form that can't be asked, or an answer that does not fit the form."""


@dataclass(frozen=True)
class AskedField:
    """One question about the prompt."""

    key: str
    label: str
    type: str = YES_NO
    choices: tuple[str, ...] = ()
    required: bool = False


# --- Reading a form ---------------------------------------------------------------------------------------------------


def scale_of(form: Form) -> range:
    """The ratings that may be given."""
    rating = form.get("rating") or {}
    return range(rating.get("minimum", RATING_MIN), rating.get("maximum", RATING_MAX) + 1)


def flag_labels(form: Form) -> dict[str, str]:
    """The flags that are asked, in their order, {key: words}."""
    own = {row["key"]: row["label"] for row in form.get("own_flags") or []}
    return {key: own.get(key) or known_label(Flag, key) for key in form.get("flags") or []}


def asked_fields(form: Form) -> list[AskedField]:
    """The questions about the prompt, in their order."""
    return [asked_field(row) for row in form.get("prompt_fields") or []]


def asked_field(row: Mapping[str, Any]) -> AskedField:
    return AskedField(
        key=row["key"],
        label=row.get("label") or known_label(PromptField, row["key"]),
        type=row.get("type", YES_NO),
        choices=tuple(row.get("choices") or ()),
        required=bool(row.get("required")),
    )


def known_label(names: Any, key: str) -> str:
    return str(names(key).label) if key in names.values else key


# --- Writing a form ---------------------------------------------------------------------------------------------------


def checked_form(form: object) -> dict[str, Any]:
    """Return the form as it is kept, or refuse it in words that say the fix."""
    if not isinstance(form, Mapping):
        raise FormProblem(_("A form is an object with rating, flags and the rest."))
    unknown = sorted(set(form) - KEYS)
    if unknown:
        words = _("A form has no %(name)s. It has: %(known)s.")
        raise FormProblem(words % {"name": unknown[0][:40], "known": ", ".join(sorted(KEYS))})
    own = checked_own_flags(form.get("own_flags") or [])
    return {
        "rating": checked_scale(form.get("rating")),
        "flags": checked_flags(form.get("flags") or [], own),
        "own_flags": own,
        "prompt_fields": checked_questions(form.get("prompt_fields") or []),
        "allow_ties": truth(form, "allow_ties", True),
        "allow_partial": truth(form, "allow_partial", False),
    }


KEYS = frozenset({"rating", "flags", "own_flags", "prompt_fields", "allow_ties", "allow_partial"})


def checked_scale(rating: object) -> dict[str, int]:
    if rating is None:
        return {"minimum": RATING_MIN, "maximum": RATING_MAX}
    low: Any = rating.get("minimum") if isinstance(rating, Mapping) else None
    high: Any = rating.get("maximum") if isinstance(rating, Mapping) else None
    if not (whole(low) and whole(high) and LOWEST_RATING <= low < high <= HIGHEST_RATING):
        words = _("The scale goes from a whole number to a higher one, within %(low)s to %(high)s.")
        raise FormProblem(words % {"low": LOWEST_RATING, "high": HIGHEST_RATING})
    return {"minimum": low, "maximum": high}


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def checked_own_flags(rows: object) -> list[dict[str, str]]:
    own = [
        {"key": checked_key(row.get("key"), Flag.values), "label": checked_words(row.get("label"))}
        for row in objects(rows, _("own flags"))
    ]
    check_once(row["key"] for row in own)
    return own


def checked_flags(keys: object, own: Sequence[Mapping[str, str]]) -> list[str]:
    """The flags that are asked: the known ones in their usual order, then the project's own."""
    if not isinstance(keys, Sequence) or isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise FormProblem(_("The flags must be a list of names."))
    known = [*Flag.values, *(row["key"] for row in own)]
    unknown = sorted(set(keys) - set(known))
    if unknown:
        words = _("There is no flag %(flag)s. Known flags: %(known)s.")
        raise FormProblem(words % {"flag": unknown[0][:40], "known": ", ".join(known)})
    return [key for key in known if key in set(keys) or key not in Flag.values]


def checked_questions(rows: object) -> list[dict[str, Any]]:
    found = [
        checked_question(row) for row in objects(rows, _("questions about the prompt"), MAX_OWN + len(PromptField))
    ]
    check_once(row["key"] for row in found)
    return found


def checked_question(row: Mapping[str, Any]) -> dict[str, Any]:
    if row.get("key") in PromptField.values:
        return {"key": row["key"], "type": YES_NO}
    kind = row.get("type")
    if kind not in TYPES:
        words = _("A question is one of %(types)s, not %(type)s.")
        raise FormProblem(words % {"types": ", ".join(TYPES), "type": f"{kind!r:.40}"})
    question = {
        "key": checked_key(row.get("key"), RESERVED),
        "label": checked_words(row.get("label")),
        "type": kind,
        "required": truth(row, "required", False) and kind != YES_NO,
    }
    return question | ({"choices": checked_choices(row.get("choices"))} if kind == CHOICE else {})


def checked_choices(choices: object) -> list[str]:
    if not isinstance(choices, Sequence) or isinstance(choices, str):
        raise FormProblem(_("The choices must be a list of texts."))
    found = [checked_words(choice, MAX_CHOICE) for choice in choices]
    if not 2 <= len(found) <= MAX_CHOICES or len(set(found)) < len(found):
        raise FormProblem(_("A choice has 2 to %(limit)s possible answers, each once.") % {"limit": MAX_CHOICES})
    return found


def objects(rows: object, what: str, limit: int = MAX_OWN) -> list[Mapping[str, Any]]:
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not all(isinstance(row, Mapping) for row in rows):
        raise FormProblem(_("The %(what)s must be a list of objects.") % {"what": what})
    if len(rows) > limit:
        raise FormProblem(_("At most %(limit)s %(what)s are allowed.") % {"limit": limit, "what": what})
    return list(rows)


def checked_key(key: object, taken: Iterable[str]) -> str:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        words = _("The key %(key)s won't do: use small Latin letters, digits and _, a letter first, such as too_long.")
        raise FormProblem(words % {"key": f"{key!r:.50}"})
    if key in set(taken):
        raise FormProblem(_("The key %(key)s is taken. Choose another.") % {"key": key})
    return key


def checked_words(words: object, limit: int = MAX_LABEL) -> str:
    """A text of one line."""
    said = words.strip() if isinstance(words, str) else ""
    if not said or len(said) > limit or not said.isprintable():
        raise FormProblem(_("Say in one line of at most %(limit)s characters what is asked.") % {"limit": limit})
    return said


def check_once(keys: Iterable[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise FormProblem(_("The key %(key)s is there twice. Give each its own.") % {"key": key})
        seen.add(key)


def truth(row: Mapping[str, Any], name: str, usual: bool) -> bool:
    value = row.get(name, usual)
    if not isinstance(value, bool):
        raise FormProblem(_("%(name)s must be true or false.") % {"name": name})
    return value


# --- What a labeler says of the prompt --------------------------------------------------------------------------------


def checked_answers(form: Form, said: object) -> dict[str, Any]:
    """Return what was said of the prompt, in the form's order, with what was left open left out; or refuse it."""
    if not isinstance(said, Mapping):
        raise FormProblem(_("What is said of the prompt must be an object, {key: answer}."))
    questions = asked_fields(form)
    unknown = sorted(str(key) for key in set(said) - {question.key for question in questions})
    if unknown:
        raise FormProblem(_("This form asks nothing named %(key)s. Reload the page.") % {"key": unknown[0][:40]})
    found = {question.key: checked_answer(question, said.get(question.key)) for question in questions}
    return {key: value for key, value in found.items() if value is not None}


def checked_answer(question: AskedField, value: object) -> Any:
    if isinstance(value, str) and question.type != YES_NO:
        value = value.strip() or None
    if value is None:
        if question.required:
            raise FormProblem(_("Answer “%(question)s”.") % {"question": question.label})
        return None
    if question.type == YES_NO and isinstance(value, bool):
        return value
    if question.type == CHOICE and value in question.choices:
        return value
    if question.type == TEXT and isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value:
        return value.replace("\r\n", "\n")
    words = {
        YES_NO: _("“%(question)s” takes yes or no."),
        CHOICE: _("“%(question)s” takes one of its choices."),
        TEXT: _("“%(question)s” takes a text of at most %(limit)s characters."),
    }[question.type]
    raise FormProblem(words % {"question": question.label, "limit": MAX_TEXT})


# --- Two versions -----------------------------------------------------------------------------------------------------


def differences(before: Form, after: Form) -> list[str]:
    """What changed from one version to the next, a sentence each."""
    parts = (scale_differences, flag_differences, question_differences, switch_differences)
    return [sentence for part in parts for sentence in part(before, after)]


def scale_differences(before: Form, after: Form) -> list[str]:
    was, now = scale_of(before), scale_of(after)
    if was == now:
        return []
    words = _("Ratings go from %(low)s to %(high)s; they went from %(was_low)s to %(was_high)s.")
    return [words % {"low": now[0], "high": now[-1], "was_low": was[0], "was_high": was[-1]}]


def flag_differences(before: Form, after: Form) -> list[str]:
    was, now = flag_labels(before), flag_labels(after)
    said = [_("The flag “%(name)s” is asked now.") % {"name": now[key]} for key in now if key not in was]
    said += [_("The flag “%(name)s” is asked no more.") % {"name": was[key]} for key in was if key not in now]
    renamed = [key for key in now if key in was and was[key] != now[key]]
    words = _("The flag “%(was)s” is now worded “%(name)s”.")
    return said + [words % {"was": was[key], "name": now[key]} for key in renamed]


def question_differences(before: Form, after: Form) -> list[str]:
    was = {question.key: question for question in asked_fields(before)}
    now = {question.key: question for question in asked_fields(after)}
    said = [_("“%(name)s” is asked about the prompt now.") % {"name": now[key].label} for key in now if key not in was]
    said += [_("“%(name)s” is asked no more.") % {"name": was[key].label} for key in was if key not in now]
    changed = [key for key in now if key in was and was[key] != now[key]]
    return said + [_("The question “%(name)s” is asked differently.") % {"name": now[key].label} for key in changed]


def switch_differences(before: Form, after: Form) -> list[str]:
    words = {
        ("allow_ties", True): _("Two answers may share a rank now."),
        ("allow_ties", False): _("No two answers may share a rank any more."),
        ("allow_partial", True): _("An answer may be left unranked now."),
        ("allow_partial", False): _("Every answer must be ranked now."),
    }
    usual = {"allow_ties": True, "allow_partial": False}
    return [
        words[name, bool(after.get(name, usual[name]))]
        for name in usual
        if bool(before.get(name, usual[name])) != bool(after.get(name, usual[name]))
    ]
