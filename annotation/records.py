"""From a row of a file to what it says: a prompt, a demonstration or a ranking, in any of the spellings we know.

Pure: no table, no Django. A row that says nothing usable is an ImportProblem in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from django.utils.translation import gettext as _

from annotation.conversations import (
    ConversationProblem,
    Message,
    clean_messages,
    clean_text,
    instruction_text,
    prompt_of_text,
    text_hash,
)
from annotation.errors import ImportProblem, PlackettError
from annotation.rankings import Rank, ranks_validate

MAX_ANSWERS = 16
MAX_FIELDS = 50
RATING_MIN, RATING_MAX = 1, 7
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PromptRecord:
    messages: list[Message]
    category: str = ""
    language: str = ""
    group: str = ""
    source_id: str = ""
    pool: str = ""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Who made a label and when, as far as the file tells."""

    labeler: str = ""
    purpose: str = "train"
    started_at: datetime | None = None
    submitted_at: datetime | None = None
    active_seconds: float = 0.0
    guideline: str = ""
    """The name or version of the rules that it was made under, as the file has it."""


@dataclass(frozen=True, kw_only=True)
class DemonstrationRecord:
    prompt: PromptRecord
    text: str
    work: Work


@dataclass(frozen=True, kw_only=True)
class AnswerRecord:
    """One answer of a group. `author` is the model's or person's name; with `occurrence` it tells equal texts apart."""

    text: str
    author: str = ""
    occurrence: int = 0
    rank: Rank = None
    rating: int | None = None
    flags: tuple[str, ...] = ()

    @cached_property
    def key(self) -> tuple[str, str, int]:
        return (text_hash(self.text), self.author, self.occurrence)


@dataclass(frozen=True, kw_only=True)
class RankingRecord:
    """`answers` are in the order in which they were shown; `prompt_fields` is what the labeler said of the prompt."""

    prompt: PromptRecord
    answers: list[AnswerRecord]
    work: Work
    prompt_fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnswersRecord:
    """A prompt with answers that nobody has ranked yet."""

    prompt: PromptRecord
    answers: list[AnswerRecord]
    purpose: str = "train"


Record = PromptRecord | DemonstrationRecord | RankingRecord | AnswersRecord


def record_of(kind: str, row: Row) -> Record:
    """Return what a row says. kind: prompts, demonstrations, rankings or answers.

    Raises: ImportProblem, whatever the row holds.
    """
    try:
        return PARSERS[kind](row)
    except ImportProblem:
        raise
    except PlackettError as problem:
        raise ImportProblem(problem.message) from problem
    except RecursionError:  # in showing a value of hundreds of nested lists
        raise ImportProblem(_("the line is nested too deeply")) from None


# --- Prompts ---------------------------------------------------------------------------------------


def prompt_record(row: Row) -> PromptRecord:
    return prompt_with(row, prompt_messages(row), source_id=short(row, "source_id", 200) or short(row, "id", 200))


def prompt_messages(row: Row) -> list[Message]:
    """The prompt under any of its names: messages, prompt (text or messages), instruction with input."""
    if row.get("messages") is not None:
        return clean_messages(row["messages"])
    if row.get("prompt") is not None:
        prompt = row["prompt"]
        return prompt_of_text(prompt) if isinstance(prompt, str) else clean_messages(prompt)
    if row.get("instruction") is not None:
        return prompt_of_text(instruction_text(row["instruction"], row.get("input")))
    raise ImportProblem(_("there is no prompt; name it prompt, messages or instruction"))


def prompt_with(row: Row, messages: list[Message], *, source_id: str = "") -> PromptRecord:
    fields = row.get("prompt_fields")
    return PromptRecord(
        messages=messages,
        category=short(row, "category", 24) or short(fields if isinstance(fields, Mapping) else {}, "category", 24),
        language=short(row, "language", 16),
        group=short(row, "group", 200),
        pool=short(row, "pool", 8),
        source_id=source_id,
    )


# --- Demonstrations --------------------------------------------------------------------------------


