"""Runs measured: start, supervision's cost, rows a second, recovery from kills, pages over 1,000 runs; JSON lines.

    python3 manage.py bench runs [--only start,overhead,rows,recovery,pages] [--database postgresql sqlite] [--quick]

In installations of its own, made in a temporary folder and removed at the end, with the product's default settings.
`aim` is what is aimed at, `met` whether the median is within it (of a recovery: the longest; of a page: the slowest but
one in twenty). Wants nothing else to run on the machine: `load_before` says whether that was so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.runs.figures import machine
from tests.faults.servers import Lacking, end_with_parent

PARTS = ("start", "overhead", "rows", "recovery", "pages")  # pages last: they fill the database
DATABASES = ("postgresql", "sqlite")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.side:
        return measure(options.side, options)
    print(json.dumps(machine(os.getloadavg()[0])), flush=True)
    return max(one_database(database, options) for database in options.database)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="manage.py bench runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, by commas ({','.join(PARTS)})")
    parser.add_argument("--database", nargs="+", choices=DATABASES, help="on which (both; with --quick, sqlite)")
    parser.add_argument("--quick", action="store_true", help="each part as short as can be, to see that it works")
    parser.add_argument("--runs", type=int, default=0, help="starts and pairs of which the median is taken (5)")
    parser.add_argument("--kills", type=int, default=1, help="times each kill is done (1)")
    parser.add_argument("--side", choices=DATABASES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.parts = [part for part in PARTS if part in options.only.split(",")]
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    options.runs = options.runs or (1 if options.quick else 5)
    options.database = options.database or (["sqlite"] if options.quick else list(DATABASES))
    return options


def one_database(database: str, options: argparse.Namespace) -> int:
    """A process of its own, since a process knows one database; it ends with this one, however this one ends."""
    command = [sys.executable, "-m", "benchmarks.runs", "--side", database, "--only", options.only]
    command += ["--runs", str(options.runs), "--kills", str(options.kills)] + ["--quick"] * options.quick
    side = subprocess.Popen(command, preexec_fn=end_with_parent(signal.SIGTERM))
    try:
        return side.wait()
    except KeyboardInterrupt:
        return side.wait() or 1


def measure(database: str, options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    from benchmarks.runs.ground import ground

    missed = 0
    try:
        with ground(database) as place:
            for part in options.parts:
                place.say(part)
                for line in importlib.import_module(f"benchmarks.runs.{part}").measure(place, options):
                    print(json.dumps(line), flush=True)
                    missed += line["met"] is False
    except Lacking as error:
        print(f"{database}: {error}", file=sys.stderr)
        return 1
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
