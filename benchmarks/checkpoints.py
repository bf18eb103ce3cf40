"""What checkpoints cost the steps: the same pretraining with and without them, in pairs; JSON lines.

    python3 manage.py bench checkpoints [--pairs 3] [--hidden-size 256] [--layers 6] [--every 20]

`blocked` is the share of the run in which the steps stood still for a copy; `slower` is how much longer the whole run
took, writing beside it included. One checkpoint in so many steps here; with the default of one in ten minutes it is
that much less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = ("the", "red", "boat", "lies", "near", "a", "small", "town", "and", "our", "old", "friend", "takes", "it")


def main() -> None:
    parser = argparse.ArgumentParser(prog="manage.py bench checkpoints", description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--every", type=int, default=20, help="steps from one checkpoint to the next")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return measure(options.run)
    with tempfile.TemporaryDirectory(prefix="plackett-bench-") as folder:
        for number in range(options.pairs):
            without = carry_out(Path(folder), f"{number}-without", 0, options)
            with_them = carry_out(Path(folder), f"{number}-with", options.every, options)
            print(json.dumps(compared(number, options.every, without, with_them)), flush=True)
    return None


def compared(number: int, every: int, without: dict[str, Any], with_them: dict[str, Any]) -> dict[str, Any]:
    steps = with_them["steps_seconds"]
    return {
        "benchmark": "checkpoints",
        "pair": number + 1,
        "checkpoint_every_steps": every,
        "checkpoints": with_them["checkpoints"],
        "checkpoint_megabytes": round(with_them["size"] / 1e6, 1),
        "step_seconds": round(without["steps_seconds"] / without["steps"], 4),
        "copy_seconds": round(with_them["blocked"] / max(1, with_them["checkpoints"]), 4),
        "blocked_percent": round(100 * with_them["blocked"] / steps, 2),
        "slower_percent": round(100 * (steps / without["steps_seconds"] - 1), 2),
        "same_weights": with_them["sha256"] == without["sha256"],
    }


def carry_out(folder: Path, name: str, every: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run in a process of its own; where it wrote is removed."""
    corpus = folder / "corpus.jsonl"
    if not corpus.exists():
        texts = [" ".join(WORDS[(i * j + j) % len(WORDS)] for j in range(1, 60)) for i in range(3000)]
        corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = {
        "hidden_size": options.hidden_size,
        "layers": options.layers,
        "batch_size": options.batch_size,
        "max_steps": options.steps,
        "epochs": 1000,
        "vocab_size": 280,
        "eval_every": 0,
        "best_checkpoint": "none",
        "checkpoint_every_seconds": 0,
        "checkpoint_every_steps": every,
    }
    run = {
        "stage": "pretrain",
        "seed": 7,
        "config": config,
        "inputs": {"train": {"path": str(corpus), "sha256": ""}},
        "output": str(folder / name),
        "numerics": {"device": "auto", "threads": len(os.sched_getaffinity(0))},
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(run))
    command = [sys.executable, "-m", "benchmarks.checkpoints", "--run", str(path)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(answer.stdout.strip().splitlines()[-1]))


def measure(path: Path) -> None:
    """In the run's own process: how long the steps took together, and how much of that was copying."""
    from training.rlhf.__main__ import run_stage
    from training.rlhf.workspace import Workspace

    times: list[float] = []
    blocked = 0.0
    metrics, start = Workspace.metrics, Workspace.start_checkpoint

    def noted(self: Workspace, step: int, values: Any) -> None:
        times.append(time.perf_counter())
        metrics(self, step, values)

    def timed(self: Workspace, step: int) -> None:
        nonlocal blocked
        before = time.perf_counter()
        start(self, step)
        blocked += time.perf_counter() - before

    Workspace.metrics, Workspace.start_checkpoint = noted, timed  # type: ignore[method-assign]
    run = json.loads(path.read_text())
    assert run_stage(run) == 0
    lines = (Path(run["output"]) / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    saved = [event for event in events if event["event"] == "checkpoint"]
    found = {
        "steps": len(times) - 1,
        "steps_seconds": times[-1] - times[0],
        "blocked": blocked,
        "checkpoints": len(saved),
        "size": saved[0]["size"] if saved else 0,
    }
    # The config is part of what is published, so the weights alone are compared.
    import hashlib

    found["sha256"] = hashlib.sha256((Path(run["output"]) / "model" / "model.safetensors").read_bytes()).hexdigest()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