def demonstration_record(row: Row) -> DemonstrationRecord:
    source_id = short(row, "source_id", 200) or short(row, "id", 200)
    if row.get("messages") is not None:
        conversation = clean_messages(row["messages"], ends_with="assistant")
        prompt = prompt_with(row, conversation[:-1], source_id=source_id)
        return DemonstrationRecord(prompt=prompt, text=conversation[-1]["content"], work=work_of(row))
    answer = next((row[name] for name in ("completion", "output", "response") if row.get(name) is not None), None)
    if answer is None:
        raise ImportProblem(_("there is no answer; name it completion or output, or end messages with assistant"))
    prompt = prompt_with(row, prompt_messages(row), source_id=source_id)
    return DemonstrationRecord(prompt=prompt, text=answer_text(answer, "the answer"), work=work_of(row))


def answer_text(answer: object, what: object, *, may_be_empty: bool = False) -> str:
    """An answer as text, or as messages of which the only one, or the last, is the assistant's."""
    if isinstance(answer, list):
        last = answer[-1] if answer else None
        if not isinstance(last, Mapping) or last.get("role") != "assistant":
            raise ImportProblem(_("%(what)s is a list that does not end with a message by assistant") % {"what": what})
        answer = last.get("content")
    return clean_text(answer, what=what, may_be_empty=may_be_empty)


def ranked_text(answer: object, what: object) -> str:
    """An answer to be ranked: models say nothing at times, and people rank that too."""
    return answer_text(answer, what, may_be_empty=True)


# --- Rankings --------------------------------------------------------------------------------------


def ranking_record(row: Row) -> RankingRecord:
    if row.get("completions") is not None:
        return ranking_of_group(row)
    if row.get("chosen") is not None and row.get("rejected") is not None:
        return ranking_of_pair(row)
    raise ImportProblem(_("there is no ranking; give completions and ranks, or prompt, chosen and rejected"))


def ranking_of_pair(row: Row) -> RankingRecord:
    chosen, rejected = ranked_text(row["chosen"], "chosen"), ranked_text(row["rejected"], "rejected")
    messages = shared_prompt(row) if not has_prompt(row) else prompt_messages(row)
    answers = [
        AnswerRecord(text=chosen, author=short(row, "chosen_model", 200), rank=1),
        AnswerRecord(text=rejected, author=short(row, "rejected_model", 200), rank=2),
    ]
    return group_record(row, prompt_with(row, messages), answers)


def has_prompt(row: Row) -> bool:
    return any(row.get(name) is not None for name in ("prompt", "messages", "instruction"))


def shared_prompt(row: Row) -> list[Message]:
    """The prompt of a pair that has none of its own: what both conversations say before their last turn."""
    chosen, rejected = row["chosen"], row["rejected"]
    if not (isinstance(chosen, list) and isinstance(rejected, list)):
        raise ImportProblem(_("there is no prompt; name it prompt, messages or instruction"))
    before, other = clean_messages(chosen[:-1]), clean_messages(rejected[:-1])
    if before != other:
        raise ImportProblem(
            _("chosen and rejected answer different conversations; both must share all but the last turn")
        )
    return before


def ranking_of_group(row: Row) -> RankingRecord:
    items = group_items(row)
    ranks = row.get("ranks")
    if ranks is None:
        ranks = [item.get("rank") for item in items]
    if not isinstance(ranks, list) or len(ranks) != len(items):
        raise ImportProblem(
            _("ranks must be a list of %(count)s numbers, one an answer, 1 being best") % {"count": len(items)}
        )
    check_scale(row, items)
    answers = [
        answer_record(item, rank, place)
        for place, (item, rank) in enumerate(
            zip(items, ranks_validate(ranks, allow_partial=True), strict=True), start=1
        )
    ]
    return group_record(row, prompt_with(row, prompt_messages(row)), as_presented(row, items, answers))


def check_scale(row: Row, items: list[dict[str, Any]]) -> None:
    """Refuse ratings of a scale that is not ours: a 4 of 5 kept as a 4 of 7 would be wrong, and nobody would see it."""
    scale = row.get("rating_scale")
    if scale is None or scale == {"minimum": RATING_MIN, "maximum": RATING_MAX}:
        return
    if any(item.get("rating") is not None or item.get("ratings") for item in items):
        words = _("the ratings are on another scale than %(low)s to %(high)s; convert them, or leave them out")
        raise ImportProblem(words % {"low": RATING_MIN, "high": RATING_MAX})


