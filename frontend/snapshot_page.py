"""What a snapshot's page lists: its files by split, and the formats that each can be downloaded in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from annotation.fields import Category
from annotation.models import Origin, Pool, Purpose, Split
from frontend.project_forms.snapshots import OVERLAPS, TIES
from training.models import Snapshot
from training.selectors.snapshots import formats_of as export_formats


@dataclass(frozen=True)
class Format:
    key: str
    label: str | Promise
    about: str | Promise


PAIRS_LOSE = _("Pairs: which rankings they are from, ratings, flags, times and labelers are not in it.")
ANSWERS_LOSE = _("Conversations alone: categories, times and labelers are not in it.")
FORMATS: dict[str, dict[str, Format]] = {
    "corpus": {"text": Format("text", _("text"), _("One text in each line."))},
    "prompts": {"prompt": Format("prompt", _("prompt"), _("The conversation alone, as TRL reads it."))},
    "demonstrations": {
        "prompt-completion": Format(
            "prompt-completion", _("prompt and completion"), _("As TRL's SFT trainer reads it.")
        ),
        "openai": Format("openai", "OpenAI", ANSWERS_LOSE),
        "sharegpt": Format("sharegpt", "ShareGPT", ANSWERS_LOSE),
        "alpaca": Format("alpaca", "Alpaca", ANSWERS_LOSE),
    },
    "rankings": {
        "preference": Format(
            "preference", _("prompt, chosen and rejected"), _("Pairs, as TRL's reward and DPO trainers read them.")
        ),
        "unpaired": Format(
            "unpaired",
            _("prompt, completion and label"),
            _("Each answer as good or bad, as TRL's KTO trainer reads it: rated above 4 or below, or first or last."),
        ),
        "openai": Format("openai", "OpenAI", PAIRS_LOSE),
        "sharegpt": Format("sharegpt", "ShareGPT", PAIRS_LOSE),
        "alpaca": Format("alpaca", "Alpaca", PAIRS_LOSE),
    },
}
CANONICAL = Format("canonical", _("Canonical"), _("Every field, as it is stored."))


@dataclass(frozen=True)
class File:
    split: str
    rows: int
    sha256: str
    size: int


def formats_of(snapshot: Snapshot) -> list[Format]:
    known = {"canonical": CANONICAL, **FORMATS[snapshot.kind]}
    return [known[key] for key in export_formats(snapshot)]


def files_of(snapshot: Snapshot) -> list[File]:
    """The files that the manifest names, by split."""
    found = []
    for name, entry in snapshot.manifest.get("files", {}).items():
        split = name.removesuffix(".jsonl")
        found.append(File(split, entry.get("rows", 0), entry.get("sha256", ""), entry.get("bytes", 0)))
    return found


QUERY_LABELS: dict[str, str | Promise] = {
    "pools": _("Pools"),
    "splits": _("Splits"),
    "categories": _("Categories"),
    "languages": _("Languages"),
    "origins": _("Labels made"),
    "purpose": _("Purpose of the labels"),
    "overlap": _("Where several people labeled"),
    "extras": _("Labels beyond what was wanted"),
    "returned": _("Labels that a reviewer returned"),
    "since": _("From"),
    "until": _("Before"),
    "ties": _("Ties in rankings"),
    "validation_percent": _("Set aside for validation (%)"),
    "most": _("At most so many prompts"),
    "not_answered_by": _("Not answered by the model"),
}


VALUE_LABELS: dict[str, Sequence[tuple[str, str | Promise]]] = {
    "pools": Pool.choices,
    "splits": Split.choices,
    "categories": Category.choices,
    "origins": Origin.choices,
    "purpose": Purpose.choices,
    "overlap": OVERLAPS,
    "ties": TIES,
}


TOLD_ALWAYS = frozenset({"validation_percent"})  # its zero means something


def query_words(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What restricted the rows, as (label, value); a filter that was left open is not told."""
    told = [(name, value) for name, value in query.items() if value or name in TOLD_ALWAYS]
    return [(str(QUERY_LABELS.get(name, name)), value_words(name, value)) for name, value in told]


def value_words(name: str, value: Any) -> str:
    labels = dict(VALUE_LABELS.get(name, ()))
    parts = value if isinstance(value, list) else [value]
    return ", ".join([str(labels.get(part, part)) for part in parts])
