"""The design system keeps its promises: one dark theme, and no inline script or style in any template."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import frontend

ROOT = Path(frontend.__file__).parent
CSS = (ROOT / "static/frontend/plackett.css").read_text()
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))


def tokens(block: str) -> dict[str, str]:
    return dict(re.findall(r"(--[\w-]+):\s*([^;]+);", block))


def blocks() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    light = CSS[CSS.index(":root {") :].split("}")[0]
    device = CSS[CSS.index(':root:not([data-theme="light"])') :].split("}")[0]
    chosen = CSS[CSS.index(':root[data-theme="dark"]') :].split("}")[0]
    return tokens(light), tokens(device), tokens(chosen)


def test_the_devices_dark_and_the_chosen_dark_are_the_same():
    light, device, chosen = blocks()
    assert device == chosen
    assert set(light) == set(chosen)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


TEXT_ON = [
    *[("--text", on) for on in ("--bg", "--surface", "--sunken", "--accent-soft")],
    *[("--muted", on) for on in ("--bg", "--surface", "--sunken", "--accent-soft")],
    *[("--accent-text", on) for on in ("--bg", "--surface", "--accent-soft")],
    ("--on-accent", "--accent"),
    ("--on-accent", "--accent-hover"),
    *[(f"--{tone}", f"--{tone}-soft") for tone in ("good", "warn", "bad")],
    *[("--text", f"--{tone}-soft") for tone in ("good", "warn", "bad")],
    *[(f"--{tone}", on) for tone in ("good", "warn", "bad") for on in ("--bg", "--surface")],
    ("--on-bad", "--bad"),
]
EDGES_ON = [
    ("--line-strong", "--surface"),
    ("--line-strong", "--bg"),
    ("--focus", "--surface"),
    ("--focus", "--bg"),
    ("--accent", "--sunken"),
]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_edges_stand_out(theme):
    """WCAG AA: 4.5 for text, 3 for the edges of controls, focus rings and bars."""
    values = blocks()[0 if theme == "light" else 2]
    for pairs, least in ((TEXT_ON, 4.5), (EDGES_ON, 3.0)):
        for front, back in pairs:
            ratio = contrast(values[front], values[back])
            assert ratio >= least, f"{front} on {back}: {ratio:.2f}"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_a_template_needs_nothing_that_the_policy_forbids(template):
    source = template.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", source), "inline script"
    assert not re.search(r"<style|\sstyle=", source), "inline style"
    assert not re.search(r"\son[a-z]+\s*=", source), "inline handler"
    assert "hx-on" not in source and "javascript:" not in source
