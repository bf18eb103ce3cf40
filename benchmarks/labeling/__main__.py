"""Labeling under load: 100 labelers at once on 1,000,000 answers, kills during it, and Label Studio beside it.

    python3 manage.py bench labeling > FILE                    everything, on PostgreSQL and SQLite, then Label Studio
    python3 manage.py bench labeling --quick                   a minute, to see that it works
    python3 manage.py bench labeling --database sqlite --only none kills
    python3 manage.py bench labeling --only peer
    python3 manage.py bench labeling --state FILE              goes on where a stopped run was, and prints all rows
    python3 manage.py bench labeling --markdown FILE           the rows as a table

Prints a JSON line a part. The server is `manage.py up` with two web processes, on a database of the benchmark's own.
A labeler asks for what their browser asks for: the task's page (`next`), a draft every three seconds of thought and at
least one (`draft`), the submit, which also takes the next task (`submit`); `turn` is from the press of Submit to the
next page. Parts:

    small    10,000 answers, ten seconds of thought        thought  the same on all answers
    pages    the lead's pages                              steps    more labelers, until a p95 crosses 150 ms
    kills    web processes, database connections and networks, meanwhile
    none     no thought, until the database holds as many labels as --labels says
    peer     Label Studio, by API, without thought, and ours beside it
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.labeling.figures import table
from benchmarks.labeling.places import NoDatabase

DATABASES = ("postgresql", "sqlite")
PARTS = ("small", "thought", "pages", "steps", "kills", "none", "peer")
QUICK_PARTS = ("thought", "pages", "kills", "none")
SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.markdown:
        print(table(json.loads(text) for path in options.markdown for text in path.read_text().splitlines() if text))
        return 0
    from benchmarks.labeling.plan import carry_out

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers and databases go then too
    try:
        return carry_out(options)
    except NoDatabase as problem:
        print(problem, file=sys.stderr)
        return 2


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="manage.py bench labeling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", nargs="+", choices=DATABASES, default=list(DATABASES), help="where (both)")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="which parts (all; with --quick the first few)")
    parser.add_argument("--quick", action="store_true", help="small and short, to see that it works")
    parser.add_argument("--answers", type=int, default=1_000_000, help="answers of the large project (1,000,000)")
    parser.add_argument("--labels", type=int, default=20_000, help="labels a database in all, by `none` (20,000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="measured seconds of a part with thought (60)")
    parser.add_argument("--longest", type=float, default=600.0, help="seconds of `none` at most (600)")
    parser.add_argument("--state", type=Path, help="a file of rows: parts that are in it are not measured again")
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="where databases and environments are kept"
    )
    parser.add_argument("--side", choices=("both", "ours", "theirs"), default="both", help="of the part `peer`")
    parser.add_argument("--peer-python", type=Path, help="an interpreter that has Label Studio, instead of an own one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--postgresql",
        metavar="URL",
        default=os.environ.get("TEST_DATABASE_URL", SERVER),
        help="a server on which a database may be created; it is dropped at the end",
    )
    parser.add_argument("--markdown", type=Path, nargs="+", metavar="FILE", help="only print the table of these rows")
    options = parser.parse_args(arguments)
    options.only = options.only or list(QUICK_PARTS if options.quick else PARTS)
    if options.quick:
        options.answers, options.labels, options.seconds, options.longest = 2_000, 100, 5.0, 10.0
    return options


def default_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "plackett-bench" / "labeling"


if __name__ == "__main__":
    sys.exit(main())
