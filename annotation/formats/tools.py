"""Exports of other labeling tools: Argilla's records and Label Studio's tasks.

Both let a project name its fields as it likes. What is read here is what their own RLHF templates use: a prompt under a
usual name, answers as fields (Argilla) or as a list of items or a numbered pair (Label Studio).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.errors import ImportProblem
from annotation.formats.base import (
    ANSWERS,
    DEMONSTRATIONS,
    PROMPTS,
    RANKINGS,
    Format,
    Out,
    Row,
    demonstration,
    key_of,
    mapping,
    objects,
    ranking,
    user,
)

PROMPT_NAMES = ("prompt", "instruction", "question", "query", "text", "context")
PAIRS_OF_NAMES = (
    ("answer1", "answer2"),
    ("answer_1", "answer_2"),
    ("response1", "response2"),
    ("response_a", "response_b"),
    ("text1", "text2"),
)


def prompt_in(fields: Row) -> list[Out]:
    for name in PROMPT_NAMES:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return [user(value)]
        if isinstance(value, list) and value:
            return value
    raise ImportProblem(_("there is no prompt; name its field one of %(known)s") % {"known": ", ".join(PROMPT_NAMES)})


# --- Argilla -----------------------------------------------------------------------------------------


def submitted(row: Row) -> list[Row]:
    """The responses that people submitted; drafts and discarded ones are not labels."""
    return [response for response in responses(row) if response.get("status", "submitted") == "submitted"]


def responses(row: Row) -> Sequence[Row]:
    """As a list with question_name, or as the SDK's export has them: {question: [{value, user_id}, ...]}."""
    found = row.get("responses")
    if not isinstance(found, Mapping):
        return objects(row, "responses")
    return [{**response, "question_name": name} for name in found for response in objects(found, name)]


def argilla_rankings(row: Row) -> Iterator[Out]:
    fields = mapping(row, "fields")
    prompt = prompt_in(fields)
    found = [(response, order) for response in submitted(row) for order in [order_of(response.get("value"))] if order]
    if not found:
        raise ImportProblem(_("nobody submitted a ranking for this record"))
    for response, order in found:
        items = [{"content": fields.get(name)} for name in order]
        yield ranking(prompt, items, list(order.values()), **argilla_filing(row), labeler=labeler_of(response))


def order_of(value: object) -> dict[str, int | None]:
    """Field name -> rank: from [{"value", "rank"}, ...], or from names in their order, best first."""
    if not isinstance(value, list) or len(value) < 2:
        return {}
    if all(isinstance(item, str) for item in value):
        return {name: place for place, name in enumerate(value, start=1)}
    if all(isinstance(item, Mapping) and isinstance(item.get("value"), str) for item in value):
        return {item["value"]: item.get("rank") for item in value}
    return {}


def argilla_demonstrations(row: Row) -> Iterator[Out]:
    prompt = prompt_in(mapping(row, "fields"))
    written = [response for response in submitted(row) if isinstance(response.get("value"), str)]
    if not written:
        raise ImportProblem(_("nobody submitted a text for this record"))
    for response in written:
        yield demonstration(prompt, response["value"], **argilla_filing(row), labeler=labeler_of(response))


def argilla_prompts(row: Row) -> Iterator[Out]:
    yield {"prompt": prompt_in(mapping(row, "fields")), **argilla_filing(row)}


def argilla_filing(row: Row) -> Out:
    return {"source_id": key_of(row.get("id"))}


def labeler_of(response: Row) -> str:
    return key_of(response.get("user_id"))


ARGILLA = Format(
    name="argilla",
    label="Argilla",
    recognise=lambda row: isinstance(row.get("fields"), dict) and ("responses" in row or "suggestions" in row),
    readers={PROMPTS: argilla_prompts, DEMONSTRATIONS: argilla_demonstrations, RANKINGS: argilla_rankings},
)

FLAT_PARTS = (".responses", ".response", ".suggestion")


def questions(row: Row) -> list[str]:
    """The questions of a flattened export: the columns `<question>.response` or, for several, `.responses`."""
    found = (name.removesuffix(part) for name in row for part in FLAT_PARTS[:2] if name.endswith(part))
    return list(dict.fromkeys(found))


def unflattened(row: Row) -> Out:
    """A row of a flattened export as the record that it was: what is no question's column is a field."""
    names = questions(row)
    asked = tuple(f"{name}." for name in names)
    fields = {
        name: value for name, value in row.items() if not name.startswith(asked) and not name.endswith(FLAT_PARTS)
    }
    answers = [response for name in names for response in flat_responses(row, name)]
    return {"id": row.get("id"), "fields": fields, "responses": answers}


def flat_responses(row: Row, question: str) -> Iterator[Out]:
    """One response a question, or lists of values, users and statuses in step."""
    if row.get(f"{question}.response") is not None:
        yield {"question_name": question, "value": row[f"{question}.response"]}
    values = row.get(f"{question}.responses")
    for place, value in enumerate(values if isinstance(values, list) else []):
        yield {
            "question_name": question,
            "value": value,
            "user_id": at(row.get(f"{question}.responses.users"), place),
            "status": at(row.get(f"{question}.responses.status"), place) or "submitted",
        }


