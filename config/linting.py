"""`manage.py lint`: style, types, who imports whom, templates, migrations, translations. Says which of them failed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
PACKAGES = ["annotation", "training", "frontend", "demo", "config"]


def checks() -> dict[str, list[str]]:
    """Return each check's command line, the longest first, since two run at a time."""
    python = [sys.executable, "-m"]
    templates = [str(path) for name in PACKAGES if (path := BASE_DIR / name / "templates").is_dir()]
    lint_imports = "import sys; from importlinter.cli import lint_imports_command as command; sys.exit(command())"
    return {
        "types (mypy)": [*python, "mypy", *PACKAGES, "benchmarks"],
        "imports (import-linter)": [sys.executable, "-c", lint_imports],
        "migrations (makemigrations --check)": [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
        "templates (djlint)": [*python, "djlint", "--lint", "--quiet", *templates],
        "translations": [*python, "config.translations"],
        "style (ruff check)": [*python, "ruff", "check", "."],
        "format (ruff format)": [*python, "ruff", "format", "--check", "."],
    }


def run(command: list[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    started = time.monotonic()
    result = subprocess.run(
        command, cwd=BASE_DIR, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    )
    return result, time.monotonic() - started


def environment() -> dict[str, str]:
    """Return an environment in which Django's checks need neither a database nor a key of yours."""
    dropped = {"DATABASE_URL", "REDIS_URL"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"SECRET_KEY": "for checks alone, which sign nothing at all", "PYTHONPATH": str(BASE_DIR)}


def main(arguments: list[str]) -> int:
    """Run every check, two at a time, and return 1 where one failed."""
    if arguments:
        print(
            "manage.py lint takes no arguments; run the tool itself on a part, such as ruff check FILE", file=sys.stderr
        )
        return 2
    started = time.monotonic()
    failed = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        names = {pool.submit(run, command): name for name, command in checks().items()}
        for future in as_completed(names):
            result, seconds = future.result()
            name = names[future]
            print(f"{'ok    ' if result.returncode == 0 else 'FAILED'}  {name} ({seconds:.1f} s)", flush=True)
            if result.returncode:
                failed.append(name)
                print(result.stdout.rstrip() + "\n", flush=True)
    seconds = time.monotonic() - started
    print(f"Lint failed in {seconds:.0f} s: {', '.join(failed)}" if failed else f"Lint is clean ({seconds:.0f} s)")
    return 1 if failed else 0
