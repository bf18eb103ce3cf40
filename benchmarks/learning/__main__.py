"""Learning, shown: the demo's loop over several seeds, and its frontier of gold reward against distance.

    python -m benchmarks.learning --seeds 7 8 9 10 11 --folder DIR [--picture docs/pictures/frontier.svg]

The core alone, without web, database or queue; a stage that is there is not run again. A JSON line a seed with its
targets, then, from the first seed's models, one a curve: PPO at four betas, and best-of-n. Ends with 1 if a seed missed
a target.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.demo_seeds import targets
from benchmarks.learning.drawing import frontier_svg
from benchmarks.learning.frontier import best_of_n_curve, curve_row, ppo_curve
from demo.experiment import run_loop
from demo.recipe import FULL

TIMED = "within five minutes"  # of the whole product, which `benchmarks.demo_seeds` measures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9, 10, 11])
    parser.add_argument("--betas", type=float, nargs="*", default=[0.02, 0.1, 0.25, 0.5])
    parser.add_argument("--updates", type=int, default=24, help="PPO updates of each beta")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, required=True, help="where runs and their models go")
    parser.add_argument("--picture", type=Path, help="where to draw the frontier")
    options = parser.parse_args(arguments)
    all_met = True
    for seed in options.seeds:
        report = run_loop(FULL, options.folder / f"seed_{seed}", seed, options.threads)
        report["seconds"]["in all"] = sum(report["seconds"].values())
        met = {name: reached for name, reached in targets(report).items() if name != TIMED}
        all_met = all_met and all(met.values())
        print(json.dumps({"bench": "learning", **report, "targets": met}), flush=True)

    seed = options.seeds[0]
    place = options.folder / f"seed_{seed}"
    curves = {}
    for beta in options.betas:
        name = f"PPO, beta {beta}"
        curves[name] = ppo_curve(FULL, place, seed, options.threads, beta, options.updates)
        print(json.dumps(curve_row(name, curves[name], "rl")), flush=True)
    if options.betas:
        curves["best of n"] = best_of_n_curve(FULL, place, seed, options.threads)
        print(json.dumps(curve_row("best of n", curves["best of n"], "best_of_n")), flush=True)
    if options.picture and curves:
        options.picture.write_text(frontier_svg(curves), encoding="utf-8")
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
