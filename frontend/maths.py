r"""Maths in markdown: `$x$`, `$$x$$`, `\(x\)` and `\[x\]`, marked for KaTeX, which draws them in the browser.

Prices stay prices: a dollar opens only before something and closes only after something, and not beside a letter or a
digit. The markup holds the TeX itself, so that without script a reader has what the model wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import escape
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

MOST_CHARACTERS = 4000  # beyond that drawing is slow, and no formula
DELIMITERS = {"$$": "$$", "\\[": "\\]", "\\(": "\\)", "$": "$"}  # the longer first
DISPLAYED = ("$$", "\\[")


def maths_plugin(parser: MarkdownIt) -> None:
    parser.inline.ruler.before("escape", "maths_inline", _inline)
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "maths_block", _block, interrupts)
    parser.add_render_rule("maths_inline", _render_inline)
    parser.add_render_rule("maths_block", _render_block)


def _inline(state: StateInline, silent: bool) -> bool:
    opening = next((found for found in DELIMITERS if state.src.startswith(found, state.pos)), None)
    if opening is None:
        return False
    start = state.pos + len(opening)
    end = closing_at(state.src, opening, start, state.posMax)
    if end < 0:
        return False
    if not silent:
        token = state.push("maths_inline", "span", 0)
        token.content = state.src[start:end].strip()
        token.markup = opening
    state.pos = end + len(DELIMITERS[opening])
    return True


def closing_at(text: str, opening: str, start: int, limit: int) -> int:
    """Return where the formula that begins at `start` is closed, or -1 where it is none."""
    closing = DELIMITERS[opening]
    end = start
    while True:
        end = text.find(closing, end, min(limit, start + MOST_CHARACTERS))
        if end < 0 or not text[start:end].strip():
            return -1
        if opening.startswith("$") and text[end - 1] == "\\":  # a dollar within the formula
            end += 1
            continue
        return end if opening != "$" or is_formula(text, start, end) else -1


def is_formula(text: str, start: int, end: int) -> bool:
    """Return whether what stands between two single dollars is one."""
    before, after = text[start - 2 : start - 1], text[end + 1 : end + 2]
    if any(beside.isascii() and beside.isalnum() for beside in (before, after)):
        return False
    return not text[start].isspace() and not text[end - 1].isspace()


def _block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """A displayed formula of several lines, each of which might look like a list or a heading by itself."""
    if state.is_code_block(start_line):
        return False
    begin = state.bMarks[start_line] + state.tShift[start_line]
    opening = next((found for found in DISPLAYED if state.src.startswith(found, begin)), None)
    if opening is None:
        return False
    line = last_line_of(state, opening, begin, start_line, end_line)
    if line < 0:
        return False
    if not silent:
        lines = state.getLines(start_line, line + 1, state.blkIndent, False).strip()
        token = state.push("maths_block", "div", 0)
        token.content = lines[len(opening) : -len(DELIMITERS[opening])].strip()
        token.block, token.markup, token.map = True, opening, [start_line, line + 1]
        state.line = line + 1
    return True


def last_line_of(state: StateBlock, opening: str, begin: int, start_line: int, end_line: int) -> int:
    """Return the line that ends with the formula's closing, or -1; an empty line ends the search."""
    for line in range(start_line, end_line):
        if state.isEmpty(line) or state.eMarks[line] - begin > MOST_CHARACTERS:
            return -1
        text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
        body = text[len(opening) :] if line == start_line else text
        if DELIMITERS[opening] in body:
            is_alone = body.endswith(DELIMITERS[opening]) and body.count(DELIMITERS[opening]) == 1
            return line if is_alone and (line > start_line or len(body) > len(opening)) else -1
    return -1


def _render_inline(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    kind = "math-display" if tokens[index].markup in DISPLAYED else "math-inline"
    return f'<span class="{kind}">{escape(tokens[index].content)}</span>'


def _render_block(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """In a box that scrolls where the formula is too wide, and that the keyboard reaches."""
    name = escape(_("Formula"))
    formula = f'<span class="math-display">{escape(tokens[index].content)}</span>'
    return f'<div class="math-box" tabindex="0" role="group" aria-label="{name}">{formula}</div>\n'
