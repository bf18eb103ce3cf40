"""Which column of a file is which of our fields, for files in no format that we know. Pure.

A mapping is {our field: column, or columns}. A column of a nested object is named with dots: `data.question`. Rows are
hostile: a mapping turns each into rows in our own spelling, or raises ImportProblem.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.conversations import instruction_text
from annotation.errors import ImportProblem
from annotation.formats.base import (
    ANSWERS,
    DEMONSTRATIONS,
    PROMPTS,
    RANKINGS,
    Format,
    Out,
    Row,
    assistant,
    system,
    user,
)

NAME = "mapping"
COUNTS_FROM = "choice_counts_from"
DEPTH = 3
MOST_COLUMNS = 200
MOST_ANSWERS = 16
CHOICES = {
    **dict.fromkeys(["a", "left", "first", "model_a", "response_a", "answer1", "response1", "chosen_a"], 0),
    **dict.fromkeys(["b", "right", "second", "model_b", "response_b", "answer2", "response2", "chosen_b"], 1),
}
TIES = {"tie", "equal", "same", "both", "draw", "none", "neither", "tie (bothbad)", ""}


@dataclass(frozen=True)
class Field:
    """One of our fields. `known` are names under which others have it, the likeliest first."""

    name: str
    label: Any  # a text, or one that is translated when it is shown
    help: Any
    kinds: tuple[str, ...]
    known: tuple[str, ...] = ()
    is_list: bool = False


ALL = (PROMPTS, DEMONSTRATIONS, RANKINGS, ANSWERS)
LABELS = (DEMONSTRATIONS, RANKINGS)
GROUPS = (RANKINGS, ANSWERS)

FIELDS: tuple[Field, ...] = (
    Field(
        "prompt", gettext_lazy("Prompt"), gettext_lazy("A text, or a list of messages."), ALL,
        ("prompt", "instruction", "question", "query", "input_text", "messages", "text", "user", "problem", "title"),
    ),
    Field(
        "context", gettext_lazy("More of the prompt"), gettext_lazy("Follows the prompt after an empty line."), ALL,
        ("input", "context", "passage", "document", "article"),
    ),
    Field("system", gettext_lazy("System message"), "", ALL, ("system", "system_prompt", "system_message")),
    Field(
        "completion", gettext_lazy("Answer"), gettext_lazy("What a model is to learn to say."), (DEMONSTRATIONS,),
        ("completion", "output", "answer", "response", "reply", "target", "assistant", "solution"),
    ),
    Field(
        "answers", gettext_lazy("Answers"), gettext_lazy("Several columns with an answer each, or one with a list."),
        GROUPS, ("completions", "answers", "responses", "candidates", "outputs", "samples", "generations"),
        is_list=True,
    ),
    Field(
        "models", gettext_lazy("Models"), gettext_lazy("Who gave each answer, in the same order."), GROUPS,
        ("models", "model_names", "policies"), is_list=True,
    ),
    Field(
        "chosen", gettext_lazy("Better answer"), gettext_lazy("Of a pair, instead of answers and their order."),
        (RANKINGS,), ("chosen", "preferred", "better", "winner_text", "accepted"),
    ),
    Field(
        "rejected", gettext_lazy("Worse answer"), "", (RANKINGS,),
        ("rejected", "dispreferred", "worse", "loser_text"),
    ),
    Field(
        "choice", gettext_lazy("Which is better"),
        gettext_lazy("Of two answers: 1 or 2 (0 is a tie), a or b, left or right. A list is several people's."),
        (RANKINGS,), ("choice", "preference", "winner", "label", "annotators", "better_response", "vote", "selected"),
    ),
    Field(
        "ranks", gettext_lazy("Ranks"), gettext_lazy("1 is best; a column an answer, or one with a list."), (RANKINGS,),
        ("ranks", "ranking", "rank"), is_list=True,
    ),
    Field(
        "scores", gettext_lazy("Scores"), gettext_lazy("More is better; instead of ranks."), (RANKINGS,),
        ("scores", "ratings", "rewards"), is_list=True,
    ),
    Field("labeler", gettext_lazy("Labeler"), gettext_lazy("Who made the label; shown under a pseudonym."), LABELS,
          ("labeler", "annotator", "worker", "annotator_id", "worker_id", "user_id", "judge", "rater")),
    Field("submitted_at", gettext_lazy("When"), "", LABELS, ("submitted_at", "created_at", "timestamp", "date")),
    Field("guideline", gettext_lazy("Guideline"), gettext_lazy("Under which rules, by name or version."), LABELS,
          ("guideline", "guideline_version", "instruction_version")),
    Field("category", gettext_lazy("Category"), "", ALL, ("category",)),
    Field("language", gettext_lazy("Language"), "", ALL, ("language", "lang", "locale")),
    Field("group", gettext_lazy("Group"), gettext_lazy("Rows of one group stay in one split."), ALL,
          ("group", "group_id", "author", "source_doc")),
    Field("source_id", gettext_lazy("Id"), gettext_lazy("The same id is the same prompt."), ALL,
          ("source_id", "id", "prompt_id", "question_id", "uid", "uuid")),
)  # fmt: skip
BY_NAME = {field.name: field for field in FIELDS}
PASSED_ON = ("labeler", "submitted_at", "guideline", "category", "language", "group", "source_id")


def fields_of(kind: str) -> list[Field]:
    return [field for field in FIELDS if kind in field.kinds]


# --- Columns -----------------------------------------------------------------------------------------


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The columns of some rows in the order in which they come, those of nested objects with dots."""
    found: dict[str, None] = {}
    for row in rows:
        for name in names_in(row, "", DEPTH):
            found.setdefault(name)
            if len(found) == MOST_COLUMNS:
                return list(found)
    return list(found)


