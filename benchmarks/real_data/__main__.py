"""Real data through the whole loop: `python -m benchmarks.real_data --demonstrations FILE --comparisons FILE ...`.

Starts an installation of its own, signs in by the printed link, and does all else through the dashboard. The files are
those of docs/real_data.md; they are not in this repository.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.real_data.convert import (
    Report,
    demonstration_rows,
    judges_agreement,
    python_documentation,
    ranking_rows,
)
from benchmarks.real_data.dashboard import Dashboard
from benchmarks.real_data.installation import installation
from benchmarks.real_data.measure import pairs_of
from benchmarks.real_data.recipe import FULL, SHORT
from benchmarks.real_data.report import answer_figures, as_text, filtered, reward_figures
from benchmarks.real_data.trial import Run, Trial

PPO_CURVES = ("objective/score", "objective/reward", "objective/kl", "response/length", "validation/score")


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # or the installation would be left behind
    recipe = SHORT if options.short else FULL
    started = time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {words}", flush=True)

    with installation(options.data) as (address, link):
        dashboard = Dashboard(address)
        dashboard.sign_in(link)
        trial = Trial(dashboard, recipe, options.seed, say)
        report = go_round(trial, read_lines(options.demonstrations), read_lines(options.comparisons))
    report["seconds"]["all"] = round(time.monotonic() - started, 1)
    report |= {"seed": options.seed, "recipe": asdict(recipe), "machine": machine()}
    options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(as_text(report))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_data", description=__doc__)
    parser.add_argument(
        "--demonstrations", type=Path, required=True, metavar="FILE", help="JSONL, see docs/real_data.md"
    )
    parser.add_argument("--comparisons", type=Path, required=True, metavar="FILE", help="JSONL, see docs/real_data.md")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a fresh folder for the installation")
    parser.add_argument("--report", type=Path, required=True, metavar="FILE", help="where the report goes, as JSON")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="only run through, with a tiny model")
    return parser.parse_args()


def go_round(trial: Trial, demonstrations: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> dict[str, Any]:
    """The loop once, from an empty project to the measures of PPO."""
    trial.make_project()
    report = bring_data_in(trial, demonstrations, comparisons)
    trial.say(f"the data is in, {report['corpus']['documents']} documents")
    prompts = trial.freeze_prompts()
    runs = {stage: trial.launch(stage, getattr(trial.recipe, stage)) for stage in ("pretrain", "sft", "reward")}
    runs["ppo"] = trial.launch("ppo", trial.recipe.ppo, {"train": prompts["id"]})
    report["held_out"] = {"prompts": prompts["counts"]}
    report |= reward_part(trial, runs["reward"], report["held_out"])
    report |= policies_part(trial, report["corpus"]["id"], runs)
    report["rows"] |= {stage: filtered(run) for stage, run in runs.items()}
    return report | {"seconds": trial.seconds}


def bring_data_in(
    trial: Trial, demonstrations: list[dict[str, Any]], comparisons: list[dict[str, Any]]
) -> dict[str, Any]:
    converted = Report()
    rankings = list(ranking_rows(comparisons, converted))
    source = "self-instruct, seed tasks"
    imports = {
        "demonstrations": trial.import_file("demonstrations", "sft", source, demonstration_rows(demonstrations)),
        "rankings": trial.import_file("rankings", "rm", "PandaLM, test set v1", rankings),
    }
    corpus = trial.add_corpus(python_documentation(trial.recipe.corpus_bytes))
    return {"conversion": conversion(converted, comparisons), "imports": imports, "corpus": corpus, "rows": {}}


def reward_part(trial: Trial, reward: Run, held_out: dict[str, Any]) -> dict[str, Any]:
    """The reward model on the rankings that were held out of the snapshot it trained on."""
    ranked = input_id(reward, "train")
    train = trial.rows_of(ranked, "train")
    rest = [*trial.rows_of(ranked, "validation"), *trial.rows_of(ranked, "test")]
    held_out["rankings"] = {"train": len(train), "held_out": len(rest)}
    held_out["untied_pairs"] = {"train": len(pairs_of(train)), "held_out": len(pairs_of(rest))}
    evaluation = trial.evaluate("reward model", {"reward_model": reward["model"], "rankings": ranked})
    figures = reward_figures(train, rest, evaluation, trial.seed)
    return {"reward_model": figures | {"left_out": filtered({"data_report": evaluation["data"]})}}


def policies_part(trial: Trial, corpus: str, runs: Mapping[str, Run]) -> dict[str, Any]:
    """Base, SFT and PPO: perplexity, losses, and answers to held-out prompts."""
    answered = evaluate_policies(trial, corpus, runs)
    models = {model["id"]: model for model in trial.api("models/?limit=100")["results"]}
    base = runs["pretrain"]
    return {
        "base": {
            "parameters": models[base["model"]]["parameters"],
            "perplexity": base["result"]["perplexity/validation"],
            "perplexity_of_all_held_out_text": answered["pretrain"]["metrics"]["perplexity/validation"],
        },
        "sft": losses(trial, runs["sft"]),
        "ppo": {
            "curves": trial.curve(runs["ppo"], PPO_CURVES),
            "held_out": answer_figures(answered["sft"], answered["ppo"], trial.seed),
        },
    }


def conversion(found: Report, comparisons: list[dict[str, Any]]) -> dict[str, Any]:
    """How pairs became rankings, and how often two judges agreed on a comparison that both decided."""
    agreeing, decided = judges_agreement(comparisons)
    counts = {name: getattr(found, name) for name in ("groups", "whole", "incomplete", "inconsistent")}
    sizes = {str(k): count for k, count in sorted(found.rankings_by_k.items())}
    return {**counts, "rankings_by_k": sizes, "judges_agree_on_all": agreeing / decided, "judged_twice": decided}


def evaluate_policies(trial: Trial, corpus: str, runs: Mapping[str, Run]) -> dict[str, Any]:
    """Each policy on the corpus's held-out text; SFT and PPO also answer the held-out prompts."""
    query = {"pools": ["sft", "rm"], "splits": ["validation", "test"]}
    prompts = trial.api("snapshots/", {"kind": "prompts", "name": "Held-out prompts", "query": query})
    asked = {"prompts": prompts["id"], "reward_model": runs["reward"]["model"], "reference": runs["sft"]["model"]}
    found = {}
    for stage in ("pretrain", "sft", "ppo"):
        inputs = {"policy": runs[stage]["model"], "validation_text": corpus}
        found[stage] = trial.evaluate(stage, inputs | (asked if stage != "pretrain" else {}))
    return found


def losses(trial: Trial, sft: Run) -> dict[str, Any]:
    [(_, curve)] = trial.curve(sft, ["loss/validation"]).items()
    values = [value for _, value in curve]
    return {
        "first": values[0],
        "best": min(values),
        "last": values[-1],
        "perplexity_at_best": sft["result"].get("perplexity/validation"),
        "curve": curve,
    }


def input_id(run: Run, name: str) -> str:
    return next(str(item["snapshot"] or item["model"]) for item in run["inputs"] if item["name"] == name)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def machine() -> dict[str, Any]:

    return {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}


if __name__ == "__main__":
    main()
