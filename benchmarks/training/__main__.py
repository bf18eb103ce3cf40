"""Ours against TRL on this machine, in turn, in one run: `python3 manage.py bench training`.

Prints JSON lines; `ratio` is how many times better ours is, `aim` what is aimed at. Each measurement has a process of
its own, ours and the peer's alternate, and what is printed are medians over the runs. Peak memory is what a process
takes over what its imports took. The share of the floor is our rate over that of the bare passes, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.training.figures import growth_table, table

STAGES = ("sft", "rm", "ppo", "generate")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.markdown:
        lines = [json.loads(text) for path in options.markdown for text in path.read_text().splitlines() if text]
        print("\n\n".join(found for found in (table(lines), growth_table(lines)) if found.count("\n") > 1))
        return 0
    from benchmarks.training import compare, gpu, scaling  # torch and transformers, from here on
    from benchmarks.training.measuring import Bench

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is being measured ends too
    bench = Bench(options)
    if options.scaling:
        return scaling.main(bench)
    return gpu.main(bench) if options.device == "cuda" else compare.main(bench)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="manage.py bench training", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default=",".join(STAGES), help=f"stages, by commas ({','.join(STAGES)})")
    parser.add_argument(
        "--runs", type=int, default=0, help="measurements of each side, of which medians are taken (3; --scaling: 1)"
    )
    parser.add_argument("--quick", action="store_true", help="one short run of each, to see that it works")
    parser.add_argument("--side", choices=("both", "ours", "theirs"), default="both", help="measure one side alone")
    parser.add_argument("--raw", type=Path, help="a file of single measurements, to go on in parts")
    parser.add_argument("--scaling", action="store_true", help="how time and memory grow, ours alone")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (as many as there are cores)")
    parser.add_argument("--seconds", type=float, default=0, help="timed seconds of each of the peer's runs (12)")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="where TRL's environment and the data are kept"
    )
    parser.add_argument(
        "--peer-python", type=Path, help="an interpreter that has TRL 1.12, instead of an own environment"
    )
    parser.add_argument(
        "--markdown", type=Path, nargs="+", metavar="FILE", help="only print the tables of these JSON lines"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.only.split(",")) - set(STAGES)
    if unknown:
        parser.error(f"there is no stage {', '.join(sorted(unknown))}; the stages are {', '.join(STAGES)}")
    options.runs = 1 if options.quick else options.runs or (1 if options.scaling else 3)
    options.seconds = options.seconds or (2.0 if options.quick else 12.0)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options.threads = options.threads or cores
    return options


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "plackett-bench"


if __name__ == "__main__":
    sys.exit(main())
