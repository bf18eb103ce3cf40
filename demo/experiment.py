"""The loop on the core alone, without web, database or queue: the demo's tuning ground.

    python -m demo.experiment --seeds 7 8 9 --folder /tmp/fernhill

pretrain -> sft -> K answers -> simulated rankings -> reward -> ppo, each `python -m training.rlhf` on a run.json, then
answers to held-out prompts by base, SFT and PPO. Prints one report a seed. A stage whose run.json is unchanged since it
finished is not run again, so a later stage can be tuned on its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from demo.corpus import corpus
from demo.labelers import agreement, calibrate, rule_accuracy
from demo.measures import Answered, distinct2, gold_summary
from demo.prompts import WorldPrompt, prompt_pools
from demo.recipe import FULL, NUMERICS, SHORT, WRITING, Recipe
from demo.records import Row, answer_groups, demonstration_row, gold_groups, ranking_rows

Report = dict[str, Any]


class StageRunner:
    """Runs stages of the core in folders of their own, and keeps their times."""

    def __init__(self, folder: Path, seed: int, threads: int) -> None:
        self.folder = folder
        self.seed = seed
        self.threads = threads
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    def write_rows(self, name: str, rows: Iterable[object]) -> Path:
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    def run(self, stage: str, config: dict[str, Any], inputs: dict[str, Path], name: str = "") -> tuple[Path, Report]:
        """Run a stage; returns what it published and its result. Raises RuntimeError with the core's own words."""
        output = self.folder / (name or stage)
        run = {
            "version": 1,
            "stage": stage,
            "seed": self.seed,
            "config": config,
            "inputs": {key: {"path": str(path), "sha256": ""} for key, path in inputs.items()},
            "resume": None,
            "output": str(output),
            "numerics": {"device": "cpu", "threads": self.threads, **NUMERICS},
        }
        text = json.dumps(run, indent=1)
        marker = output / "run.json"
        if not (marker.is_file() and marker.read_text() == text and _finished(output)):
            self._start(stage, text, output, marker)
        finished = _finished(output)
        assert finished is not None
        times = json.loads((output / "seconds.json").read_text())
        self.seconds[name or stage], self.cpu_seconds[name or stage] = times["wall"], times["cpu"]
        return output / finished["path"], finished["result"]

    def _start(self, stage: str, text: str, output: Path, marker: Path) -> None:
        subprocess.run(["rm", "-rf", str(output)], check=True)
        output.mkdir(parents=True)
        marker.write_text(text)
        began, cpu = time.monotonic(), _children_cpu()
        command = [sys.executable, "-m", "training.rlhf", stage, "--config", str(marker)]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "TOKENIZERS_PARALLELISM": "0"}
        )
        if done.returncode:
            raise RuntimeError(f"{stage} ended with {done.returncode}\n{_events(output)[-1:]}\n{done.stderr[-3000:]}")
        times = {"wall": time.monotonic() - began, "cpu": _children_cpu() - cpu}
        (output / "seconds.json").write_text(json.dumps(times))


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _events(output: Path) -> list[Report]:
    path = output / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _finished(output: Path) -> Report | None:
    return next((event for event in _events(output) if event["event"] == "finished"), None)


def published(output: Path) -> Path:
    """What a finished stage published: a model's folder, or a file. Raises FileNotFoundError where none is there."""
    finished = _finished(output)
    if finished is None:
        raise FileNotFoundError(f"{output} holds no finished stage")
    return output / str(finished["path"])


def run_loop(recipe: Recipe, folder: Path, seed: int, threads: int) -> Report:
    """The whole loop for one seed; returns the report."""
    folder.mkdir(parents=True, exist_ok=True)
    runner = StageRunner(folder, seed, threads)
    dealt = prompt_pools(seed)
    pools = {pool: dealt[pool][:size] for pool, size in recipe.prompts.items()}
    held_out = runner.write_rows("eval", [prompt.row("eval") for prompt in pools["eval"]])

    base, pretrained = _pretrain(runner, recipe, dealt, seed)
    demonstrations = runner.write_rows("sft", [demonstration_row(prompt, WRITING, seed) for prompt in pools["sft"]])
    sft, _ = runner.run("sft", recipe.sft, {"train": demonstrations, "policy": base})

    ranked = runner.write_rows("rm", [prompt.row("rm") for prompt in pools["rm"]])
    responses, _ = runner.run("sample", recipe.sample, {"prompts": ranked, "policy": sft})
    rankings, measured, quality = _rank(runner, recipe, _answers(responses, pools["rm"]), seed)
    reward_inputs = {"train": rankings, "validation": measured, "policy": sft, "demonstrations": demonstrations}
    reward_model, scored = runner.run("reward", recipe.reward, reward_inputs)

    ppo_prompts = runner.write_rows("ppo", [prompt.row("ppo") for prompt in pools["ppo"]])
    ppo_inputs = {
        "train": ppo_prompts,
        "validation": held_out,
        "policy": sft,
        "reference": sft,
        "reward_model": reward_model,
    }
    ppo, optimised = runner.run("ppo", recipe.ppo, ppo_inputs)

    answers: dict[str, list[Answered]] = {}
    for name, model in (("base", base), ("sft", sft), ("ppo", ppo)):
        inputs = {"prompts": held_out, "policy": model}
        responses, _ = runner.run("sample", recipe.evaluate, inputs, name=f"answers_{name}")
        answers[name] = _answers(responses, pools["eval"])
    return {
        "seed": seed,
        "gold": {name: gold_summary(given) for name, given in answers.items()},
        "kl": optimised.get("validation/kl"),
        "distinct2": {name: distinct2(given) for name, given in answers.items()},
        "reward_model": {"accuracy": scored.get("accuracy/validation"), **quality},
        "perplexity": pretrained["perplexity/validation"],
        "seconds": runner.seconds,
        "cpu_seconds": runner.cpu_seconds,
    }