def names_in(row: Row, before: str, depth: int) -> Iterator[str]:
    for name, value in row.items():
        if not isinstance(name, str) or not name.isprintable() or len(name) > 200:
            continue
        yield before + name
        if isinstance(value, Mapping) and depth > 1:
            yield from names_in(value, f"{before}{name}.", depth - 1)


def value_of(row: Row, column: str) -> Any:
    """The value in a column, None where the row has none."""
    if column in row:
        return row[column]
    first, dot, rest = column.partition(".")
    inner = row.get(first)
    return value_of(inner, rest) if dot and isinstance(inner, Mapping) else None


def guessed(kind: str, columns: Sequence[str]) -> dict[str, Any]:
    """A first mapping, by the columns' names."""
    by_name = {name.lower().rsplit(".", 1)[-1]: name for name in reversed(columns)}
    mapping: dict[str, Any] = {}
    taken: set[str] = set()
    for field in fields_of(kind):
        column = next((by_name[name] for name in field.known if name in by_name and by_name[name] not in taken), None)
        if column is not None:
            mapping[field.name] = [column] if field.is_list else column
            taken.add(column)
    if kind in GROUPS and "answers" not in mapping and "chosen" not in mapping:
        numbered = numbered_columns(
            columns, ("answer", "response", "completion", "output", "sample", "text", "candidate")
        )
        models = numbered_columns(columns, ("model",))
        mapping |= {"answers": numbered} if numbered else {}
        mapping |= {"models": models} if models and len(models) == len(numbered) else {}
    return mapping


def numbered_columns(columns: Sequence[str], stems: Sequence[str]) -> list[str]:
    """Columns such as answer1, answer_2 or response_a, of the first stem that two of them have."""
    for stem in stems:
        found = [name for name in columns if is_numbered(name.lower().rsplit(".", 1)[-1], stem)]
        if len(found) >= 2:
            return found[:MOST_ANSWERS]
    return []


def is_numbered(name: str, stem: str) -> bool:
    rest = name.removeprefix(stem).lstrip("_- ")
    return name.startswith(stem) and (rest.isdigit() or (len(rest) == 1 and rest.isalpha()))


# --- A mapping as it comes from a form or a program ----------------------------------------------------


def checked(kind: str, mapping: object) -> dict[str, Any]:
    """The mapping with what it leaves open taken away. Raises ImportProblem."""
    if not isinstance(mapping, Mapping):
        raise ImportProblem(_("The mapping must be an object: our field to the file's column."))
    clean: dict[str, Any] = {}
    for name, column in mapping.items():
        if name == COUNTS_FROM:
            clean |= {name: counted_from(column)} if kind == RANKINGS else {}
            continue
        field = BY_NAME.get(name) if isinstance(name, str) else None
        if field is None or kind not in field.kinds:
            raise ImportProblem(
                _("There is no field %(name)s for %(kind)s. Choose from: %(known)s.")
                % {"name": f"{name!r:.40}", "kind": kind, "known": ", ".join(f.name for f in fields_of(kind))}
            )
        columns = [part for part in (column if isinstance(column, list) else [column]) if part not in (None, "")]
        if not all(isinstance(part, str) and len(part) <= 400 and "\0" not in part for part in columns):
            raise ImportProblem(_("The field %(name)s must name a column of the file.") % {"name": name})
        if len(columns) > (MOST_ANSWERS if field.is_list else 1):
            raise ImportProblem(_("The field %(name)s has too many columns.") % {"name": name})
        if columns:
            clean[name] = columns if field.is_list else columns[0]
    return complete(kind, clean)


