"""What models and people write is shown whole and can do nothing."""

from __future__ import annotations

import re

import pytest
from django.utils import translation
from hypothesis import given
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


@given(st.text(alphabet=st.sampled_from("<>&\"'[]()!#*_`|-:\\ \nabjscripton=/ 中"), max_size=80))
def test_no_text_makes_a_tag_outside_the_list(text):
    names = {name.lower() for name in re.findall(r"</?([a-zA-Z0-9]+)", answer_html(text))}
    allowed = "a blockquote br code del em hr li ol p pre s span strong ul div table thead tbody tr th td"
    assert names <= set(allowed.split())


def test_html_is_shown_as_the_text_it_is():
    assert "&lt;b&gt;bold&lt;/b&gt;" in answer_html("<b>bold</b>")


def test_an_image_becomes_its_description():
    html = answer_html("![a cat](https://tracker.example/pixel.png)")
    assert "[a cat]" in html and "tracker.example" not in html


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
