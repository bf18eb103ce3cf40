"""Import, snapshot, export and the data page, with memory, beside Label Studio and `datasets`: `manage.py bench data`.

Prints JSON lines. A row is a line of the file that is brought in, and a label or prompt of the snapshot that is written
out: a ranking of four answers, a demonstration, or a prompt. `rows_s` counts those; of rankings `answers_s` counts the
ranked answers, four a ranking, and the aim is of them. Of an export `lines_s` counts the lines that came out: a ranking
of four is up to six pairs. Each step has a process of its own, as a worker has, and `peak_mb` is all that it ever held.
Databases are made for it and dropped. In full it takes some twenty minutes on two cores; --quick takes one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.data import ground, plan, report
from benchmarks.data.stores import DATABASES, SERVER, NoServer, Store, store
from benchmarks.training.__main__ import default_cache
from benchmarks.training.peer_environment import NoPeer, Peer, peer_python
from benchmarks.training.process import ChildFailed, run_child

HERE = Path(__file__).parent
SEEDS = {"rankings": 1, "demonstrations": 2, "prompts": 3}
THREADS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the databases are dropped then too
    met = True
    with tempfile.TemporaryDirectory(prefix="plackett-data-", dir=options.folder) as name:
        for found in lines(options, Path(name)):
            print(json.dumps(found), flush=True)
            met = met and "error" not in found and found.get("met", True) and found.get("met_mb", True)
    return 0 if met else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="manage.py bench data", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=0, help=f"rankings, of four answers each ({plan.ROWS:,})")
    parser.add_argument("--quick", action="store_true", help=f"{plan.QUICK_ROWS:,} rankings: to see that it works")
    parts = ",".join(plan.PARTS)
    parser.add_argument("--only", default="", help=f"parts, by commas; all, or with --quick ours ({parts})")
    parser.add_argument("--database", choices=(*DATABASES, "both"), default="both")
    parser.add_argument(
        "--server",
        default=os.environ.get("DATABASE_URL") or SERVER,
        help=f"where PostgreSQL databases may be made ({SERVER})",
    )
    parser.add_argument("--peer-rows", type=int, default=0, help=f"Label Studio's ({plan.PEER_ROWS:,})")
    parser.add_argument("--folder", type=Path, help="where files and the SQLite database lie meanwhile")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where the others' environments are kept")
    parser.add_argument("--datasets-python", type=Path, help="an interpreter that has `datasets`")
    parser.add_argument("--label-studio-python", type=Path, help="an interpreter that has Label Studio")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",") if options.only else plan.PARTS[: -2 if options.quick else None]
    unknown = set(options.only) - set(plan.PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; the parts are {', '.join(plan.PARTS)}")
    options.rows = options.rows or (plan.QUICK_ROWS if options.quick else plan.ROWS)
    options.peer_rows = options.peer_rows or (200 if options.quick else plan.PEER_ROWS)
    options.databases = DATABASES if options.database == "both" else (options.database,)
    return options


def lines(options: argparse.Namespace, folder: Path) -> Iterator[report.Line]:
    ours = [part for part in options.only if part not in ("datasets", "label-studio")]
    if ours:
        for number, database in enumerate(options.databases):
            try:
                with store(database, folder, options.server) as made:
                    yield from our_lines(options, made, folder, first=number == 0)
            except NoServer as problem:
                yield report.failure("plackett", "all", database, str(problem))
    if "datasets" in options.only:
        yield from datasets_lines(options, folder)
    if "label-studio" in options.only:
        yield from label_studio_lines(options, folder)


# --- Ours -------------------------------------------------------------------------------------------


def our_lines(options: argparse.Namespace, made: Store, folder: Path, *, first: bool) -> Iterator[report.Line]:
    take(made, {"step": "prepare"}, folder)
    steps = plan.quick_steps if options.quick else plan.steps
    for step in steps(options.rows, first=first):
        if step.part and step.part not in options.only:
            continue
        about = step.about | {"rows": step.spec["rows"]}
        spec = {"step": step.name, **step.spec}
        if step.name == "import":
            spec["path"] = str(file_of(folder, step.spec))
        try:
            record = take(made, spec, folder)
        except ChildFailed as problem:
            yield report.failure("plackett", step.name, made.database, str(problem), **about)
            continue
        finally:
            if step.name == "import" and not is_large(step):
                Path(spec["path"]).unlink()
        if step.name == "pages":
            yield from report.page_lines(made.database, record, **about)
        else:
            yield report.line("plackett", step.name, made.database, record, **about)


def take(made: Store, spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    shown = " ".join(str(value) for value in (spec["step"], made.database, *spec.values()) if value)[:120]
    print(f"  {shown}", file=sys.stderr, flush=True)
    spec |= {"threads": THREADS, "environment": dict(made.environment)}
    return run_child(sys.executable, "benchmarks.data.ours", spec, folder / "log.txt")


def file_of(folder: Path, spec: dict[str, Any]) -> Path:
    """The file of an import, made if it is not there: each file type has rows of its own."""
    suffix, _, grouping = spec["file"].partition(", ")
    path = folder / f"{spec['kind']}-{suffix}{'-one' if grouping else ''}.{suffix}"
    if not path.exists():
        seed = 10 * SEEDS[spec["kind"]] + sum(spec["file"].encode()) % 7
        ground.make(path, spec["kind"], spec["rows"], seed, one_group=bool(grouping))
    return path


def is_large(step: plan.Step) -> bool:
    """The large file stays: the other database and `datasets` read it too."""
    return step.spec["kind"] == "rankings" and step.spec["file"] == "jsonl"


# --- Others -----------------------------------------------------------------------------------------


def datasets_lines(options: argparse.Namespace, folder: Path) -> Iterator[report.Line]:
    """`datasets` reads our file and writes it out."""
    try:
        python = options.datasets_python or peer_python(
            options.cache, Peer("datasets", HERE / "requirements-datasets.txt", needed_gib=1.0)
        )
    except NoPeer as problem:
        yield report.failure("datasets", "all", "", str(problem))
        return
    path = file_of(folder, {"kind": "rankings", "file": "jsonl", "rows": options.rows})
    shared = {"path": str(path), "loader": "json", "cache": str(folder / "datasets"), "threads": THREADS}
    wanted = [("import", "load", "jsonl"), *(("export", "export", name) for name in ("jsonl", "csv", "parquet"))]
    for what, step, container in wanted:
        about = {"kind": "rankings", "format": container}
        spec = {**shared, "step": step, "container": container, "target": str(folder / f"out.{container}")}
        try:
            record = run_child(python, "benchmarks.data.peer_datasets", spec, folder / "log.txt")
        except ChildFailed as problem:
            yield report.failure("datasets", what, "", str(problem), **about)
            continue
        yield report.line("datasets", what, "", record, **about)


def label_studio_lines(options: argparse.Namespace, folder: Path) -> Iterator[report.Line]:
    """Label Studio with its own server and SQLite takes rankings in as tasks with annotations, and gives them back."""
    from benchmarks.data.peer_label_studio import PeerFailed, measured

    try:
        python = options.label_studio_python or peer_python(
            options.cache, Peer("Label Studio", HERE / "requirements-label-studio.txt", needed_gib=2.5)
        )
        for what, container, record in measured(python, folder, options.peer_rows):
            about = {"kind": "rankings", "format": container, "rows": options.peer_rows}
            yield report.line("label-studio", what, "sqlite", record, **about)
    except (NoPeer, PeerFailed) as problem:
        yield report.failure("label-studio", "all", "sqlite", str(problem))


if __name__ == "__main__":
    sys.exit(main())