def at(values: object, place: int) -> object:
    return values[place] if isinstance(values, list) and place < len(values) else None


ARGILLA_FLAT = Format(
    name="argilla-flat",
    label=gettext_lazy("Argilla, flattened"),
    recognise=lambda row: any(name.endswith(FLAT_PARTS) for name in row),
    readers={
        PROMPTS: lambda row: argilla_prompts(unflattened(row)),
        DEMONSTRATIONS: lambda row: argilla_demonstrations(unflattened(row)),
        RANKINGS: lambda row: argilla_rankings(unflattened(row)),
    },
)

# --- Label Studio ------------------------------------------------------------------------------------


def kept_annotations(row: Row) -> Iterator[tuple[Row, Sequence[Row]]]:
    """(annotation, its results) of those that were not cancelled."""
    for annotation in objects(row, "annotations"):
        if annotation.get("was_cancelled") is not True:
            yield annotation, objects(annotation, "result")


def studio_rankings(row: Row) -> Iterator[Out]:
    data = mapping(row, "data")
    prompt, items = prompt_in(data), items_in(data)
    found = False
    for annotation, results in kept_annotations(row):
        for result in results:
            ranks = ranks_in(result, list(items))
            if ranks is None:
                continue
            found = True
            contents = [{"content": content} for content in items.values()]
            yield ranking(prompt, contents, ranks, **studio_filing(row, annotation))
    if not found:
        raise ImportProblem(_("nobody ranked or compared the answers of this task"))


def items_in(data: Row) -> dict[str, object]:
    """The answers by their ids: a list of {id, title, body} or of texts, or a numbered pair of fields."""
    for value in data.values():
        if (
            isinstance(value, list)
            and len(value) >= 2
            and all(isinstance(item, Mapping) and "id" in item for item in value)
        ):
            return {key_of(item["id"]): item.get("body") or item.get("html") or item.get("title") for item in value}
    for names in PAIRS_OF_NAMES:
        if all(isinstance(data.get(name), str) for name in names):
            return {side: data[name] for side, name in zip(("left", "right"), names, strict=True)}
    raise ImportProblem(_("there are no answers: a list of items with ids, or two fields such as answer1 and answer2"))


def ranks_in(result: Row, ids: Sequence[str]) -> list[int | None] | None:
    """The ranks that a result gives to the answers, in their order; None where it is about something else."""
    value = result.get("value")
    if not isinstance(value, Mapping):
        return None
    if result.get("type") == "pairwise" and set(ids) == {"left", "right"}:
        sides: dict[str, list[int | None]] = {"left": [1, 2], "right": [2, 1]}
        return sides.get(key_of(value.get("selected")))
    order = value.get("ranker")
    if isinstance(order, Mapping):  # buckets: one of them is the ranking, "_" what was left unsorted
        named = [bucket for name, bucket in order.items() if name != "_" and isinstance(bucket, list)]
        order = named[0] if len(named) == 1 else None
    if not isinstance(order, list):
        return None
    places = {key_of(item): place for place, item in enumerate(order, start=1)}
    return [places.get(key) for key in ids]


def studio_demonstrations(row: Row) -> Iterator[Out]:
    prompt = prompt_in(mapping(row, "data"))
    found = False
    for annotation, results in kept_annotations(row):
        for result in results:
            if result.get("type") == "textarea":
                texts = mapping(result, "value").get("text")
                if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
                    found = True
                    yield demonstration(prompt, "\n".join(texts), **studio_filing(row, annotation))
    if not found:
        raise ImportProblem(_("nobody wrote a text for this task"))


def studio_prompts(row: Row) -> Iterator[Out]:
    yield {"prompt": prompt_in(mapping(row, "data")), "source_id": key_of(row.get("id"))}


def studio_answers(row: Row) -> Iterator[Out]:
    """The answers of a task, whether or not anybody has ranked them."""
    data = mapping(row, "data")
    items = [{"content": content} for content in items_in(data).values()]
    yield {"prompt": prompt_in(data), "completions": items, "source_id": key_of(row.get("id"))}


def studio_filing(row: Row, annotation: Row) -> Out:
    by = annotation.get("completed_by")
    labeler = key_of(by.get("id") if isinstance(by, Mapping) else by)
    spent = annotation.get("lead_time")
    seconds = spent if isinstance(spent, int | float) and not isinstance(spent, bool) and 0 <= spent <= 1e7 else 0
    found: Out = {"source_id": key_of(row.get("id")), "labeler": labeler, "active_seconds": seconds}
    if isinstance(annotation.get("created_at"), str):
        found["submitted_at"] = annotation["created_at"]
    return found


LABEL_STUDIO = Format(
    name="label-studio",
    label="Label Studio",
    recognise=lambda row: (
        isinstance(row.get("data"), dict)
        and any(isinstance(row.get(name), list) for name in ("annotations", "predictions"))
    ),
    readers={
        PROMPTS: studio_prompts,
        DEMONSTRATIONS: studio_demonstrations,
        RANKINGS: studio_rankings,
        ANSWERS: studio_answers,
    },
)
