"""The dataset card of an export: README.md with the front matter that the Hugging Face hub and `datasets` read. Pure.

In English, as the hub's cards are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.exports import REASONS, Column, Target

TASKS = {
    "demonstrations": "text-generation",
    "rankings": "text-generation",
    "prompts": "text-generation",
    "corpus": "text-generation",
}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
DTYPES = {"str": "string", "json": "string", "int": "int64", "float": "float64", "bool": "bool"}
MOST_LISTED = 30


@dataclass(frozen=True, kw_only=True)
class Source:
    """An imported file that rows came from."""

    name: str
    licence: str
    consent: str = ""


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """All that a card says, already looked up."""

    name: str
    kind: str
    sha256: str
    query: Sequence[tuple[str, str]]
    files: Mapping[str, str]
    """{split: path in the folder}; only splits with rows."""
    counts: Mapping[str, int]
    columns: Mapping[str, Column] | None
    target: Target
    facts: Mapping[str, Any]
    left_out: Mapping[str, int] = field(default_factory=dict)
    sources: Sequence[Source] = ()
    leaks: str = ""
    configurations: Sequence[tuple[str, str]] = ()
    """(file, what it is for)"""


def dataset_card(card: CardFacts) -> str:
    return f"---\n{yaml_of(front_matter(card))}---\n\n{body(card)}"


# --- Front matter ---------------------------------------------------------------------------------------


def front_matter(card: CardFacts) -> dict[str, Any]:
    licences = sorted({source.licence for source in card.sources if source.licence})
    found: dict[str, Any] = {
        "pretty_name": card.name,
        **licence_of(licences),
        "language": [code for code in card.facts.get("language", {}) if is_tag(code)],
        "task_categories": [TASKS[card.kind]],
        "size_categories": [size_of(sum(card.counts.values()))],
        "tags": ["rlhf", "human-feedback", card.kind, "plackett"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": path} for split, path in card.files.items()],
            }
        ],
    }
    if card.columns is not None:
        found["dataset_info"] = {"features": [feature(name, column) for name, column in card.columns.items()]}
    return {name: value for name, value in found.items() if value != []}


def licence_of(licences: Sequence[str]) -> dict[str, str]:
    """The one licence of all that was imported, or "other" with all their names; the hub's names have no spaces."""
    if len(licences) == 1 and is_tag(licences[0]):
        return {"license": licences[0].lower()}
    names = ["-".join(name.lower().split()) for name in licences]
    return {"license": "other", "license_name": "-and-".join(names) or "not-stated"}


def is_tag(text: str) -> bool:
    return bool(text) and all(character.isalnum() or character in "-._" for character in text)


def size_of(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "n>1M")


def feature(name: str, column: Column) -> dict[str, Any]:
    return {"name": name, **kind_of(column)}


def kind_of(column: Column) -> dict[str, Any]:
    if isinstance(column, list):
        inner = kind_of(column[0])
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    if isinstance(column, dict):
        return {"struct": [feature(name, inner) for name, inner in column.items()]}
    return {"dtype": DTYPES[column]}


def yaml_of(value: Mapping[str, Any], indent: str = "") -> str:
    """Block YAML of mappings, lists and plain values; every text is quoted, which reads the same in any YAML."""
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            lines.append(f"{indent}{key}:\n{yaml_of(item, indent + '  ')}")
        elif isinstance(item, list) and item:
            lines.append(f"{indent}{key}:\n" + "".join(yaml_item(part, indent) for part in item))
        else:
            lines.append(f"{indent}{key}: {json.dumps(item, ensure_ascii=False)}\n")
    return "".join(lines)


def yaml_item(item: Any, indent: str) -> str:
    if isinstance(item, Mapping):
        inner = yaml_of(item, f"{indent}  ")
        return f"{indent}- {inner[len(indent) + 2 :]}"
    return f"{indent}- {json.dumps(item, ensure_ascii=False)}\n"