def counted_from(value: object) -> int:
    """Whether the first of two answers is 0 or 1 in the column that says which is better."""
    if value in ("0", "1", 0, 1) and not isinstance(value, bool):
        return int(value)
    raise ImportProblem(_("%(name)s must be 0 or 1") % {"name": COUNTS_FROM})


def complete(kind: str, mapping: dict[str, Any]) -> dict[str, Any]:
    """The mapping, if it says what the kind needs. Raises ImportProblem."""
    if "prompt" not in mapping:
        raise ImportProblem(_("Say which column is the prompt."))
    if kind == DEMONSTRATIONS and "completion" not in mapping:
        raise ImportProblem(_("Say which column is the answer."))
    if kind == ANSWERS and "answers" not in mapping:
        raise ImportProblem(_("Say which columns are the answers."))
    if kind == RANKINGS:
        pair = "chosen" in mapping and "rejected" in mapping
        order = sum(name in mapping for name in ("choice", "ranks", "scores"))
        if not pair and not ("answers" in mapping and order == 1):
            raise ImportProblem(
                _(
                    "Say which columns are the better and the worse answer, or the answers and "
                    "one of: which is better, ranks, scores."
                )
            )
    return mapping


# --- Rows --------------------------------------------------------------------------------------------


def format_of(mapping: Mapping[str, Any]) -> Format:
    """The mapping as a format of its own."""
    return Format(
        name=NAME,
        label=gettext_lazy("by the mapping"),
        recognise=lambda row: False,
        readers={
            PROMPTS: lambda row: iter([shared(row, mapping)]),
            DEMONSTRATIONS: lambda row: demonstrations(row, mapping),
            RANKINGS: lambda row: rankings(row, mapping),
            ANSWERS: lambda row: iter([{**shared(row, mapping), "completions": completions(row, mapping)}]),
        },
    )


def shared(row: Row, mapping: Mapping[str, Any]) -> Out:
    out: Out = {"prompt": prompt_of(row, mapping)}
    for name in PASSED_ON:
        if name in mapping and (value := value_of(row, mapping[name])) not in (None, ""):
            out[name] = value
    return out


def prompt_of(row: Row, mapping: Mapping[str, Any]) -> list[Out]:
    value = structured(value_of(row, mapping["prompt"]))
    context = value_of(row, mapping["context"]) if "context" in mapping else None
    opening = value_of(row, mapping["system"]) if "system" in mapping else None
    if value is None:
        raise ImportProblem(_("the column %(name)s is empty; it is the prompt") % {"name": mapping["prompt"]})
    said = messages_of(value) if isinstance(value, list) else [user(instruction_text(value, context))]
    return [system(opening), *said] if isinstance(opening, str) and opening.strip() else said


def messages_of(value: list[Any]) -> list[Out]:
    """Messages by role and content, or by from and value; an answer at their end is not part of the prompt."""
    roles = {"human": "user", "gpt": "assistant"}
    messages = []
    for item in value:
        if not isinstance(item, Mapping):
            raise ImportProblem(_("the prompt is a list; it must hold messages with role and content"))
        role = item.get("role") or item.get("from")
        role = roles.get(role, role) if isinstance(role, str) else role
        messages.append({"role": role, "content": item.get("content", item.get("value"))})
    return messages[:-1] if len(messages) > 1 and messages[-1]["role"] == "assistant" else messages


def demonstrations(row: Row, mapping: Mapping[str, Any]) -> Iterator[Out]:
    answer = structured(value_of(row, mapping["completion"]))
    if answer is None:
        raise ImportProblem(_("the column %(name)s is empty; it is the answer") % {"name": mapping["completion"]})
    yield {**shared(row, mapping), "completion": answer}


def completions(row: Row, mapping: Mapping[str, Any]) -> list[Out]:
    """The answers of a row; a column without one is left out."""
    return [item for item in answer_slots(row, mapping) if item is not None]


def answer_slots(row: Row, mapping: Mapping[str, Any]) -> list[Out | None]:
    """The answers by their places, None where a place has none."""
    names = listed(row, mapping, "models")
    slots: list[Out | None] = []
    for place, answer in enumerate(listed(row, mapping, "answers")):
        of = answer if isinstance(answer, Mapping) else {}
        text = of.get("content", of.get("text", of.get("response"))) if of else answer
        model = names[place] if place < len(names) else of.get("model")
        slots.append(
            None if answer is None else {"content": last_turn(text), "model": model if isinstance(model, str) else ""}
        )
    return slots


