"""`manage.py bench NAME [args]`: one door to the benchmarks, each a module of `benchmarks/` that prints JSON lines."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

BASE_DIR = Path(__file__).resolve().parent.parent.parent.parent
BENCHMARKS = BASE_DIR / "benchmarks"


class Command(BaseCommand):
    help = "Measure something: manage.py bench NAME [arguments of that benchmark]. Without a name: what there is."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="which benchmark; its own --help says what it takes")

    def run_from_argv(self, argv: list[str]) -> None:
        """Hand everything behind the name on, --help too; what stands before it is ours."""
        if len(argv) > 2 and not argv[2].startswith("-"):
            self.start(argv[2], argv[3:])
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["name"]:
            self.start(options["name"], [])
        for name, about in benchmarks().items():
            self.stdout.write(f"{name:12} {about}")

    def start(self, name: str, arguments: list[str]) -> None:
        """Become the benchmark: a process of its own, so that web code and torch stay apart."""
        known = benchmarks()
        if name not in known:
            raise SystemExit(f"There is no benchmark {name}: choose from {', '.join(known)}.")
        sys.stdout.flush()
        os.chdir(BASE_DIR)
        os.execv(sys.executable, [sys.executable, "-m", f"benchmarks.{name}", *arguments])


def benchmarks() -> dict[str, str]:
    """The name of each benchmark that can be run, and the first line of what it says of itself."""
    modules = {path.stem: path for path in BENCHMARKS.glob("[a-z]*.py")}
    packages = {path.parent.name: path for path in BENCHMARKS.glob("[a-z]*/__main__.py")}
    found = sorted((modules | packages).items())
    return {name: about(path) for name, path in found}


def about(path: Path) -> str:
    """The first line of a file's docstring; reading it loads nothing."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0]
