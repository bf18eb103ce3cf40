"""The labeling forms: what the page sends, checked, and what a page shows again (a draft, a label, a refused form).

Answers are named by their position on the page (`rating-0`, `rank-0`, ...), never by an id that could tell who wrote
them; `Assignment.presented_order` says which answer stood where.
"""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.http import QueryDict
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from annotation.models import Assignment, Demonstration, Ranking, Response, TaskKind, User
from annotation.models.feedback import MAX_MESSAGE
from annotation.models.tasks import WRITTEN
from annotation.ranking_form import scale_of
from frontend import prompt_writing
from frontend.ranking_page import field_values, kept_fields, read_fields

MAX_TEXT_CHARACTERS = 100_000
MAX_HIDDEN_CHARACTERS = 64
# What a comparison's form may say, as the ranks of the two answers in presented order.
CHOICES: Mapping[str, tuple[int, int]] = {"a": (1, 2), "tie": (1, 1), "b": (2, 1)}

Values = Mapping[str, Any]  # field name -> text, or list of texts for flags


@dataclass(frozen=True)
class Clock:
    """Which submission this is, when its writing began, and for how long someone was at work on it."""

    submission_id: uuid.UUID
    started_at: datetime
    active_seconds: float


@dataclass(frozen=True)
class Answer:
    """One answer as the ranking page shows it. `letter` is all that the page says of where it comes from."""

    position: int
    response: Response
    rating: str = ""
    rank: str = ""
    flags: Sequence[str] = ()
    problem: str = ""

    @property
    def letter(self) -> str:
        return letter_of(self.position)


@dataclass(frozen=True)
class RankedAnswer:
    response_id: uuid.UUID
    rank: int | None
    rating: int | None
    flags: list[str]


@dataclass
class RankingInput:
    """A ranking form taken apart: the answers in presented order, and what is wrong with them."""

    answers: list[RankedAnswer] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)  # field name -> sentence
    prompt_fields: dict[str, Any] = field(default_factory=dict)


def letter_of(position: int) -> str:
    return chr(ord("A") + position)


def read_clock(form: Values, assignment: Assignment) -> Clock:
    """Read the hidden fields; what a broken browser sends there must not lose the label, so it is mended."""
    now = timezone.now()
    started_at = parse_moment(str(form.get("started_at", ""))) or assignment.assigned_at
    return Clock(
        submission_id=parse_uuid(str(form.get("submission_id", ""))) or uuid.uuid4(),
        started_at=min(max(started_at, assignment.assigned_at), now),
        active_seconds=parse_seconds(str(form.get("active_seconds", ""))),
    )


