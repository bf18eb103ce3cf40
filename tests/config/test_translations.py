from __future__ import annotations

from pathlib import Path

from config.translations import texts, translations


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
