from __future__ import annotations

import gettext
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config.translations import BASE_DIR, PACKAGES, entry_parts, texts, translations, untranslated


def test_texts_of_templates_and_python_are_found(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.html").write_text(
        "{% load i18n %}{% translate 'Sign in' %}{% blocktranslate with n=name %}Hello, {{ n }}{% endblocktranslate %}"
        "{% blocktranslate trimmed %}\n  two\n  lines\n{% endblocktranslate %}"
    )
    (tmp_path / "views.py").write_text("_('Saved \"it\".')\ngettext_lazy('Later')\nother('not this')\n")
    assert {text for _, text in texts(tmp_path)} == {
        "Sign in",
        "Hello, %(n)s",
        "two lines",
        'Saved "it".',
        "Later",
    }


def test_a_catalog_is_read_and_fuzzy_entries_do_not_count(tmp_path: Path) -> None:
    catalog = tmp_path / "django.po"
    catalog.write_text(
        'msgid ""\nmsgstr "Language: zh"\n\n#: a.html\nmsgid "Sign in"\nmsgstr "登录"\n\n'
        '#, fuzzy\nmsgid "Later"\nmsgstr "稍后"\n\nmsgid "two "\n"parts"\nmsgstr ""\n"两段"\n\n'
        'msgid "%(n)s row"\nmsgid_plural "%(n)s rows"\nmsgstr[0] "%(n)s 行"\n',
        encoding="utf-8",
    )
    assert translations(catalog) == {"Sign in": "登录", "Later": "", "two parts": "两段", "%(n)s row": "%(n)s 行"}


CATALOG = BASE_DIR / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
NAMES = re.compile(r"%\(\w+\)[sdr]|\{\w+\}|</?\w+>")


def entries(catalog: Path) -> list[dict[str, str]]:
    blocks = re.split(r"\n\s*\n", catalog.read_text(encoding="utf-8").strip())
    found = [entry_parts([line for line in block.splitlines() if not line.startswith("#")]) for block in blocks]
    return [entry for entry in found if entry.get("msgid")]


def chinese(entry: dict[str, str]) -> str:
    return entry.get("msgstr") or entry.get("msgstr[0]") or ""


def test_the_chinese_catalog_says_everything_and_nothing_twice() -> None:
    assert untranslated(CATALOG) == []
    assert [entry["msgid"] for entry in entries(CATALOG) if not chinese(entry).strip()] == []
    text = CATALOG.read_text(encoding="utf-8")
    assert "fuzzy" not in text and "#~" not in text
    assert len({entry["msgid"] for entry in entries(CATALOG)}) == len(entries(CATALOG))


def test_the_compiled_catalog_is_the_written_one() -> None:
    """Users have no gettext tools, so the compiled catalog is committed beside the written one."""
    with CATALOG.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert compiled.info()["language"] == "zh_Hans"
    for entry in entries(CATALOG):
        one, many = entry["msgid"], entry.get("msgid_plural", "")
        for count in (1, 2):
            assert (compiled.ngettext(one, many, count) if many else compiled.gettext(one)) == chinese(entry)
    catalog: dict[object, str] = compiled._catalog  # type: ignore[attr-defined]
    known = {key[0] if isinstance(key, tuple) else key for key in catalog}
    assert known - {""} == {entry["msgid"] for entry in entries(CATALOG)}


def test_a_translation_keeps_the_names_and_the_html_of_its_text() -> None:
    for entry in entries(CATALOG):
        text = entry.get("msgid_plural", entry["msgid"])
        assert set(NAMES.findall(chinese(entry))) == set(NAMES.findall(text)), text


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="no gettext tools here: install the package gettext")
def test_makemessages_would_change_nothing(tmp_path: Path) -> None:
    for name in [*PACKAGES, "locale"]:
        shutil.copytree(BASE_DIR / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    command = [sys.executable, "-m", "django", "makemessages", "-l", "zh_Hans", "--add-location", "file", "--no-wrap"]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    anew = tmp_path / CATALOG.relative_to(BASE_DIR)
    assert "#~" not in anew.read_text(encoding="utf-8"), "texts that nobody says any more: run makemessages"
    assert entries(anew) == entries(CATALOG)
