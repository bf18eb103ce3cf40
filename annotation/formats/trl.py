"""TRL's dataset types: prompt-only, prompt and completion, preference, unpaired preference.

The first three are our own spelling too: `annotation.records` reads them as they are, as texts or as messages. An
unpaired row (KTO: prompt, completion and a label) is a demonstration where the label is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.errors import ImportProblem
from annotation.fields import RATING_MAX, RATING_MIN
from annotation.formats.base import DEMONSTRATIONS, PROMPTS, RANKINGS, Format, Out, Row, assistant, has
from annotation.rankings import pairs


def as_it_is(row: Row) -> Iterator[Out]:
    yield dict(row)


def labelled_good(row: Row) -> Iterator[Out]:
    if row.get("label") is not True:
        raise ImportProblem(_("the answer is labelled as a bad one, so it is no demonstration"))
    yield {name: value for name, value in row.items() if name != "label"}


def write_prompt(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """TRL's prompt-only format."""
    return ({"prompt": row["prompt"]} for row in rows)


def write_prompt_completion(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """TRL's prompt-completion format, conversational (for its SFTTrainer)."""
    return ({"prompt": row["prompt"], "completion": row["completion"]} for row in rows)


def write_preference(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """TRL's preference format: a row for each pair that a ranking orders, at most C(K, 2).

    Tied pairs are dropped; "half" writes one both ways round, so that each answer wins once; "margin" writes it once
    with the margin 0, and for all others how many ranks lie between the two.
    """
    for row in rows:
        texts = [completion["content"] for completion in row["completions"]]
        for pair in pairs(row["ranks"], ties=ties):
            chosen, rejected = [assistant(texts[pair.chosen])], [assistant(texts[pair.rejected])]
            extra = {"margin": float(pair.margin)} if ties == "margin" else {}
            yield {"prompt": row["prompt"], "chosen": chosen, "rejected": rejected, **extra}
            if ties == "half" and not pair.margin:
                yield {"prompt": row["prompt"], "chosen": rejected, "rejected": chosen}


def write_unpaired(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """TRL's unpaired preference format (for its KTOTrainer): each answer with whether it is good.

    Good is an overall rating above the middle of its scale, bad one below it. Where a group has no ratings, its best
    ranked answers are good and its worst bad. What is neither is left out.
    """
    for row in rows:
        for completion, good in zip(row["completions"], goodness(row), strict=True):
            if good is not None:
                yield {"prompt": row["prompt"], "completion": [assistant(completion["content"])], "label": good}


def goodness(row: Row) -> list[bool | None]:
    ratings = [(completion.get("ratings") or {}).get("overall") for completion in row["completions"]]
    if any(rating is not None for rating in ratings):
        middle = middle_rating(row)
        return [None if rating in (None, middle) else rating > middle for rating in ratings]
    ranked = [rank for rank in row["ranks"] if rank is not None]
    best, worst = min(ranked), max(ranked)
    return [None if rank is None or best == worst or best < rank < worst else rank == best for rank in row["ranks"]]


def middle_rating(row: Row) -> float:
    """The middle of the scale that the row's ratings were given on; of 1 to 7 where it does not tell."""
    scale = row.get("rating_scale") or {}
    return float(scale.get("minimum", RATING_MIN) + scale.get("maximum", RATING_MAX)) / 2


UNPAIRED = Format(
    name="trl-unpaired",
    label=gettext_lazy("TRL, unpaired preferences"),
    recognise=lambda row: has(row, "prompt", "completion") and isinstance(row.get("label"), bool),
    readers={DEMONSTRATIONS: labelled_good, PROMPTS: as_it_is},
)
PLACKETT = Format(
    name="plackett",
    label=gettext_lazy("Plackett's own rows, or TRL's"),
    recognise=lambda row: True,
    readers={PROMPTS: as_it_is, DEMONSTRATIONS: as_it_is, RANKINGS: as_it_is},
)
