"""Other people's formats: how a file in one is recognised, read as our rows, and written from our rows. Pure.

One module a family. A reader turns a row into rows that `annotation.records` understands; a writer turns canonical rows
(`annotation.selectors.rows`) into rows of the format.
"""

from __future__ import annotations

from django.utils.translation import gettext as _

from annotation.errors import ImportProblem
from annotation.formats.alpaca import ALPACA
from annotation.formats.base import Format, Row
from annotation.formats.chat import OPENAI, SHAREGPT
from annotation.formats.comparisons import ARENA, ARENA_VOTES, SUMMARIES, ULTRAFEEDBACK
from annotation.formats.oasst import OASST, OASST_MESSAGES
from annotation.formats.tools import ARGILLA, ARGILLA_FLAT, LABEL_STUDIO
from annotation.formats.transcripts import HH
from annotation.formats.trl import PLACKETT, UNPAIRED

# The more particular first: the last takes any row, and says itself what it misses.
FORMATS: tuple[Format, ...] = (
    ULTRAFEEDBACK,
    OASST,
    OASST_MESSAGES,
    SUMMARIES,
    ARENA,
    ARENA_VOTES,
    LABEL_STUDIO,
    ARGILLA,
    ARGILLA_FLAT,
    SHAREGPT,
    HH,
    OPENAI,
    ALPACA,
    UNPAIRED,
    PLACKETT,
)
BY_NAME = {found.name: found for found in FORMATS}


def recognise(row: Row) -> Format:
    """The format that this row is written in."""
    return next(found for found in FORMATS if found.recognise(row))


def format_named(name: str) -> Format:
    """Raises ImportProblem."""
    if name not in BY_NAME:
        raise ImportProblem(
            _("There is no format %(format)s. Choose one of: %(known)s.")
            % {"format": f"{name!r:.40}", "known": ", ".join(BY_NAME)}
        )
    return BY_NAME[name]
