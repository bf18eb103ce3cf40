"""What the requirement files pin, and what of it this interpreter lacks.

`python -m config.requirements FILE` prints that, and exits 1 where there is any. Standard library only. Knows the few
forms that our own files use: `name[extras]==version; marker # why`, `-r`, `-c`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?:==(?P<version>[^;\s]+))?\s*(?:;\s*(?P<marker>.+))?$")
MARKER = re.compile(r"""^sys_platform\s*(?P<operator>==|!=)\s*["'](?P<platform>\w+)["']$""")


def pins(path: Path) -> Iterator[tuple[str, str | None]]:
    """Give each (package, version) that this file and the files it includes ask for on this platform."""
    for line in path.read_text().splitlines():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if text.startswith("-r"):
            yield from pins(path.parent / text[2:].strip())
        elif text and not text.startswith("-"):
            found = PIN.match(text)
            if found is None:
                raise ValueError(f"{path.name}: can't read the line {line!r}")
            if applies(found["marker"]):
                yield found["name"], found["version"]


def included(path: Path) -> list[Path]:
    """Return this file and every file that it includes by -r or -c, each once."""
    found = [path]
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] in ("-r", "-c"):
            found += [file for file in included(path.parent / words[1]) if file not in found]
    return found


def applies(marker: str | None) -> bool:
    if not marker:
        return True
    found = MARKER.match(marker.strip())
    if found is None:
        return True
    return (sys.platform == found["platform"]) == (found["operator"] == "==")


def missing_pins(path: Path) -> list[str]:
    """Return what is not installed here in the pinned version; a local build such as 2.13.0+cpu counts as 2.13.0."""
    return [
        f"{name}=={version}" if version else name for name, version in pins(path) if not is_installed(name, version)
    ]


def is_installed(name: str, version: str | None) -> bool:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return version is None or found == version or found.partition("+")[0] == version


def pinned_version(path: Path, name: str) -> str | None:
    return dict(pins(path)).get(name)


if __name__ == "__main__":
    lacking = missing_pins(Path(sys.argv[1]))
    print("\n".join(lacking))
    sys.exit(1 if lacking else 0)
