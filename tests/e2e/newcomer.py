"""How long pages keep someone who sees them for the first time: reckoned, not timed, so that it is the same anywhere.

They read every sentence that is shown, once a page, and decide before each act. Times of acts: the keystroke-level
model (Card, Moran and Newell 1980, doi:10.1145/358886.358895), for an average typist who is no secretary. Reading: 238
words a minute, the mean of 190 studies (Brysbaert 2019, doi:10.1016/j.jml.2019.104047).
"""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page

KEY = 0.28  # seconds
POINT = 1.1
PRESS = 0.2  # a mouse button, down and up
HOME = 0.4  # the hand from keys to mouse, or back
DECIDE = 1.35
WORDS_A_SECOND = 238 / 60
SENTENCE = re.compile(r"[^.!?\n]+")
WORD = re.compile(r"[^\W\d_]{2,}")


class Newcomer:
    """Someone at a page; `seconds` is what it has taken them so far."""

    def __init__(self, page: Page) -> None:
        self.page, self.seconds = page, 0.0

    def read(self) -> None:
        """All that the page shows but its head, which is the same everywhere. Whoever has read an answer does not read
        it again on the board."""
        sentences = set(SENTENCE.findall(self.page.locator("main").inner_text()))
        self.seconds += sum(len(WORD.findall(sentence)) for sentence in sentences) / WORDS_A_SECOND

    def write(self, label: str, text: str) -> None:
        self.page.get_by_label(label).fill(text)
        self.seconds += DECIDE + HOME + POINT + PRESS + HOME + KEY * len(text)

    def click(self, target: Locator) -> None:
        target.click()
        self.seconds += DECIDE + POINT + PRESS
