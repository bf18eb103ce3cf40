"""Accessibility by axe: no violation of WCAG A and AA on the page as it stands, in either theme."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]
"""What another theme can break: all else is the same page."""

WORDS = [
    *("document-title", "html-has-lang", "html-lang-valid", "valid-lang", "button-name", "link-name", "label"),
    *("select-name", "input-button-name", "aria-command-name", "aria-input-field-name", "summary-name"),
    *("empty-heading", "empty-table-header", "target-size", "scrollable-region-focusable"),
]
"""What another language can break: names that are missing, and sizes."""


def assert_accessible(page: Page, *, only_words: bool = False) -> None:
    """All rules in the theme that the page has, and those about colours in the other one.

    `only_words`: of a page that was looked at in another language already, what this one can break.
    """
    if only_words:
        found = violations(page, {"runOnly": {"type": "rule", "values": WORDS}})
    else:
        found = violations(page, {"runOnly": TAGS})
        dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        page.emulate_media(color_scheme="light" if dark else "dark")
        found += violations(page, {"runOnly": {"type": "rule", "values": COLOURS}})
        page.emulate_media(color_scheme="dark" if dark else "light")
    lines = [
        f"{item['id']}: {item['help']}\n    " + "\n    ".join(node["html"][:200] for node in item["nodes"][:4])
        for item in found
    ]
    assert not found, f"{page.url}\n" + "\n".join(lines)


def violations(page: Page, options: dict[str, Any]) -> list[dict[str, Any]]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    # What passes need not be written out and sent, which takes longer than the rules.
    options = options | {"resultTypes": ["violations"]}
    found: list[dict[str, Any]] = page.evaluate(
        "options => axe.run(document, options).then(found => found.violations)", options
    )
    return found
