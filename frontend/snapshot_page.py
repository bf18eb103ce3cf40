"""What a snapshot's page lists: its files by split, and the formats that each can be downloaded in."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from training.models import Snapshot
from training.selectors.snapshots import formats_of as export_formats


@dataclass(frozen=True)
class Format:
    key: str
    label: str | Promise
    about: str | Promise


FORMATS: dict[str, Format] = {
    "canonical": Format("canonical", _("Canonical"), _("Every field, as it is stored.")),
    "text": Format("text", _("text"), _("One text in each line.")),
    "prompt": Format("prompt", _("prompt"), _("The conversation alone, as TRL reads it.")),
    "prompt-completion": Format("prompt-completion", _("prompt and completion"), _("As TRL's SFT trainer reads it.")),
    "preference": Format(
        "preference", _("prompt, chosen and rejected"), _("Pairs, as TRL's reward and DPO trainers read them.")
    ),
}


@dataclass(frozen=True)
class File:
    split: str
    rows: int
    sha256: str
    size: int


def formats_of(snapshot: Snapshot) -> list[Format]:
    return [FORMATS[key] if key in FORMATS else Format(key, key, "") for key in export_formats(snapshot)]


def files_of(snapshot: Snapshot) -> list[File]:
    """The files that the manifest names, by split."""
    found = []
    for name, entry in snapshot.manifest.get("files", {}).items():
        split = name.removesuffix(".jsonl")
        found.append(File(split, entry.get("rows", 0), entry.get("sha256", ""), entry.get("bytes", 0)))
    return found
