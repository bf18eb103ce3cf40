"""Text from models and people as safe HTML.

Markdown goes through markdown-it with raw HTML switched off (tags show as the text they are, so that a labeler sees
what the model wrote), then through a sanitiser. Images are replaced by their description: fetching one would tell its
host who is labeling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from frontend import code_colours
from frontend.maths import maths_plugin

# Rendering takes milliseconds and the same answer is shown again and again. Kept in the process, not in Redis: a page
# must open while Redis is away.
CACHED_TEXTS = 1024
# Of long ones fewer are kept, so that what is kept stays within some megabytes.
LONG_TEXT, CACHED_LONG_TEXTS = 8_000, 64

# Han, kana and hangul, and the punctuation that stands among them.
CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")

TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "hr", "li", "ol", "p", "pre", "s", "span", "strong", "ul"),
    *("div", "table", "thead", "tbody", "tr", "th", "td", "h2", "h3", "h4", "h5", "h6"),
}
ATTRIBUTES = {
    "a": {"href", "title"},
    "ol": {"start"},
    "code": {"class"},
    "div": {"tabindex", "role", "aria-label"},  # raw HTML is off, so that every div is one of ours, around a table
}
CLASSES = {
    "div": {"wide-table", "math-box"},
    "p": {f"heading-{level}" for level in range(1, 7)},
    "span": {"image-left-out", "math-inline", "math-display", *code_colours.CLASSES},
    "th": {"align-left", "align-center", "align-right"},
    "td": {"align-left", "align-center", "align-right"},
}
URL_SCHEMES = {"http", "https", "mailto"}


def answer_html(text: str) -> SafeString:
    """Render a prompt, a demonstration or an answer; its headings stay out of the page's outline."""
    return _rendered("answer", text)


def document_html(text: str) -> SafeString:
    """Render a document of the project, such as its guidelines; its headings start below the page's own."""
    return _rendered("document", text)


def _rendered(kind: str, text: str) -> SafeString:
    """The reader's language tells the texts apart that are kept: a table's name is in it."""
    render = _render_short if len(text) <= LONG_TEXT else _render_long
    return render(kind, text, get_language())


def _render(kind: str, text: str, language: str | None) -> SafeString:
    html = nh3.clean(
        _parser(kind).render(text),
        tags=TAGS,
        attributes=ATTRIBUTES,
        allowed_classes=CLASSES,
        url_schemes=URL_SCHEMES,
        link_rel="noopener nofollow",
    )
    return mark_safe(html)


_render_short = lru_cache(maxsize=CACHED_TEXTS)(_render)
_render_long = lru_cache(maxsize=CACHED_LONG_TEXTS)(_render)


@lru_cache
def _parser(kind: str) -> MarkdownIt:
    # breaks: a single newline in an answer is one that the labeler must see; a document's are the editor's line wraps.
    parser = MarkdownIt("commonmark", {"html": False, "breaks": kind == "answer"}).enable(["table", "strikethrough"])
    parser.use(maths_plugin)
    parser.inline.ruler.at("emphasis", _emphasis)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    for cell in ("th_open", "td_open"):
        parser.add_render_rule(cell, _cell)
    for edge in ("heading_open", "heading_close"):
        parser.add_render_rule(edge, _answer_heading if kind == "answer" else _document_heading)
    return parser


def _emphasis(state: StateInline, silent: bool) -> bool:
    """Asterisks as CommonMark has them, except beside Chinese, Japanese or Korean.

    There words have no spaces between them, and by CommonMark's rule `**注意：**请` would not be bold.
    """
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    opens, closes, length = state.scanDelims(state.pos, marker == "*")
    before, after = state.src[state.pos - 1 : state.pos], state.src[state.pos + length : state.pos + length + 1]
    if marker == "*" and CJK.search(before + after):
        opens, closes = bool(after.strip()), bool(before.strip()) and state.pos > 0
    for _number in range(length):
        state.push("text", "", 0).content = marker
        place = len(state.tokens) - 1
        state.delimiters.append(Delimiter(ord(marker), length, place, end=-1, open=opens, close=closes))
    state.pos += length
    return True


def _fence(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    info = tokens[index].info.split(maxsplit=1)
    language = info[0] if info else ""
    kind = f' class="language-{escape(language)}"' if language else ""
    return f"<pre><code{kind}>{code_colours.code_html(tokens[index].content, language)}</code></pre>\n"


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    description = tokens[index].content or str(tokens[index].attrGet("src") or "")
    return f'<span class="image-left-out">[{escape(description)}]</span>'


def _table_open(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """A table that is too wide scrolls in a box of its own, which the keyboard reaches."""
    name = escape(_("Table"))
    return f'<div class="wide-table" tabindex="0" role="group" aria-label="{name}">\n<table>\n'


def _table_close(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    return "</table>\n</div>\n"


def _cell(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """A column's alignment as a class, because the policy forbids the style attribute that markdown-it writes."""
    style = str(tokens[index].attrGet("style") or "")
    alignment = style.removeprefix("text-align:")
    return f'<{tokens[index].tag} class="align-{escape(alignment)}">' if style else f"<{tokens[index].tag}>"


def _answer_heading(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    return f'<p class="heading-{token.tag[1]}">' if token.nesting == 1 else "</p>\n"


def _document_heading(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    token = tokens[index]
    level = min(6, int(token.tag[1]) + 1)
    return f"<h{level}>" if token.nesting == 1 else f"</h{level}>\n"