def parse_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def parse_moment(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    return moment if moment and timezone.is_aware(moment) else None


def parse_seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def draft_key(user: User) -> str:
    """The key with which this account's copies are encrypted in its browsers: the same at every sign-in."""
    return b64encode(salted_hmac("plackett.drafts", str(user.pk), algorithm="sha256").digest()).decode()


def draft_from(form: QueryDict, assignment: Assignment) -> dict[str, Any]:
    """What to keep of a half-filled form: the fields of its kind, nothing else that a client may send."""
    kept = ("started_at", "active_seconds", "touched", "tab")
    draft: dict[str, Any] = {name: form[name][:MAX_HIDDEN_CHARACTERS] for name in kept if name in form}
    if form.get("question"):  # one that was not sent yet
        draft["question"] = form["question"][:MAX_MESSAGE]
    if assignment.task.kind == TaskKind.PROMPT:
        return draft | prompt_writing.draft_from(form, assignment)
    if assignment.task.kind == TaskKind.COMPARISON:
        return draft | {"choice": form.get("choice", "")[:8]}
    if assignment.task.kind in WRITTEN:
        return draft | {"text": form.get("text", "")[:MAX_TEXT_CHARACTERS]}
    for position in range(len(assignment.presented_order)):
        draft[f"rating-{position}"] = form.get(f"rating-{position}", "")[:3]
        draft[f"rank-{position}"] = form.get(f"rank-{position}", "")[:3]
        draft[f"flags-{position}"] = [flag[:40] for flag in form.getlist(f"flags-{position}")][:50]
    return draft | kept_fields(form)


def posted_values(form: QueryDict, assignment: Assignment) -> dict[str, Any]:
    return draft_from(form, assignment) | {"submission_id": form.get("submission_id", "")}


def demonstration_values(label: Demonstration) -> dict[str, Any]:
    return {"text": label.response.text}


def ranking_values(label: Ranking) -> dict[str, Any]:
    """The form of a label that is there already, in the order in which its labeler saw the answers."""
    values: dict[str, Any] = {"touched": "yes"}
    for ranked in label.ranked_responses.all():
        values[f"rating-{ranked.position}"] = "" if ranked.rating is None else str(ranked.rating)
        values[f"rank-{ranked.position}"] = "" if ranked.rank is None else str(ranked.rank)
        values[f"flags-{ranked.position}"] = ranked.flags
    return values | field_values(label)


def comparison_values(label: Ranking) -> dict[str, Any]:
    """The form of a comparison that is there already."""
    ranks = tuple(ranked.rank for ranked in label.ranked_responses.all())
    return {"choice": next((choice for choice, meant in CHOICES.items() if meant == ranks), "")}


def answers_of(assignment: Assignment, values: Values, problems: Mapping[str, str] | None = None) -> list[Answer]:
    """The task's answers in this labeler's order, each with what the form says of it."""
    responses = {str(response.id): response for response in assignment.task.responses.all()}
    return [
        Answer(
            position=position,
            response=responses[response_id],
            rating=str(values.get(f"rating-{position}", "")),
            rank=str(values.get(f"rank-{position}", "")),
            flags=list(values.get(f"flags-{position}", [])),
            problem=" ".join(
                (problems or {}).get(name, "") for name in (f"rating-{position}", f"rank-{position}")
            ).strip(),
        )
        for position, response_id in enumerate(assignment.presented_order)
    ]


def read_ranking(form: QueryDict, assignment: Assignment, fields: Mapping[str, Any]) -> RankingInput:
    """Take a ranking form apart. Each answer wants a rating and a rank; where the project allows partial orders, one
    without a rank wants neither."""
    result = RankingInput()
    result.prompt_fields, result.problems = read_fields(form, fields)
    scale = scale_of(fields)
    for position, response_id in enumerate(assignment.presented_order):
        letter = letter_of(position)
        rating = number_in(form.get(f"rating-{position}", ""), scale)
        rank = number_in(form.get(f"rank-{position}", ""), range(1, len(assignment.presented_order) + 1))
        flags = [flag for flag in form.getlist(f"flags-{position}") if flag in fields["flags"]]
        if rating is None and not (rank is None and fields.get("allow_partial")):
            words = _("Rate answer %(letter)s from %(low)d to %(high)d.")
            result.problems[f"rating-{position}"] = words % {"letter": letter, "low": scale[0], "high": scale[-1]}
        if rank is None and not fields.get("allow_partial"):
            result.problems[f"rank-{position}"] = _("Give answer %(letter)s a rank.") % {"letter": letter}
        result.answers.append(RankedAnswer(uuid.UUID(str(response_id)), rank, rating, flags))
    return result


def read_comparison(form: QueryDict, assignment: Assignment) -> RankingInput:
    """Take a comparison's form apart: which of the two answers is better, or neither."""
    ranks = CHOICES.get(form.get("choice", ""))
    if ranks is None:
        return RankingInput(problems={"choice": _("Say which answer is better, or that they are equally good.")})
    ids = [uuid.UUID(str(key)) for key in assignment.presented_order]
    return RankingInput([RankedAnswer(key, rank, None, []) for key, rank in zip(ids, ranks, strict=True)])


def number_in(text: str, allowed: range) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) in allowed else None


def whole_number(text: str) -> int:
    """The number that a hidden field sends; 0, which is no version of anything, for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