def _pretrain(
    runner: StageRunner, recipe: Recipe, dealt: dict[str, list[WorldPrompt]], seed: int
) -> tuple[Path, Report]:
    """The base model, which never reads a held-out prompt."""
    asked = [prompt for pool, prompts in dealt.items() if pool != "eval" for prompt in prompts]
    documents = list(corpus(asked, documents=recipe.documents + recipe.validation_documents, seed=seed))
    inputs = {
        "train": runner.write_rows("corpus", documents[recipe.validation_documents :]),
        "validation": runner.write_rows("corpus_validation", documents[: recipe.validation_documents]),
    }
    return runner.run("pretrain", recipe.pretrain, inputs)


def _rank(runner: StageRunner, recipe: Recipe, answers: list[Answered], seed: int) -> tuple[Path, Path, Report]:
    """Simulated rankings to train on, those held out, and what the gold rule and the labelers make of the latter."""
    groups = answer_groups(answers)
    panel = calibrate(gold_groups(groups), seed=seed)
    cut = round(len(groups) * recipe.held_out_rankings)
    held_out, training = groups[:cut], groups[cut:]
    measured = ranking_rows(held_out, panel, recipe.overlap)
    golds = {prompt_id: [score.total for score in scores] for prompt_id, scores in gold_groups(held_out)}
    right, pairs = _gold_accuracy(measured, golds)
    quality = {
        "gold_rule_accuracy": right / pairs,
        "agreement": agreement(panel, gold_groups(groups)),
        "pairs": pairs,
        "noise": panel.noise,
    }
    train = runner.write_rows("rankings", ranking_rows(training, panel, recipe.overlap))
    return train, runner.write_rows("rankings_held_out", measured), quality


def _gold_accuracy(rows: Sequence[Row], golds: dict[str, list[float]]) -> tuple[float, int]:
    found = [rule_accuracy(golds[row["group"]], row["ranks"]) for row in rows]
    return sum(right for right, _ in found), sum(pairs for _, pairs in found)


def _answers(responses: Path, prompts: Sequence[WorldPrompt]) -> list[Answered]:
    by_id = {prompt.id: prompt for prompt in prompts}
    lines = [json.loads(line) for line in responses.read_text(encoding="utf-8").splitlines()]
    return [(by_id[line["prompt_id"]], line["text"]) for line in lines]


def describe(report: Report) -> str:
    """The report in a few lines."""
    lines = [f"seed {report['seed']}"]
    for name, gold in report["gold"].items():
        parts = "  ".join(f"{part} {value:.2f}" for part, value in gold["parts"].items())
        lines.append(f"  {name:5} {gold['mean']:.3f} [{gold['low']:.3f}, {gold['high']:.3f}]  {parts}")
    sft, ppo = report["gold"]["sft"], report["gold"]["ppo"]
    gain = (ppo["mean"] - sft["mean"]) / sft["deviation"] if sft["deviation"] else 0.0
    better = [part for part in sft["parts"] if ppo["parts"][part] > sft["parts"][part]]
    reward = report["reward_model"]
    ratio = reward["accuracy"] / reward["gold_rule_accuracy"]
    varied = report["distinct2"]["ppo"] / report["distinct2"]["sft"]
    kl = "not measured" if report["kl"] is None else f"{report['kl']:.2f} nats"
    lines.append(
        f"  gain {gain:.2f} deviations, in {', '.join(better) or 'no part'}; KL {kl}; distinct-2 x {varied:.2f}"
    )
    lines.append(
        f"  reward model {reward['accuracy']:.3f} of {reward['pairs']} pairs, gold rule"
        f" {reward['gold_rule_accuracy']:.3f} (x {ratio:.3f}), two labelers {reward['agreement']:.3f}"
    )
    lines.append(f"  perplexity {report['perplexity']:.2f}")
    for name in ("seconds", "cpu_seconds"):
        times = "  ".join(f"{stage} {value:.0f}" for stage, value in report[name].items())
        lines.append(f"  {name}: {times}; in all {sum(report[name].values()):.0f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.experiment", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--folder", type=Path, required=True, help="where runs and their models go")
    parser.add_argument("--short", action="store_true", help="only run through, in about a minute")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    for seed in options.seeds:
        folder = options.folder / f"seed_{seed}"
        report = run_loop(SHORT if options.short else FULL, folder, seed, options.threads)
        (folder / "report.json").write_text(json.dumps(report, indent=2))
        print(describe(report), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