def fields_of(row: Row) -> dict[str, Any]:
    """What was said of the prompt in a row of ours, beside its category: short texts, and yes or no."""
    fields = row.get("prompt_fields")
    if not isinstance(fields, Mapping):
        return {}
    found: dict[str, Any] = {}
    for key, said in fields.items():
        if key == "category" or not isinstance(said, str | bool) or (isinstance(said, str) and not said.strip()):
            continue
        if len(found) == MAX_FIELDS:
            raise ImportProblem(_("more than %(limit)s things are said of the prompt") % {"limit": MAX_FIELDS})
        name = clean_text(key, what=_("a key of prompt_fields"), limit=64)
        found[name] = said if isinstance(said, bool) else clean_text(said, what=name, limit=1000)
    return found


def group_items(row: Row) -> list[dict[str, Any]]:
    completions = row["completions"]
    if not isinstance(completions, list) or not all(isinstance(item, dict | str) for item in completions):
        raise ImportProblem(_("completions must be a list of answers, each a text or an object with content"))
    if not 2 <= len(completions) <= MAX_ANSWERS:
        raise ImportProblem(
            _("there are %(count)s answers; a ranking has 2 to %(limit)s")
            % {"count": len(completions), "limit": MAX_ANSWERS}
        )
    return [item if isinstance(item, dict) else {"content": item} for item in completions]


def answer_record(item: Row, rank: Rank, place: int) -> AnswerRecord:
    what = AnswerName(place)
    content = item.get("content") if item.get("content") is not None else item.get("text")
    author = short(item, "model", 200) or short(item, "author_name", 200)
    return AnswerRecord(
        text=ranked_text(content, what),
        author=author,
        rank=rank,
        rating=rating_of(item, what),
        flags=flags_of(item, what),
    )


class AnswerName:
    """What a refusal calls an answer, in the reader's language."""

    def __init__(self, place: int) -> None:
        self.place = place

    def __str__(self) -> str:
        return _("answer %(place)s") % {"place": self.place}


def rating_of(item: Row, what: object) -> int | None:
    rating = item.get("rating")
    if rating is None and isinstance(item.get("ratings"), Mapping):
        rating = item["ratings"].get("overall")
    if rating is None:
        return None
    if isinstance(rating, bool) or not isinstance(rating, int) or not RATING_MIN <= rating <= RATING_MAX:
        raise ImportProblem(
            _("%(what)s is rated %(rating)s; a rating is a whole number from %(low)s to %(high)s")
            % {"what": what, "rating": f"{rating!r:.40}", "low": RATING_MIN, "high": RATING_MAX}
        )
    return rating


def flags_of(item: Row, what: object) -> tuple[str, ...]:
    """Flags as a list of names, or as an object {name: true or false}."""
    flags = item.get("flags")
    if flags is None:
        return ()
    if isinstance(flags, Mapping):
        flags = [name for name, is_set in flags.items() if is_set is True]
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        raise ImportProblem(_("the flags of %(what)s must be a list of names") % {"what": what})
    return tuple(
        clean_text(flag, what=_("a flag of %(what)s") % {"what": what}, limit=64) for flag in dict.fromkeys(flags)
    )


def as_presented(row: Row, items: list[dict[str, Any]], answers: list[AnswerRecord]) -> list[AnswerRecord]:
    """The answers in the order of presented_order, where it names them all."""
    order = row.get("presented_order")
    ids = [item.get("id") for item in items]
    if not isinstance(order, list) or not all(isinstance(key, str) for key in ids + order):
        return answers
    by_id = dict(zip(ids, answers, strict=True))
    if len(order) != len(answers) or set(order) != set(by_id) or len(by_id) < len(answers):
        return answers
    return [by_id[key] for key in order]


