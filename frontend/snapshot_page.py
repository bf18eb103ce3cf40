"""What a snapshot's page lists: its files by split, and the formats that each can be downloaded in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotation.fields import Category, Flag
from annotation.models import Origin, Pool, Purpose, Split
from frontend.project_forms.snapshots import FLAGGED, LEAKS, OVERLAPS, TIES
from training.exports import PAIRS, REASONS, TARGETS, Target
from training.models import Job, Snapshot


@dataclass(frozen=True)
class File:
    split: str
    rows: int
    sha256: str
    size: int


@dataclass(frozen=True)
class Statement:
    """A format with what it carries and what it does not, in words."""

    target: Target
    lost: str
    may_leave_out: list[str | Promise]

    @property
    def as_pairs(self) -> bool:
        return PAIRS in self.target.carries


def formats_of(snapshot: Snapshot) -> list[Target]:
    return list(TARGETS[snapshot.kind].values())


def statements_of(snapshot: Snapshot) -> list[Statement]:
    return [
        Statement(
            target=target,
            lost=", ".join(target.lost(snapshot.kind)),
            may_leave_out=[REASONS[reason] for reason in target.may_leave_out],
        )
        for target in formats_of(snapshot)
    ]


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
    "labelers": _("Only labels by"),
    "labelers_out": _("No labels by"),
    "held_out_labelers": _("Held-out labelers"),
    "flags_out": _("Without answers flagged as"),
    "flagged": _("Where an answer has one of these flags"),
    "leaks": _("Prompts in train that are nearly held out"),
    "extras": _("Labels beyond what was wanted"),
    "returned": _("Labels that a reviewer returned"),
    "since": _("From"),
    "until": _("Before"),
    "ties": _("Ties in rankings"),
    "validation_percent": _("Set aside for validation (%)"),
    "most": _("At most so many prompts"),
    "not_answered_by": _("Not answered by the model"),
}


Labels = Sequence[tuple[str, str | Promise]]
VALUE_LABELS: dict[str, Labels] = {
    "pools": Pool.choices,
    "splits": Split.choices,
    "categories": Category.choices,
    "origins": Origin.choices,
    "purpose": Purpose.choices,
    "overlap": OVERLAPS,
    "ties": TIES,
    "flags_out": Flag.choices,
    "flagged": FLAGGED,
    "leaks": LEAKS,
}


TOLD_ALWAYS = frozenset({"validation_percent"})  # its zero means something


def query_words(query: Mapping[str, Any], flags: Labels = ()) -> list[tuple[str, str]]:
    """What restricted the rows, as (label, value); a filter that was left open is not told. `flags`: the project's."""
    told = [(name, value) for name, value in query.items() if value or name in TOLD_ALWAYS]
    told = [item for item in told if item != ("leaks", "keep") and (item[0] != "flagged" or query.get("flags_out"))]
    labels = {**VALUE_LABELS, **({"flags_out": flags} if flags else {})}
    return [(str(QUERY_LABELS.get(name, name)), value_words(value, labels.get(name, ()))) for name, value in told]


def value_words(value: Any, known: Labels) -> str:
    labels = dict(known)
    parts = value if isinstance(value, list) else [value]
    return ", ".join([str(labels.get(part, part)) for part in parts])


@dataclass(frozen=True)
class Bar:
    """One bar of a distribution; `percent` of the longest."""

    label: str
    number: int
    percent: int


CHARTS: tuple[tuple[str, str | Promise], ...] = (
    ("category", _("Categories")),
    ("language", _("Languages")),
    ("origin", _("Labels made")),
    ("labeler", _("Labelers")),
    ("guideline", _("Guidelines, version")),
    ("k", _("Answers ranked together (K)")),
    ("rating", _("Ratings")),
    ("flag", _("Flags")),
    ("prompt_length", _("Length of prompts (characters, from)")),
    ("answer_length", _("Length of answers (characters, from)")),
)
CHART_LABELS: dict[str, Labels] = {
    "category": Category.choices,
    "origin": Origin.choices,
    "flag": Flag.choices,
}
BY_NUMBER = frozenset({"k", "rating", "guideline", "prompt_length", "answer_length"})
MOST_BARS = 20


def charts_of(facts: Mapping[str, Any], flags: Labels = ()) -> list[tuple[str | Promise, list[Bar]]]:
    """The distributions of a snapshot, each as bars with their numbers beside them. `flags`: the project's."""
    known = {**CHART_LABELS, **({"flag": flags} if flags else {})}
    return [(title, bars_of(name, facts[name], known.get(name, ()))) for name, title in CHARTS if facts.get(name)]


def bars_of(name: str, counts: Mapping[str, int], known: Labels = ()) -> list[Bar]:
    items = sorted(counts.items(), key=lambda item: int(item[0])) if name in BY_NUMBER else list(counts.items())
    items = items[:MOST_BARS]
    most = max(number for _label, number in items)
    labels = dict(known)
    return [Bar(str(labels.get(key, key)), number, max(1, 100 * number // most)) for key, number in items]


def figures_of(facts: Mapping[str, Any]) -> list[tuple[str | Promise, str]]:
    """The few numbers that say what a dataset of rankings is like."""
    found: list[tuple[str | Promise, str]] = []
    if facts.get("labelers"):
        found.append((_("Labelers"), f"{facts['labelers']:,}"))
    if facts.get("k"):
        pairs = facts["pairs"] + facts["tied_pairs"]
        found += [
            (_("Ordered pairs"), f"{facts['pairs']:,}"),
            (_("Tied pairs"), share(facts["tied_pairs"], pairs)),
            (_("Longer answer preferred"), share(facts["longer_wins"], facts["pairs_of_unequal_length"])),
        ]
    if facts.get("mean_seconds"):
        found.append((_("Seconds of work, mean"), f"{facts['mean_seconds']:.1f}"))
    return found


@dataclass(frozen=True)
class CountedSplit:
    """One file in tokens: (median, 95 %, longest) of its prompts and of its responses."""

    split: str
    rows: int
    tokens: int
    prompts: tuple[int, ...]
    responses: tuple[int, ...]
    left_out: list[tuple[str, int]]

    @property
    def filtered(self) -> int:
        return sum(number for _reason, number in self.left_out)


@dataclass(frozen=True)
class Counted:
    """A snapshot in the tokens of a model."""

    model: str
    context_length: int
    room: int
    splits: list[CountedSplit]

    @property
    def tokens(self) -> int:
        return sum(split.tokens for split in self.splits)


SHOWN_PERCENTILES = ("p50", "p95", "p100")


def counted_of(job: Job) -> Counted:
    """What a finished count says, for a table."""
    result = job.result
    splits = [
        CountedSplit(
            split=split,
            rows=found["rows"],
            tokens=found["tokens"],
            prompts=tuple(found["prompt"].get(name, 0) for name in SHOWN_PERCENTILES) if found["prompt"] else (),
            responses=tuple(found["response"].get(name, 0) for name in SHOWN_PERCENTILES) if found["response"] else (),
            left_out=[(gettext(reason), number) for reason, number in found["left_out"].items()],
        )
        for split, found in result["splits"].items()
    ]
    return Counted(job.asked["model_name"], result["context_length"], result["room"], splits)


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
