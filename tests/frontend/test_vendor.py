"""Third-party files are the ones that VENDOR.md says, and ask for nothing that is not here."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import frontend

VENDOR = Path(frontend.__file__).parent / "static" / "frontend" / "vendor"


def listed() -> dict[str, str]:
    rows = re.findall(r"^\| (\S+\.(?:js|css|svg)) \|.*\| ([0-9a-f]{64}) \|$", (VENDOR / "VENDOR.md").read_text(), re.M)
    return dict(rows)


def test_every_file_has_the_hash_that_vendor_md_names():
    files = {path.name for path in VENDOR.iterdir() if path.suffix in {".js", ".css", ".svg"}}
    assert set(listed()) == files
    for name, digest in listed().items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_no_file_names_a_source_map():
    for name in listed():
        assert "sourceMappingURL" not in (VENDOR / name).read_text()


def test_every_icon_that_a_template_names_is_in_the_sprite():
    symbols = set(re.findall(r'<symbol id="([^"]+)"', (VENDOR / "icons.svg").read_text()))
    root = VENDOR.parents[2]
    sources = [path.read_text() for path in [*root.rglob("*.html"), root / "access.py"]]
    used = {name for text in sources for name in re.findall(r'\{% icon "([^"]+)" %\}', text)}
    used |= set(re.findall(r'Tab\("[^"]+", _\("[^"]+"\), "([^"]+)"', (root / "access.py").read_text()))
    assert used and used <= symbols