def last_turn(text: object) -> object:
    """A text, or what the assistant says last in a list of messages."""
    return [assistant(messages_last(text))] if isinstance(text, list) else text


def messages_last(messages: list[Any]) -> object:
    last = messages[-1] if messages else None
    return last.get("content", last.get("value")) if isinstance(last, Mapping) else None


def rankings(row: Row, mapping: Mapping[str, Any]) -> Iterator[Out]:
    base = shared(row, mapping)
    if "chosen" in mapping and "rejected" in mapping and "answers" not in mapping:
        pair = {name: last_turn(structured(value_of(row, mapping[name]))) for name in ("chosen", "rejected")}
        for name, value in pair.items():
            if value is None:
                raise ImportProblem(_("the column %(name)s is empty") % {"name": mapping[name]})
        yield {**base, **pair}
        return
    slots = answer_slots(row, mapping)
    orders = list(ranks_of(row, mapping, len(slots)))
    for number, ranks in enumerate(orders, start=1):
        who = {"labeler": f"{base.get('labeler') or 'annotator'} {number}"} if len(orders) > 1 else {}
        kept = [(item, rank) for item, rank in zip(slots, ranks, strict=True) if item is not None]
        yield {**base, "completions": [item for item, _rank in kept], "ranks": [rank for _item, rank in kept], **who}


def ranks_of(row: Row, mapping: Mapping[str, Any], count: int) -> Iterator[list[int | None]]:
    """The orders that a row gives to its answers: one, or one a person where the choice is a list."""
    if "choice" in mapping:
        value = structured(value_of(row, mapping["choice"]))
        for choice in value if isinstance(value, list) else [value]:
            yield order_of_choice(choice, mapping, count)
        return
    name = "ranks" if "ranks" in mapping else "scores"
    numbers = [number_of(value) for value in listed(row, mapping, name)]
    if len(numbers) != count:
        raise ImportProblem(
            _("there are %(count)s answers and %(numbers)s %(name)s; there must be one an answer")
            % {"count": count, "numbers": len(numbers), "name": name}
        )
    known = sorted({number for number in numbers if number is not None}, reverse=name == "scores")
    places = {number: place for place, number in enumerate(known, start=1)}
    yield [None if number is None else places[number] for number in numbers]


def order_of_choice(choice: object, mapping: Mapping[str, Any], count: int) -> list[int | None]:
    if count != 2:
        raise ImportProblem(_("which is better tells the order of two answers; here are %(count)s") % {"count": count})
    place = choice_of(choice, mapping["answers"], mapping.get(COUNTS_FROM, 1))
    if place is None:
        raise ImportProblem(
            _("the choice is %(choice)s; write the answer's number, a or b, left or right, tie, or the answer's column")
            % {"choice": f"{choice!r:.40}"}
        )
    orders: list[list[int | None]] = [[1, 2], [2, 1], [1, 1]]
    return orders[place]


def choice_of(choice: object, answers: Sequence[str], first: int) -> int | None:
    """0 for the first answer, 1 for the second, 2 for a tie. Numbers count from `first`; 0, or else 2, is a tie."""
    if isinstance(choice, str):
        text = choice.strip().lower()
        names = {name.lower(): place for place, name in enumerate(answers[:2])}
        if text in names or text in CHOICES:
            return names.get(text, CHOICES.get(text))
        if text in TIES:
            return 2 if text else None
        choice = int(text) if text in {"0", "1", "2"} else None
    if isinstance(choice, bool) or not isinstance(choice, int | float):
        return None
    places: dict[float, int] = {0: 2, 1: 0, 2: 1} if first else {0: 0, 1: 1, 2: 2}
    return places.get(choice)


def listed(row: Row, mapping: Mapping[str, Any], name: str) -> list[Any]:
    """The values of a field of several: of its columns, or of the list in its only one; missing ones left out."""
    columns = mapping.get(name, [])
    values = [structured(value_of(row, column)) for column in columns]
    if len(columns) == 1 and isinstance(values[0], list):
        return list(values[0])
    return values


def number_of(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, bool) and isinstance(value, int | float | str):
            number = float(value)
            if math.isfinite(number):
                return number
    except (ValueError, OverflowError):
        pass
    raise ImportProblem(_("%(value)s is no number") % {"value": f"{value!r:.40}"})


def structured(value: Any) -> Any:
    """A cell of a CSV file that holds a list or an object is one; anything else stays as it is."""
    if isinstance(value, str) and value[:1] in "[{" and len(value) > 1:
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, list | dict) else value
    return value
