"""Canonical rows: what every snapshot and export is made of. Streamed, in an order that never changes, in few queries.

Labelers appear under their pseudonyms only. The names of the fields follow TRL's where TRL has one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db.models import (
    BooleanField,
    Case,
    Count,
    Exists,
    IntegerField,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from annotation.errors import PlackettError
from annotation.fields import Category, Flag
from annotation.models import (
    Demonstration,
    FormVersion,
    Origin,
    Pool,
    Project,
    Prompt,
    Purpose,
    RankedResponse,
    Ranking,
    Split,
)
from annotation.models.prompts import style_of
from annotation.ranking_form import scale_of
from annotation.rankings import most_agreed, normalise_ranks
from annotation.selectors.feedback import is_returned
from annotation.selectors.forms import flags_known

CHUNK = 1000
OVERLAPS = ("all", "latest", "majority")
FLAGGED = ("ranking", "answer")


class QueryProblem(PlackettError):
    """A query that asks for something that does not exist."""


@dataclass(frozen=True, kw_only=True)
class RowQuery:
    """Which rows. An empty list restricts nothing.

    A predicate is a field here, a line in `query_value` if its values are few, and a condition in `select_labels`; a
    snapshot's manifest then holds it, and `frontend.snapshot_page` says it in words. Predicates on the quality of the
    work belong here too, once there is something to ask: which screening a labeler passed, how reliable they are, and
    whether a label was adjudicated. They restrict labels as `labelers` does, before `overlap` is resolved.
    """

    pools: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    purpose: str = Purpose.TRAIN
    """train or eval; empty for both. Only labels have one."""
    labelers: tuple[str, ...] = ()
    """Only labels by these people, named by their pseudonyms."""
    labelers_out: tuple[str, ...] = ()
    """No label by these people."""
    held_out_labelers: tuple[str, ...] = ()
    """Labels by these people are a split of their own, which nothing trains on, whatever split the prompt is in."""
    flags_out: tuple[str, ...] = ()
    """Leave out what carries one of these flags, the usual ones or the project's own; only answers in rankings have
    flags."""
    flagged: str = "ranking"
    """What goes with a flagged answer: the whole ranking, or that answer alone, as long as two ranked ones are left."""
    overlap: str = "all"
    """Where several labelers labeled a task: all of their labels, the latest alone, or (rankings) the one that agrees
    most with the others, see `annotation.rankings.most_agreed`."""
    extras: bool = False
    """Also labels that came when the task had all it wanted."""
    returned: bool = False
    """Also labels that a reviewer returned and that nobody has edited since."""
    since: datetime | None = None
    """Submitted (for prompts: added) at this time or later."""
    until: datetime | None = None
    """Submitted (for prompts: added) before this time."""


KNOWN: dict[str, list[str]] = {
    "pools": Pool.values,
    "splits": Split.values,
    "categories": Category.values,
    "origins": Origin.values,
}
ELSEWHERE = frozenset({"ties", "tie_policy", "leaks"})  # said in a snapshot's query, and meant for its files


def query_of(query: Mapping[str, Any] | RowQuery | None) -> RowQuery:
    """Return the query that a form, the API or a snapshot wrote as a mapping, or refuse it in words."""
    if isinstance(query, RowQuery):
        return query
    values: dict[str, Any] = {}
    names = {item.name for item in fields(RowQuery)}
    for name, value in (query or {}).items():
        if name in ELSEWHERE:
            continue
        if name not in names:
            raise QueryProblem(
                _("There is no filter %(name)s. Known filters: %(known)s.")
                % {"name": name, "known": ", ".join(sorted(names))}
            )
        values[name] = query_value(name, value)
    return RowQuery(**values)


def query_value(name: str, value: Any) -> Any:
    if name in {"since", "until"}:
        return moment(name, value)
    if name in {"extras", "returned"}:
        return bool(value)
    if name == "overlap":
        return one_of(name, value or "all", OVERLAPS)
    if name == "flagged":
        return one_of(name, value or "ranking", FLAGGED)
    if name == "purpose":
        return one_of(name, value or "", ["", *Purpose.values])
    listed = tuple(str(item) for item in ([value] if isinstance(value, str) else value or ()) if item)
    for item in listed:
        if name in KNOWN:
            one_of(name, item, KNOWN[name])
    return listed


def one_of(name: str, value: Any, known: Any) -> str:
    if value not in known:
        raise QueryProblem(
            _("%(name)s is %(value)s; it must be one of %(known)s.")
            % {"name": name, "value": f"{value!r:.40}", "known": ", ".join(item for item in known if item)}
        )
    return str(value)


def moment(name: str, value: Any) -> datetime | None:
    if value in (None, "") or isinstance(value, datetime):
        return value or None
    try:
        found: datetime | None = parse_datetime(str(value))
        day = None if found else parse_date(str(value))
    except ValueError:
        found = day = None
    if found is None and day is not None:
        found = datetime(day.year, day.month, day.day)
    if found is None:
        raise QueryProblem(
            _("%(name)s is %(value)s; write a date such as 2026-01-31.") % {"name": name, "value": f"{value!r:.40}"}
        )
    return found if timezone.is_aware(found) else timezone.make_aware(found)


# --- Which labels ---------------------------------------------------------------------------------


def demonstrations_for(project: Project, query: Mapping[str, Any] | RowQuery | None = None) -> QuerySet[Demonstration]:
    asked = query_of(query)
    if asked.overlap == "majority":
        raise QueryProblem(_("Texts have no majority. Take all demonstrations of a task, or only the latest."))
    if asked.flags_out:
        raise QueryProblem(_("Only answers in rankings have flags. Leave the flags open for demonstrations."))
    return select_labels(Demonstration.objects.all(), project, asked)


def rankings_for(project: Project, query: Mapping[str, Any] | RowQuery | None = None) -> QuerySet[Ranking]:
    """With the overlap "majority" these are the candidates; `ranking_rows` chooses among them."""
    asked = query_of(query)
    check_flags(project, asked)
    return select_labels(without_flags(Ranking.objects.all(), asked), project, asked)


def check_flags(project: Project, asked: RowQuery) -> None:
    """Raise QueryProblem for a flag that nobody here was ever asked for: it would leave nothing out."""
    if not set(asked.flags_out) <= set(Flag.values):
        known = flags_known(project)
        for flag in asked.flags_out:
            one_of("flags_out", flag, known)


def prompts_for(project: Project, query: Mapping[str, Any] | RowQuery | None = None) -> QuerySet[Prompt]:
    """The prompts that are still offered."""
    asked = query_of(query)
    prompts = Prompt.objects.filter(prompt_condition(asked, ""), project=project, withdrawn_at__isnull=True)
    return within(prompts, asked, "created_at").order_by("id")


def select_labels(labels: QuerySet[Any], project: Project, query: RowQuery) -> QuerySet[Any]:
    labels = labels.filter(prompt_condition(query, "prompt__"), project=project, is_current=True)
    if query.purpose:
        labels = labels.filter(purpose=query.purpose)
    if query.origins:
        labels = labels.filter(origin__in=query.origins)
    if query.labelers:
        labels = labels.filter(labeler__pseudonym__in=query.labelers)
    if query.labelers_out:
        labels = labels.exclude(labeler__pseudonym__in=query.labelers_out)
    if not query.extras:
        labels = labels.filter(counts=True)
    if not query.returned:
        labels = labels.filter(~is_returned())
    labels = within(labels, query, "submitted_at")
    if query.overlap == "latest":
        # By id where two were submitted at one time, so that one and only one is the latest.
        labels = labels.annotate(held_out=held_out_condition(query))
        labels = labels.filter(~Exists(later_than(labels)))
    return labels.order_by("id")


def later_than(labels: QuerySet[Any]) -> QuerySet[Any]:
    """Labels of the same task that came later, held-out labelers apart: their label replaces nobody else's."""
    later = Q(submitted_at__gt=OuterRef("submitted_at")) | Q(
        submitted_at=OuterRef("submitted_at"), pk__gt=OuterRef("pk")
    )
    return labels.filter(later, task=OuterRef("task"), held_out=OuterRef("held_out"))