def group_record(row: Row, prompt: PromptRecord, answers: list[AnswerRecord]) -> RankingRecord:
    return RankingRecord(
        prompt=prompt, answers=numbered_answers(answers), work=work_of(row), prompt_fields=fields_of(row)
    )


def numbered_answers(answers: list[AnswerRecord]) -> list[AnswerRecord]:
    """Number the answers that can't be told apart, and refuse a group in which nothing can."""
    if len({answer.text for answer in answers}) < 2:
        raise ImportProblem(_("all answers have the same text; there is nothing to rank"))
    seen: dict[tuple[str, str], int] = {}
    numbered = []
    for answer in answers:
        place = seen.get((answer.text, answer.author), 0)
        seen[answer.text, answer.author] = place + 1
        numbered.append(replace(answer, occurrence=place) if place else answer)
    return numbered


# --- Answers that are to be ranked -------------------------------------------------------------------


def answers_record(row: Row) -> AnswersRecord:
    """A prompt with its answers: completions, or the two of a pair. What is said of their order is left out."""
    if row.get("completions") is not None:
        items = group_items(row)
        messages = prompt_messages(row)
    elif row.get("chosen") is not None and row.get("rejected") is not None:
        items = [{"content": row["chosen"]}, {"content": row["rejected"]}]
        messages = prompt_messages(row) if has_prompt(row) else shared_prompt(row)
    else:
        raise ImportProblem(_("there are no answers to rank; give completions, a list of two or more"))
    answers = [unranked(answer_record(item, None, place)) for place, item in enumerate(items, start=1)]
    prompt = prompt_with(row, messages, source_id=short(row, "source_id", 200))
    return AnswersRecord(prompt=prompt, answers=numbered_answers(answers), purpose=purpose_of(row))


def unranked(answer: AnswerRecord) -> AnswerRecord:
    return AnswerRecord(text=answer.text, author=answer.author)


# --- What all labels say -----------------------------------------------------------------------------


GUIDELINES = ("imported_guideline", "guideline", "guideline_version")
"""Where a label says under which guideline it was made; the first as our own rows keep one that came with a file."""


def work_of(row: Row) -> Work:
    started_at, submitted_at = moment(row, "started_at"), moment(row, "submitted_at")
    return Work(
        labeler=short(row, "labeler", 200),
        purpose=purpose_of(row),
        guideline=next(filter(None, (short(row, name, 120) for name in GUIDELINES)), ""),
        started_at=started_at,
        submitted_at=submitted_at,
        active_seconds=seconds(row),
    )


def purpose_of(row: Row) -> str:
    purpose = short(row, "purpose", 8) or "train"
    if purpose not in {"train", "eval"}:
        raise ImportProblem(_("the purpose is %(purpose)s; it must be train or eval") % {"purpose": repr(purpose)})
    return purpose


def moment(row: Row, name: str) -> datetime | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        if found is not None:
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ImportProblem(
        _("%(name)s is %(value)s; write it as 2026-01-31T12:00:00+00:00") % {"name": name, "value": f"{value!r:.40}"}
    )


def seconds(row: Row) -> float:
    value = row.get("active_seconds")
    if value is None or value == "":
        return 0.0
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= 1e7:
        raise ImportProblem(
            _("active_seconds is %(value)s; it must be a number of seconds") % {"value": f"{value!r:.40}"}
        )
    return number


def short(row: Row, name: str, limit: int) -> str:
    """A short text field, or a whole number as text; missing or null is empty."""
    value = row.get(name)
    if value is None or value == "":
        return ""
    if isinstance(value, str) and len(value) <= limit and value.isascii() and value.isprintable() and value.strip():
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if -(10**30) < value < 10**30 else None
    cleaned = clean_text(value, what=name, limit=limit).strip()
    if not cleaned.isprintable():
        raise ConversationProblem(
            _("%(name)s holds a line break or a control character; write it in one line") % {"name": name}
        )
    return cleaned


PARSERS: dict[str, Callable[[Row], Record]] = {
    "prompts": prompt_record,
    "demonstrations": demonstration_record,
    "rankings": ranking_record,
    "answers": answers_record,
}
