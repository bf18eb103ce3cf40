"""Accessibility by axe: no violation of WCAG A and AA on the page as it stands."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

OPTIONS = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],  # what passes need not be written out and sent, which takes longer than the rules
}


def assert_accessible(page: Page) -> None:
    found = Axe().run(page, options=OPTIONS).response["violations"]
    lines = [
        f"{item['id']}: {item['help']}\n    " + "\n    ".join(node["html"][:200] for node in item["nodes"][:4])
        for item in found
    ]
    assert not found, f"{page.url}\n" + "\n".join(lines)