def without_flags(rankings: QuerySet[Ranking], query: RowQuery) -> QuerySet[Ranking]:
    """Rankings that are left when flagged answers go, or when they take their ranking along."""
    if not query.flags_out:
        return rankings
    answers = RankedResponse.objects.filter(ranking=OuterRef("pk")).annotate(flag_text=Cast("flags", TextField()))
    flagged = Q()
    for flag in query.flags_out:
        flagged |= Q(flag_text__contains=f'"{flag}"')
    if query.flagged == "ranking":
        return rankings.filter(~Exists(answers.filter(flagged)))
    kept = answers.filter(~flagged, rank__isnull=False).order_by().values("ranking").annotate(number=Count("pk"))
    return rankings.annotate(kept=Subquery(kept.values("number"), output_field=IntegerField())).filter(kept__gte=2)


def held_out_condition(query: RowQuery) -> Case:
    """Whether a label is by someone who is held out."""
    return Case(
        When(labeler__pseudonym__in=query.held_out_labelers, then=Value(True)),
        default=Value(False),
        output_field=BooleanField(),
    )


def within(rows: QuerySet[Any], query: RowQuery, field: str) -> QuerySet[Any]:
    if query.since:
        rows = rows.filter(**{f"{field}__gte": query.since})
    if query.until:
        rows = rows.filter(**{f"{field}__lt": query.until})
    return rows


