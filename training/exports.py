"""Which formats each kind of snapshot can be downloaded in, and what each can't carry. Pure: rows in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from annotation.formats import alpaca, chat, trl

Row = Mapping[str, Any]
Out = dict[str, Any]
Format = Callable[[Iterable[Row], str], Iterator[Out]]


def canonical(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """The rows as they are stored, the whole record of each label."""
    return (dict(row) for row in rows)


def texts(rows: Iterable[Row], ties: str = "drop") -> Iterator[Out]:
    """TRL's language modelling format."""
    return ({"text": row["text"]} for row in rows)


FORMATS: dict[str, dict[str, Format]] = {
    "corpus": {"canonical": canonical, "text": texts},
    "demonstrations": {
        "canonical": canonical,
        "prompt-completion": trl.write_prompt_completion,
        "openai": chat.write_chat,
        "sharegpt": chat.write_shared,
        "alpaca": alpaca.write_alpaca,
    },
    "rankings": {
        "canonical": canonical,
        "preference": trl.write_preference,
        "unpaired": trl.write_unpaired,
        "openai": chat.write_openai_pairs,
        "sharegpt": chat.write_shared_pairs,
        "alpaca": alpaca.write_alpaca_pairs,
    },
    "prompts": {"canonical": canonical, "prompt": trl.write_prompt},
}
