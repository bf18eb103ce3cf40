"""The ranking board as a person handles it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def board(page: Page) -> list[str]:
    """The board as it stands, best first, ties in one word: ["B", "AC", "D"]."""
    tiers = page.locator(".board-tier")
    return ["".join(tier.locator("strong").all_inner_texts()) for tier in tiers.all()]


def on_board(page: Page, letter: str) -> Locator:
    return page.locator(".board-row", has=page.locator(f"strong:text-is('{letter}')"))


def name_of(page: Page, letter: str) -> Locator:
    return on_board(page, letter).locator(".board-name")


def rate_all(page: Page, rating: int = 5) -> None:
    for position in range(4):
        page.locator(f"#answer-{position} .scale label").nth(rating - 1).click()


def drag(page: Page, letter: str, to_x: float, to_y: float) -> None:
    grip = on_board(page, letter).locator(".grip").bounding_box()
    assert grip is not None
    x, y = grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 6, steps=3)
    expect(page.locator(".board-dragging")).to_have_count(1)
    page.mouse.move(to_x, to_y - 12, steps=6)
    page.wait_for_timeout(150)  # the others move out of the way
    page.mouse.move(to_x, to_y, steps=6)
    page.wait_for_timeout(250)
    page.mouse.up()
    expect(page.locator(".board-dragging")).to_have_count(0)


def middle(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