def prompt_condition(query: RowQuery, path: str) -> Q:
    condition = Q()
    for field, values in (
        ("pool", query.pools),
        ("split", query.splits),
        ("category", query.categories),
        ("language", query.languages),
    ):
        if values:
            condition &= Q(**{f"{path}{field}__in": values})
    return condition


# --- Rows -----------------------------------------------------------------------------------------
#
# A million rows are no objects of the ORM: their columns are read as they are, those of a chunk's answers in one query
# more. A page of a list has the objects anyhow; `values_of` reads the same columns from those.

Values = tuple[Any, ...]
FormValues = tuple[int | None, dict[str, int]]
"""A form's version, and the scale of its ratings: a 4 of 5 is not a 4 of 7."""

PROMPT = ("id", "messages", "category", "language", "group", "source", "source_name", "author_id", "split", "pool")
DEMONSTRATION = (
    *("id", "prompt__messages", "response__text", "prompt__category", "prompt__language", "labeler__pseudonym"),
    *(
        "guideline__version",
        "imported_guideline",
        "form__version",
        "origin",
        "revision",
        "prompt__split",
        "prompt__pool",
    ),
)
RANKING = (
    *("id", "prompt__messages", "prompt__category", "prompt_fields", "labeler__pseudonym", "guideline__version"),
    *("imported_guideline", "form_id", "purpose", "origin", "counts", "started_at", "submitted_at", "active_seconds"),
    *("prompt__language", "batch_id", "task__round__number", "revision", "prompt__split", "prompt__pool"),
)
RANKED = (
    *("ranking_id", "response_id", "response__text", "response__origin", "response__model_id"),
    *("response__imported_author", "response__decoding", "position", "rank", "rating", "flags"),
)
POSITION, RANK = RANKED.index("position"), RANKED.index("rank")
# Read as texts: an object of each id takes longer than all else, and nearly all of the JSON is empty.
AS_TEXT = frozenset({"ranking_id", "response_id", "response__decoding", "flags"})
READ_RANKED = tuple(Cast(name, TextField()) if name in AS_TEXT else name for name in RANKED)
READ_RANKING = (Cast("id", TextField()), *RANKING[1:])


def values_of(row: Any, columns: Sequence[str]) -> Values:
    """What `values_list` would give of an object that was read already, with what it refers to."""
    found = []
    for column in columns:
        value = row
        for name in column.split("__"):
            value = None if value is None else getattr(value, name)
        found.append(value)
    return tuple(found)


def demonstration_rows(project: Project, query: Mapping[str, Any] | RowQuery | None = None) -> Iterator[dict[str, Any]]:
    """Yield the demonstrations that the query selects as canonical rows, by id."""
    labels = demonstrations_for(project, query)
    return map(demonstration_of, labels.values_list(*DEMONSTRATION).iterator(chunk_size=CHUNK))


