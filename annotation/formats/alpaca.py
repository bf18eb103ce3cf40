"""Alpaca, as LLaMA-Factory extends it.

instruction, input, output; system; history of [question, answer]; chosen and rejected in preferences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.utils.translation import gettext as _

from annotation.conversations import instruction_text
from annotation.errors import ImportProblem
from annotation.formats.base import (
    DEMONSTRATIONS,
    PROMPTS,
    RANKINGS,
    Format,
    Out,
    Row,
    assistant,
    demonstration,
    has,
    system,
    user,
)
from annotation.formats.chat import filing, ordered_pairs


def alpaca_prompt(row: Row) -> list[Out]:
    messages = [system(row["system"])] if row.get("system") else []
    for turn in row.get("history") or []:
        if not isinstance(turn, list) or len(turn) != 2:
            raise ImportProblem(_("history must be a list of [question, answer]"))
        messages += [user(turn[0]), assistant(turn[1])]
    return [*messages, user(instruction_text(row.get("instruction"), row.get("input")))]


def alpaca_prompts(row: Row) -> Iterator[Out]:
    yield {**filing(row), "prompt": alpaca_prompt(row)}


def alpaca_demonstrations(row: Row) -> Iterator[Out]:
    if not has(row, "output"):
        raise ImportProblem(_("there is no answer; name it output"))
    yield demonstration(alpaca_prompt(row), row["output"], **filing(row))


def alpaca_pairs(row: Row) -> Iterator[Out]:
    if not has(row, "chosen", "rejected"):
        raise ImportProblem(_("there is no pair; name its answers chosen and rejected"))
    yield {**filing(row), "prompt": alpaca_prompt(row), "chosen": row["chosen"], "rejected": row["rejected"]}


def write_alpaca(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """Demonstrations as Alpaca: the last question is the instruction, what was said before it the history."""
    return ({**conversation(row["prompt"]), "output": row["completion"][-1]["content"]} for row in rows)


def write_alpaca_pairs(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """Rankings as Alpaca preferences."""
    for prompt, chosen, rejected in ordered_pairs(rows, ties):
        yield {**conversation(prompt), "chosen": chosen, "rejected": rejected}


def conversation(messages: list[Out]) -> Out:
    opening = [message["content"] for message in messages if message["role"] == "system"]
    said = [message["content"] for message in messages if message["role"] != "system"]
    history = [list(turn) for turn in zip(said[:-1:2], said[1::2], strict=True)]
    return {
        "instruction": said[-1],
        "input": "",
        **({"system": opening[0]} if opening else {}),
        **({"history": history} if history else {}),
    }


ALPACA = Format(
    name="alpaca",
    label="Alpaca",
    recognise=lambda row: has(row, "instruction") and not has(row, "completions"),
    readers={PROMPTS: alpaca_prompts, DEMONSTRATIONS: alpaca_demonstrations, RANKINGS: alpaca_pairs},
)
