"""The form in which a labeler writes a prompt: its fields, what a draft keeps of them, and what its page shows."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict

from annotation.fields import Category
from annotation.models import Assignment, PromptBrief, PromptStyle, WrittenPrompt
from annotation.prompt_writing import MAX_PAIRS, MIN_PAIRS
from annotation.services.prompt_writing import is_used

MAX_TEXT_CHARACTERS = 100_000
FILED = {"category": 24, "language": 16}  # field: characters at most


def brief_of(assignment: Assignment) -> PromptBrief:
    assert assignment.task.brief is not None, "the database has it that a task of this kind has one"
    return assignment.task.brief


def text_fields(brief: PromptBrief) -> list[str]:
    if brief.style != PromptStyle.FEW_SHOT:
        return ["text"]
    pairs = [f"{part}-{number}" for number in range(MAX_PAIRS) for part in ("query", "answer")]
    return ["instruction", *pairs, "query"]


def draft_from(form: QueryDict, assignment: Assignment) -> dict[str, Any]:
    """What to keep of a half-written prompt: the fields of its style, nothing else that a client may send."""
    texts = {name: form.get(name, "")[:MAX_TEXT_CHARACTERS] for name in text_fields(brief_of(assignment))}
    return texts | {name: form.get(name, "")[:limit] for name, limit in FILED.items()}


def parts_from(form: QueryDict) -> dict[str, Any]:
    """What `annotation.prompt_writing` takes."""
    pairs = [
        {"query": form.get(f"query-{number}", ""), "answer": form.get(f"answer-{number}", "")}
        for number in range(MAX_PAIRS)
    ]
    return {name: form.get(name, "") for name in ("text", "instruction", "query")} | {"pairs": pairs}


def values_of(label: WrittenPrompt) -> dict[str, Any]:
    """The form of a prompt that is there already."""
    values = {name: value for name, value in label.said.items() if name != "pairs"}
    for number, pair in enumerate(label.said.get("pairs", [])):
        values |= {f"query-{number}": pair["query"], f"answer-{number}": pair["answer"]}
    return values


def context(assignment: Assignment, values: Any, current: Any) -> dict[str, Any]:
    """What the page shows beside what all tasks' pages do."""
    brief = brief_of(assignment)
    pairs = [
        {
            "number": number + 1,
            "query": (f"query-{number}", values.get(f"query-{number}", "")),
            "answer": (f"answer-{number}", values.get(f"answer-{number}", "")),
            "required": number < MIN_PAIRS,
        }
        for number in range(MAX_PAIRS)
    ]
    return {
        "brief": brief,
        "pairs": pairs,
        "categories": Category.choices,
        "category": values.get("category") or "",
        "language": values.get("language") or brief.language or "",
        "is_used": isinstance(current, WrittenPrompt) and is_used(current.prompt),
    }
