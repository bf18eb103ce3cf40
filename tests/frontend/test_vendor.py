"""Third-party files are the ones that VENDOR.md says, and ask for nothing that is not here."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import frontend

VENDOR = Path(frontend.__file__).parent / "static" / "frontend" / "vendor"


def listed() -> dict[str, str]:
    rows = re.findall(
        r"^\| (\S+\.(?:js|css|svg|woff2)) \|.*\| ([0-9a-f]{64}) \|$", (VENDOR / "VENDOR.md").read_text(), re.M
    )
    return dict(rows)


def test_every_file_has_the_hash_that_vendor_md_names():
    kinds = {".js", ".css", ".svg", ".woff2", ".woff", ".ttf"}
    files = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.suffix in kinds}
    assert set(listed()) == files
    for name, digest in listed().items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_no_file_names_a_source_map():
    for name in listed():
        assert b"sourceMappingURL" not in (VENDOR / name).read_bytes(), name


def test_every_file_that_a_style_names_is_here():
    """Not one in a format that was left out: a manifest of static files refuses a name that is not there."""
    for style in VENDOR.glob("*.css"):
        for name in re.findall(r"url\(([^)]+)\)", style.read_text()):
            assert name.startswith("data:") or (VENDOR / name).is_file(), name


def test_every_icon_that_a_template_names_is_in_the_sprite():
    symbols = set(re.findall(r'<symbol id="([^"]+)"', (VENDOR / "icons.svg").read_text()))
    root = VENDOR.parents[2]
    sources = [path.read_text() for path in [*root.rglob("*.html"), root / "access.py"]]
    used = {name for text in sources for name in re.findall(r'\{% icon "([^"]+)" %\}', text)}
    used |= set(re.findall(r'Tab\("[^"]+", _\("[^"]+"\), "([^"]+)"', (root / "access.py").read_text()))
    assert used and used <= symbols
