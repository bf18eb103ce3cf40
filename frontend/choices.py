"""The repeated parts of the ranking form as HTML: the scale, the flags and the ranks of each answer.

Five answers have over a hundred boxes between them, which differ in an answer's place and in what is ticked. Drawn by a
template they took a good part of the page's time; so each is made once and kept.
"""

from __future__ import annotations

from functools import lru_cache

from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

KEPT = 2048
REQUIRED, CHECKED, SELECTED, NOTHING = (mark_safe(text) for text in (" required", " checked", " selected", ""))


@lru_cache(maxsize=KEPT)
def scale_html(name: str, ratings: tuple[str, ...], chosen: str, required: bool) -> SafeString:
    """One button for each rating."""
    return format_html_join(
        "",
        '<label><input type="radio" name="{}" value="{}"{}{}><span>{}</span></label>',
        (
            (name, rating, CHECKED if rating == chosen else NOTHING, REQUIRED if required else NOTHING, rating)
            for rating in ratings
        ),
    )


@lru_cache(maxsize=KEPT)
def flags_html(name: str, flags: tuple[tuple[str, str], ...], chosen: tuple[str, ...]) -> SafeString:
    """One box for each flag; the words are in the reader's language."""
    return format_html_join(
        "",
        '<label class="choice"><input type="checkbox" name="{}" value="{}"{}> {}</label>',
        ((name, value, CHECKED if value in chosen else NOTHING, words) for value, words in flags),
    )


@lru_cache(maxsize=KEPT)
def ranks_html(ranks: tuple[str, ...], chosen: str) -> SafeString:
    """The options of an answer's rank, but for the empty one."""
    options = ((rank, SELECTED if rank == chosen else NOTHING, rank) for rank in ranks)
    return format_html_join("", '<option value="{}"{}>{}</option>', options)
