"""Anthropic's hh-rlhf: `chosen` and `rejected` as whole transcripts with "Human:" and "Assistant:" turns.

Both transcripts begin alike, and both last answers may begin with the same words: so the prompt is what is shared, cut
back to the last place where the assistant begins to speak.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.utils.translation import gettext as _

from annotation.errors import ImportProblem
from annotation.formats.base import (
    DEMONSTRATIONS,
    PROMPTS,
    RANKINGS,
    Format,
    Out,
    Row,
    demonstration,
    split_last_answer,
    without_last_answer,
    words,
)
from annotation.formats.chat import filing

TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


def transcript_messages(transcript: str) -> list[Out]:
    """The turns of a transcript, surrounding space left out."""
    marks = list(TURN.finditer(transcript))
    if not marks or transcript[: marks[0].start()].strip():
        raise ImportProblem(_("the transcript must begin with Human:"))
    ends = [mark.start() for mark in marks[1:]] + [len(transcript)]
    return [
        {"role": ROLES[mark[1]], "content": transcript[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]


def shared_prompt(chosen: str, rejected: str) -> str:
    """The transcript up to the answers that differ, or to those at the end where nothing does."""
    length = next((at for at, pair in enumerate(zip(chosen, rejected, strict=False)) if pair[0] != pair[1]), None)
    shared = chosen[: min(len(chosen), len(rejected)) if length is None else length]
    begins = [mark.end() for mark in TURN.finditer(shared) if mark[1] == "Assistant"]
    if not begins:
        raise ImportProblem(_("the two transcripts do not begin alike; they must share all but the last answer"))
    return shared[: begins[-1]]


def hh_pairs(row: Row) -> Iterator[Out]:
    chosen, rejected = words(row, "chosen"), words(row, "rejected")
    shared = shared_prompt(chosen, rejected)
    answers = [text[len(shared) :] for text in (chosen, rejected)]
    if any(TURN.search(answer) for answer in answers):
        raise ImportProblem(
            _("the two transcripts go apart before their last answer, so they do not answer one prompt")
        )
    prompt = without_last_answer(transcript_messages(shared))
    yield {**filing(row), "prompt": prompt, "chosen": answers[0].strip(), "rejected": answers[1].strip()}


def hh_demonstrations(row: Row) -> Iterator[Out]:
    """The chosen answer is what a model is to learn."""
    yield demonstration(*split_last_answer(transcript_messages(words(row, "chosen"))), **filing(row))


def hh_prompts(row: Row) -> Iterator[Out]:
    yield {**filing(row), "prompt": without_last_answer(transcript_messages(words(row, "chosen")))}


def is_hh(row: Row) -> bool:
    texts = [row.get("chosen"), row.get("rejected")]
    return all(isinstance(text, str) and TURN.match(text) for text in texts)


HH = Format(
    name="hh-rlhf",
    label="hh-rlhf",
    recognise=is_hh,
    readers={PROMPTS: hh_prompts, DEMONSTRATIONS: hh_demonstrations, RANKINGS: hh_pairs},
)
