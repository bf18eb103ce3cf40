"""The demo over several seeds, held against its targets.

    python -m benchmarks.demo_seeds --seeds 7 8 9 --folder DIR

Runs `manage.py demo --headless` for each seed in a fresh folder, one after another, and prints a JSON line a seed: the
figures, and for each target whether it was met. Ends with 1 if one was not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
SECONDS = 300.0
NATS = 10.0


def targets(report: dict[str, Any]) -> dict[str, bool]:
    """What the demo promises of every seed."""
    base, sft, ppo = (report["gold"][name] for name in ("base", "sft", "ppo"))
    gained = [part for part in sft["parts"] if ppo["parts"][part] > sft["parts"][part]]
    reward = report["reward_model"]
    return {
        "base below SFT, intervals apart": base["high"] < sft["low"],
        "SFT below PPO, intervals apart": sft["high"] < ppo["low"],
        "PPO gains 0.3 deviations": ppo["mean"] - sft["mean"] >= 0.3 * sft["deviation"],
        "in two parts or more": len(gained) >= 2,
        "at 10 nats or less": report["kl"] is not None and report["kl"] <= NATS,
        "distinct-2 at 80 % of SFT's": report["distinct2"]["ppo"] >= 0.8 * report["distinct2"]["sft"],
        "reward model at 0.95 of the gold rule": reward["accuracy"] >= 0.95 * reward["gold_rule_accuracy"],
        "within five minutes": report["seconds"]["in all"] <= SECONDS,
    }


def run_seed(seed: int, folder: Path) -> dict[str, Any]:
    report = folder / f"seed_{seed}.json"
    data = folder / f"seed_{seed}"
    command = [sys.executable, str(MANAGE), "demo", "--headless", "--seed", str(seed)]
    subprocess.run([*command, "--data", str(data), "--report", str(report)], check=True, stdout=sys.stderr)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_seeds", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--folder", type=Path, required=True, help="a new folder for data and reports")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    all_met = True
    for seed in options.seeds:
        report = run_seed(seed, options.folder)
        met = targets(report)
        all_met = all_met and all(met.values())
        print(json.dumps({"bench": "demo", **report, "targets": met}), flush=True)
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
