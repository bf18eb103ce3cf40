"""Find text of ours that has no translation: `python -m config.translations` prints each and exits 1.

Needs no gettext tools: templates go through Django's own templatize, Python through its own parser.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from django.utils.translation.template import templatize

BASE_DIR = Path(__file__).resolve().parent.parent
PACKAGES = ["annotation", "training", "frontend", "demo", "config"]
FUNCTIONS = {"gettext", "gettext_lazy", "ngettext", "ngettext_lazy", "_"}
ENTRY = re.compile(r'^(msgid|msgid_plural|msgstr(?:\[\d\])?|msgctxt) ("(?:[^"\\]|\\.)*")$')
CALL_IN_TEMPLATE = re.compile(r"\b(?:n?gettext|_)\(u?(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")


def translations(catalog: Path) -> dict[str, str]:
    """Return msgid -> msgstr; a fuzzy entry counts as none, since Django does not use it."""
    found: dict[str, str] = {}
    for block in re.split(r"\n\s*\n", catalog.read_text(encoding="utf-8")):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        fuzzy = re.search(r"^#,.*\bfuzzy\b", block, re.M)
        parts = entry_parts(lines)
        if parts.get("msgid"):
            found[parts["msgid"]] = "" if fuzzy else parts.get("msgstr", parts.get("msgstr[0]", ""))
    return found


def entry_parts(lines: list[str]) -> dict[str, str]:
    parts: dict[str, str] = {}
    name = ""
    for line in lines:
        if start := ENTRY.match(line):
            name = start[1]
            parts[name] = ast.literal_eval(start[2])
        elif line.startswith('"') and name:
            parts[name] += ast.literal_eval(line)
    return parts


def texts_in_python(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args and called(node.func) in FUNCTIONS:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def called(function: ast.expr) -> str:
    return str(getattr(function, "id", "") or getattr(function, "attr", ""))


def texts_in_template(source: str) -> Iterator[str]:
    for call in CALL_IN_TEMPLATE.finditer(templatize(source)):
        yield ast.literal_eval(call["text"])


def texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Give every text of this package that asks for a translation, with the file that it stands in."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".py" and "migrations" not in path.parts:
            found = texts_in_python(path.read_text(encoding="utf-8"))
        elif path.suffix in {".html", ".txt"} and "templates" in path.parts:
            found = texts_in_template(path.read_text(encoding="utf-8"))
        else:
            continue
        for text in found:
            yield path, text


def untranslated(catalog: Path) -> list[str]:
    known = translations(catalog)
    return [
        f"{path.relative_to(BASE_DIR)}: {text!r}"
        for name in PACKAGES
        for path, text in texts(BASE_DIR / name)
        if text.strip() and not known.get(text)
    ]


def main() -> int:
    lacking = {catalog: untranslated(catalog) for catalog in sorted((BASE_DIR / "locale").glob("*/LC_MESSAGES/*.po"))}
    for catalog, lines in lacking.items():
        for line in lines:
            print(f"{catalog.relative_to(BASE_DIR)} lacks {line}")
    return 1 if any(lacking.values()) else 0


if __name__ == "__main__":
    import django
    from django.conf import settings

    settings.configure(USE_I18N=True)
    django.setup()
    sys.exit(main())
