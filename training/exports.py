"""Canonical rows in the formats that other trainers read. Pure: rows in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from annotation.rankings import pairs

Row = Mapping[str, Any]
Out = dict[str, Any]


def canonical(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """The rows as they are stored, the whole record of each label."""
    return (dict(row) for row in rows)


def prompt_completion(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """TRL's prompt-completion format, conversational (for its SFTTrainer)."""
    return ({"prompt": row["prompt"], "completion": row["completion"]} for row in rows)


def prompt_only(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """TRL's prompt-only format."""
    return ({"prompt": row["prompt"]} for row in rows)


def preference_pairs(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """TRL's preference format: a row for each pair that a ranking orders, at most C(K, 2).

    Tied pairs are dropped; "half" writes one both ways round, so that each answer wins once; "margin" writes it once
    with the margin 0, and for all others how many ranks lie between the two.
    """
    for row in rows:
        texts = [completion["content"] for completion in row["completions"]]
        for pair in pairs(row["ranks"], ties=ties):
            chosen, rejected = assistant(texts[pair.chosen]), assistant(texts[pair.rejected])
            extra = {"margin": float(pair.margin)} if ties == "margin" else {}
            yield {"prompt": row["prompt"], "chosen": chosen, "rejected": rejected, **extra}
            if ties == "half" and not pair.margin:
                yield {"prompt": row["prompt"], "chosen": rejected, "rejected": chosen}


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def texts(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """TRL's language modelling format."""
    return ({"text": row["text"]} for row in rows)


Format = Callable[[Iterable[Row], str], Iterator[Out]]
FORMATS: dict[str, dict[str, Format]] = {
    "corpus": {"canonical": canonical, "text": texts},
    "demonstrations": {"canonical": canonical, "prompt-completion": prompt_completion},
    "rankings": {"canonical": canonical, "preference": preference_pairs},
    "prompts": {"canonical": canonical, "prompt": prompt_only},
}