def demonstrations_with_all(
    project: Project, query: Mapping[str, Any] | RowQuery | None = None
) -> QuerySet[Demonstration]:
    """As demonstrations_for, with all that `demonstration_row` reads."""
    related = ("prompt", "response", "labeler", "guideline", "form")
    return demonstrations_for(project, query).select_related(*related)


def ranking_rows(project: Project, query: Mapping[str, Any] | RowQuery | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rankings that the query selects as canonical rows, by id; with the overlap "majority" by task."""
    asked = query_of(query)
    forms = Forms()
    labels = rankings_for(project, asked)
    if asked.overlap == "majority":
        found = one_a_task(labels, asked)
    else:
        found = with_answers(labels.values_list(*READ_RANKING).iterator(chunk_size=CHUNK))
    for label, ranked in found:
        yield without_flagged_answers(ranking_of(label, ranked, forms), asked)


def with_answers(labels: Iterable[Values]) -> Iterator[tuple[Values, list[Values]]]:
    """Each ranking with its answers by their ids, those of a chunk of rankings read at once."""
    iterator = iter(labels)
    while chunk := list(islice(iterator, CHUNK)):
        ranked: dict[str, list[Values]] = {label[0]: [] for label in chunk}
        answers = RankedResponse.objects.filter(ranking__in=list(ranked)).order_by("response_id")
        for answer in answers.values_list(*READ_RANKED):
            ranked[answer[0]].append(answer)
        for label in chunk:
            yield label, ranked[label[0]]


def one_a_task(labels: QuerySet[Ranking], query: RowQuery) -> Iterator[tuple[Values, list[Values]]]:
    """Of each task's rankings the one that agrees most with the others. Held-out labelers are a group of their own:
    what they say must not choose what is trained on."""
    held_out = held_out_condition(query)
    ordered = labels.annotate(held_out=held_out).order_by("task_id", "held_out", "submitted_at", "id")
    stream = with_answers(ordered.values_list(*READ_RANKING, "task_id", "held_out").iterator(chunk_size=CHUNK))
    for _key, group in groupby(stream, key=lambda item: item[0][len(RANKING) :]):
        rankings = list(group)
        label, ranked = rankings[most_agreed([[answer[RANK] for answer in ranked] for _label, ranked in rankings])]
        yield label[: len(RANKING)], ranked


def without_flagged_answers(row: dict[str, Any], query: RowQuery) -> dict[str, Any]:
    """The row without the answers that carry a flag which was excluded, the others' ranks without gaps."""
    out = set(query.flags_out)
    if not out or query.flagged != "answer" or not any(out & set(item["flags"]) for item in row["completions"]):
        return row
    kept = [
        (item, rank)
        for item, rank in zip(row["completions"], row["ranks"], strict=True)
        if not out & set(item["flags"])
    ]
    ids = {item["id"] for item, _rank in kept}
    return {
        **row,
        "completions": [item for item, _rank in kept],
        "ranks": normalise_ranks([rank for _item, rank in kept]),
        "presented_order": [key for key in row["presented_order"] if key in ids],
    }


def rankings_with_all(project: Project, query: Mapping[str, Any] | RowQuery | None = None) -> QuerySet[Ranking]:
    """As rankings_for, with all that `ranking_row` reads."""
    ranked = RankedResponse.objects.select_related("response").order_by("response_id")
    return (
        rankings_for(project, query)
        .select_related("prompt", "labeler", "guideline", "form", "task__round")
        .prefetch_related(Prefetch("ranked_responses", queryset=ranked))
    )


def prompt_rows(project: Project, query: Mapping[str, Any] | RowQuery | None = None) -> Iterator[dict[str, Any]]:
    """Yield the prompts that the query selects as canonical rows, by id."""
    return map(prompt_of, prompts_for(project, query).values_list(*PROMPT).iterator(chunk_size=CHUNK))


def prompt_row(prompt: Prompt) -> dict[str, Any]:
    return prompt_of(values_of(prompt, PROMPT))


def prompt_of(values: Values) -> dict[str, Any]:
    key, messages, category, language, group, source, source_name, author_id, split, pool = values
    style = style_of(source, source_name, author_id)
    return {
        "id": str(key),
        "prompt": messages,
        "category": category,
        "language": language,
        "group": group,
        "source": source,
        "style": style.value if style else None,
        "split": split,
        "pool": pool,
    }


def demonstration_row(label: Demonstration) -> dict[str, Any]:
    return demonstration_of(values_of(label, DEMONSTRATION))


def demonstration_of(values: Values) -> dict[str, Any]:
    key, messages, text, category, language, labeler, guideline, imported, form, *rest = values
    origin, revision, split, pool = rest
    return {
        "id": str(key),
        "prompt": messages,
        "completion": [{"role": "assistant", "content": text}],
        "category": category,
        "language": language,
        "labeler": labeler,
        "guideline_version": guideline,
        **imported_guideline(imported),
        "form_version": form,
        "origin": origin,
        "revision": revision,
        "split": split,
        "pool": pool,
    }


def ranking_row(label: Ranking) -> dict[str, Any]:
    ranked = [values_of(item, RANKED) for item in label.ranked_responses.all()]
    return ranking_of(values_of(label, RANKING), ranked, {label.form_id: form_values(label.form)})


def ranking_of(values: Values, ranked: list[Values], forms: Mapping[UUID | None, FormValues]) -> dict[str, Any]:
    """`completions` are by id, whoever ranked them, and `ranks` stand in the same places; null was not ranked."""
    key, messages, category, fields, labeler, guideline, imported, form, purpose, *rest = values
    origin, counts, started_at, submitted_at, active_seconds, language, batch, round_number, *rest = rest
    revision, split, pool = rest
    form_version, rating_scale = forms[form]
    completions = [completion(item) for item in ranked]
    return {
        "id": id_text(key),
        "prompt": messages,
        "prompt_fields": {"category": category, **fields},
        "completions": completions,
        "ranks": [item[RANK] for item in ranked],
        "presented_order": presented_order(completions, [item[POSITION] for item in ranked]),
        "labeler": labeler,
        "guideline_version": guideline,
        **imported_guideline(imported),
        "form_version": form_version,
        "rating_scale": rating_scale,
        "purpose": purpose,
        "origin": origin,
        "counts": counts,
        "started_at": started_at.isoformat(),
        "submitted_at": submitted_at.isoformat(),
        "active_seconds": active_seconds,
        "language": language,
        "batch": str(batch) if batch else None,
        "round": round_number,
        "revision": revision,
        "split": split,
        "pool": pool,
    }


def imported_guideline(name: str) -> dict[str, str]:
    """The guideline that an imported label came with; others have no such field, and stay the bytes that they were."""
    return {"imported_guideline": name} if name else {}


def presented_order(completions: Sequence[Mapping[str, Any]], positions: Sequence[int]) -> list[str]:
    """The answers' ids as they were shown."""
    return [item["id"] for _position, item in sorted(zip(positions, completions, strict=True), key=itemgetter(0))]


class Forms(dict[UUID | None, FormValues]):
    """Forms by their ids, each read when the first label of it comes by."""

    def __missing__(self, form_id: UUID | None) -> FormValues:
        self[form_id] = form_values(FormVersion.objects.get(pk=form_id) if form_id else None)
        return self[form_id]


def form_values(form: FormVersion | None) -> FormValues:
    scale = scale_of(form.fields if form else {})
    return form.version if form else None, {"minimum": scale[0], "maximum": scale[-1]}


def completion(values: Values) -> dict[str, Any]:
    _ranking, key, text, origin, model_id, imported_author, decoding, _position, _rank, rating, flags = values
    return {
        "id": id_text(key),
        "content": text,
        "author": origin,
        # The id of our model, or the name that an import gave.
        "model": str(model_id) if model_id else imported_author or None,
        "decoding": json_value(decoding),
        "ratings": {} if rating is None else {"overall": rating},
        "flags": json_value(flags),
    }


def id_text(key: UUID | str) -> str:
    """An id as we write it; SQLite keeps it without dashes."""
    if not isinstance(key, str):
        return str(key)
    return key if len(key) == 36 else f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"


def json_value(value: Any) -> Any:
    """What a JSON column holds, where it was read as text too."""
    if not isinstance(value, str):
        return value
    if value == "{}":
        return {}
    return [] if value == "[]" else json.loads(value)