# --- Text -----------------------------------------------------------------------------------------------


def body(card: CardFacts) -> str:
    parts = [
        f"# {one_line(card.name)}",
        f"A snapshot of {card.kind} frozen by Plackett, written as *{card.target.label}*. The manifest's SHA-256 is "
        f"`{card.sha256}`: the same query on the same labels gives the same bytes.",
        "## Rows",
        table(("split", "rows"), [(split, f"{rows:,}") for split, rows in card.counts.items()]),
        *section("What was asked for", table(("filter", "value"), list(card.query)) if card.query else ""),
        *mix(card.facts),
        *biases(card.facts),
        *section("Held-out prompts in train", card.leaks),
        *section("Sources and licences", sources(card.sources)),
        *section("What this format does not carry", lost(card)),
        *section("Training configurations", configurations(card.configurations)),
    ]
    return "\n\n".join(parts) + "\n"


def section(title: str, text: str) -> list[str]:
    return [f"## {title}", text] if text else []


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(one_line(value) for value in line) + " |" for line in lines)


def one_line(text: object) -> str:
    return " ".join(str(text).replace("|", "\\|").split())


def share_table(title: str, counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    shown = list(counts.items())[:MOST_LISTED]
    rest = total - sum(number for _name, number in shown)
    rows = [*shown, *([("others", rest)] if rest else [])]
    return table((title, "rows", "share"), [(name, f"{n:,}", f"{100 * n / total:.1f} %") for name, n in rows])


def mix(facts: Mapping[str, Any]) -> list[str]:
    named = (
        ("category", "category"),
        ("language", "language"),
        ("origin", "label made"),
        ("guideline", "guidelines, version"),
    )
    parts = [share_table(title, facts[name]) for name, title in named if facts.get(name)]
    if facts.get("k"):
        parts.append(share_table("answers ranked together (K)", facts["k"]))
    return ["## Mix", *parts] if parts else []


def biases(facts: Mapping[str, Any]) -> list[str]:
    """What was measured, and nothing that was not."""
    lines = []
    if facts.get("first_position"):
        shown = facts["shown_position"]
        places = ", ".join(
            f"{place}: {100 * facts['first_position'].get(place, 0) / shown[place]:.1f} %"
            for place in sorted(shown, key=int)
        )
        lines.append(f"Position: of the answers shown in each place, so many were ranked first alone: {places}.")
    if facts.get("pairs_of_unequal_length"):
        share = 100 * facts["longer_wins"] / facts["pairs_of_unequal_length"]
        lines.append(f"Length: in {share:.1f} % of the ordered pairs of unequal length the longer answer is preferred.")
    if facts.get("k"):
        pairs = facts["pairs"] + facts["tied_pairs"]
        share = 100 * facts["tied_pairs"] / pairs if pairs else 0
        lines.append(f"Ties: {share:.1f} % of the {pairs:,} compared pairs are tied.")
    if labelers := facts.get("labeler"):
        top = next(iter(labelers.values()))
        lines.append(
            f"Labelers: {facts['labelers']:,} in all, under pseudonyms; the busiest made "
            f"{100 * top / sum(labelers.values()):.1f} % of the rows."
        )
    return ["## Known biases, as measured", "\n".join(f"- {line}" for line in lines)] if lines else []


def sources(found: Sequence[Source]) -> str:
    rows = [(source.name, source.licence or "not stated", source.consent or "not stated") for source in found]
    return table(("imported from", "licence", "consent"), rows) if rows else ""


def lost(card: CardFacts) -> str:
    lines = []
    if fields := card.target.lost(card.kind):
        lines.append("- these fields of the canonical rows: " + ", ".join(f"`{name}`" for name in fields))
    for reason, number in card.left_out.items():
        lines.append(f"- {number:,} rows, because {REASONS[reason]}")
    return "\n".join(lines)


def configurations(found: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- `{path}`: {about}" for path, about in found)
