"""What models and people write is shown whole and can do nothing."""

from __future__ import annotations

import html
import re

import pytest
from django.utils import translation
from hypothesis import assume, given
from hypothesis import strategies as st

from frontend.markdown import answer_html, document_html

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><circle/></svg>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "<math><mtext></mtext><mglyph><style></style></mglyph></math>",
    '[x](https://a.example "onmouseover=alert(1)")',
    '<a href="https://a.example" style="position:fixed" onclick="x()">x</a>',
    "![x](https://tracker.example/pixel.png)",
    "| a |\n|:-:|\n| <b onclick=x()>b</b> |",
    "$<img src=x onerror=alert(1)>$",
    "$$\n</span><script>alert(1)</script>\n$$",
    "```html\n<script>alert(1)</script><img src=x onerror=alert(1)>\n```",
    '```"onmouseover=alert(1)\nx\n```',
]
TAG = re.compile(r"<[^>]*>")


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("render", [answer_html, document_html])
def test_an_attack_leaves_no_active_markup(attack, render):
    tags = " ".join(TAG.findall(render(attack))).lower()
    for poison in (
        "<script",
        "<img",
        "<svg",
        "<math",
        "<style",
        "javascript:",
        "data:",
        "onerror",
        "onclick",
        "onload",
        "style=",
    ):
        assert poison not in tags


@given(st.text(alphabet=st.sampled_from("<>&\"'[]()!#*_`|-:\\ \nabjscripton=/ 中$"), max_size=80))
def test_no_text_makes_a_tag_outside_the_list(text):
    names = {name.lower() for name in re.findall(r"</?([a-zA-Z0-9]+)", answer_html(text))}
    allowed = "a blockquote br code del em hr li ol p pre s span strong ul div table thead tbody tr th td"
    assert names <= set(allowed.split())


def test_html_is_shown_as_the_text_it_is():
    assert "&lt;b&gt;bold&lt;/b&gt;" in answer_html("<b>bold</b>")


def test_an_image_becomes_its_description():
    shown = answer_html("![a cat](https://tracker.example/pixel.png)")
    assert "[a cat]" in shown and "tracker.example" not in shown


def test_links_are_kept_from_telling_and_from_ranking():
    html = answer_html("[site](https://a.example)")
    assert 'href="https://a.example"' in html and 'rel="noopener nofollow"' in html


def test_a_single_newline_is_a_line_break():
    assert answer_html("one\ntwo").count("<br") == 1


def test_an_answers_headings_stay_out_of_the_pages_outline():
    assert not re.search(r"<h\d", answer_html("# big\n\n### small"))
    assert 'class="heading-1"' in answer_html("# big")


def test_a_documents_headings_start_below_the_pages_own():
    html = document_html("# one\n\n## two")
    assert "<h2>one</h2>" in html and "<h3>two</h3>" in html


def test_a_table_keeps_its_alignment_without_a_style():
    html = answer_html("| a | b |\n|---|--:|\n| 1 | 2 |")
    assert 'class="align-right"' in html and "style" not in html


def test_a_table_stands_in_a_box_that_the_keyboard_can_scroll():
    text = "| one |\n|---|\n| 1 |\n\nand\n\n| two |\n|---|\n| 2 |"
    named = r'<div (?=[^>]*class="wide-table")(?=[^>]*tabindex="0")(?=[^>]*aria-label="%s")[^>]*>'
    box = named + r"\s*<table>.*?</table>\s*</div>"
    for language, name in (("en", "Table"), ("zh-hans", "表格")):
        with translation.override(language):
            assert len(re.findall(box % name, document_html(text), re.DOTALL)) == 2


def test_a_box_of_ones_own_is_shown_as_text():
    assert "<div" not in answer_html('<div tabindex="0">x</div>')


def test_no_text_is_cut():
    text = "word " * 5000
    assert answer_html(text).count("word") == 5000


# --- Maths -----------------------------------------------------------------------------------------


def formulas(text: str) -> list[str]:
    return [html.unescape(tex) for tex in re.findall(r'<span class="math-\w+">(.*?)</span>', answer_html(text), re.S)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Euler: $e^{i\\pi} = -1$.", ["e^{i\\pi} = -1"]),
        ("so \\(a < b\\) and \\[c_1 * c_2\\]", ["a < b", "c_1 * c_2"]),
        ("$$\nx\n- y\n= z\n$$", ["x\n- y\n= z"]),
        ("before\n\\[\n\\frac{1}{2}\n\\]\nafter", ["\\frac{1}{2}"]),
        ("由$x$得$$y$$", ["x", "y"]),
        ("> $$\n> a\n> $$", ["a"]),
        ("It costs $5, or $10 with the lid.", []),
        ("from US$5/US$10, $HOME/$PATH, $ 3 $ and 100$", []),
        ("`$x$` and \\$x$", []),
        ("```\n$x$\n```", []),
        ("$$\n\nx\n$$", []),
        ("$" + "x" * 5000 + "$", []),
    ],
)
def test_formulas_are_told_from_prices(text, found):
    assert formulas(text) == found


@given(st.text(alphabet="$\\()[]x \n*_", max_size=60))
def test_no_letter_is_lost_to_a_formula(text):
    assume("](" not in text)  # a link's address is not shown
    assert re.sub(r"<[^>]*>", "", answer_html(text)).count("x") == text.count("x")


# --- Code ------------------------------------------------------------------------------------------


def test_code_is_coloured_on_the_server_and_stays_the_same_text():
    code = 'def f(x):\n    return "<b>" + x  # 评论\n'
    shown = answer_html(f"```python\n{code}```")
    assert '<span class="k">def</span>' in shown and 'class="language-python"' in shown
    assert html.unescape(re.sub(r"<[^>]*>", "", shown)).strip("\n") == code.strip("\n")


@pytest.mark.parametrize("language", ["", "klingon", "brainfuck"])
def test_code_in_another_language_is_shown_plain(language):
    assert "<span" not in answer_html(f"```{language}\ndef f(): pass\n```")


def test_very_long_code_is_shown_plain_and_whole():
    code = "x = 1\n" * 3000
    shown = answer_html(f"```python\n{code}```")
    assert "<span" not in shown and shown.count("x = 1") == 3000


@given(
    st.text(alphabet="<>&\"'`/*#@{}()=\\\n ab1", max_size=60), st.sampled_from(["python", "html", "js", "sql", "yaml"])
)
def test_code_can_do_nothing(code, language):
    shown = answer_html(f"~~~{language}\n{code}\n~~~")
    assert set(re.findall(r"</?([a-z]+)", shown)) <= {"pre", "code", "span"} or "~~~" in code
    assert not re.search(r"<span(?! class=\"[a-z0-9]+\">)", shown)


# --- Chinese, Japanese, Korean ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bold"),
    [
        ("**注意：**请先保存。", "注意："),
        ("他说**“好。”**然后走了", "“好。”"),
        ("これは**「重要」**です", "「重要」"),
        ("이것은**중요**합니다", "중요"),
        ("plain **bold** text", "bold"),
    ],
)
def test_bold_works_where_words_have_no_spaces(text, bold):
    assert f"<strong>{bold}</strong>" in answer_html(text)


@pytest.mark.parametrize("text", ["2 * 3 * 4", "a ** b ** c", "snake_case_name", "中 * 文 * 字"])
def test_loose_asterisks_stay_asterisks(text):
    assert "<em>" not in answer_html(text) and "<strong>" not in answer_html(text)
