"""Made-up prompts and answers of the length that people rank: the same words for both systems. Pure."""

from __future__ import annotations

import random
from functools import cache

SENTENCES = 4000
WORDS = """
answer question water people value model city number light week river letter machine garden market history music
small early open clear common local simple public strong recent short because before after while between against
shows takes makes keeps gives needs finds moves turns holds means starts ends grows falls often rarely usually
the a of to and in that it is was for on are as with his they at be this from have or by one had not but what all
"""


@cache
def sentences() -> list[str]:
    draw, words = random.Random(2203), WORDS.split()
    return [" ".join(draw.choices(words, k=draw.randint(7, 18))).capitalize() + "." for _ in range(SENTENCES)]


def prompt_text(draw: random.Random, number: int) -> str:
    """Two sentences and a number, so that no two are the same."""
    return f"{draw.choice(sentences())} {draw.choice(sentences())} ({number})"


def answer_text(draw: random.Random) -> str:
    """Some eighty words, now and then with a list and a bold word: what a page has to render."""
    parts = draw.sample(sentences(), draw.randint(3, 8))
    if draw.random() < 0.3:
        return f"**{parts[0]}**\n\n" + "\n".join(f"- {part}" for part in parts[1:])
    return " ".join(parts)
