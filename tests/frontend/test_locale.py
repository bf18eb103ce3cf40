"""The Chinese catalog: compiled as it is written, complete, and true to its placeholders."""

from __future__ import annotations

import gettext
import re

import pytest
from django.conf import settings
from django.test import Client

from config.translations import translations, untranslated

FOLDER = settings.LOCALE_PATHS[0] / "zh_Hans" / "LC_MESSAGES"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|\{\w+\}|<[^>]+>")


def test_nothing_is_left_untranslated():
    assert untranslated(FOLDER / "django.po") == []


def test_the_compiled_catalog_is_the_written_one():
    with (FOLDER / "django.mo").open("rb") as compiled:
        catalog = gettext.GNUTranslations(compiled)._catalog  # type: ignore[attr-defined]
    written = translations(FOLDER / "django.po")
    assert written
    for text, translation in written.items():
        assert catalog.get(text, catalog.get((text, 0))) == translation


def test_a_translation_names_nothing_that_the_text_does_not():
    for text, translation in translations(FOLDER / "django.po").items():
        extra = set(PLACEHOLDER.findall(translation)) - set(PLACEHOLDER.findall(text))
        assert extra <= {"%(samples_per_prompt)s"}, text  # named by that text's plural


@pytest.mark.parametrize("page", ["label/", "history/", "guidelines/"])
def test_a_page_in_chinese_leaves_no_english_of_ours(scene, page):
    client = Client(headers={"Accept-Language": "zh-CN"})
    client.force_login(scene.alice)
    html = client.get(f"/p/{scene.project.slug}/{page}").content.decode()
    assert 'lang="zh-Hans"' in html and "标注" in html
    for english in ("Start labeling", "History", "Guidelines<", "Sign out", "Your labels", "Skip to the content"):
        assert english not in html
