"""What the demo comes to, measured: the gold rule's view of base, SFT and PPO on prompts that no training saw."""

from __future__ import annotations

from typing import Any

from annotation.models import Project, Response
from demo.gold import score
from demo.labelers import agreement, rule_accuracy
from demo.measures import Answered, distinct2, gold_summary
from demo.project import driver
from demo.prompts import find_prompt
from demo.work import calibrated_panel
from training.models import Run, RunState, Stage
from training.selectors.snapshots import snapshot_rows

Report = dict[str, Any]


def demo_report(project: Project, seed: int) -> Report:
    """The whole report of a demo whose last run has succeeded."""
    ours = {run.name: run for run in Run.objects.filter(project=project, created_by=driver(), state=RunState.SUCCEEDED)}
    answers = {policy: answers_of(ours[f"held-out answers, {policy}"]) for policy in ("base", "sft", "ppo")}
    by_stage = {run.stage: run for run in ours.values()}
    return {
        "seed": seed,
        "gold": {policy: gold_summary(given) for policy, given in answers.items()},
        "kl": by_stage[Stage.PPO].result.get("validation/kl"),
        "distinct2": {policy: distinct2(given) for policy, given in answers.items()},
        "reward_model": reward_model_report(by_stage[Stage.REWARD]),
        "perplexity": by_stage[Stage.PRETRAIN].result.get("perplexity/validation"),
        "seconds": {name: seconds(run) for name, run in ours.items()},
    }


def answers_of(run: Run) -> list[Answered]:
    found = []
    for response in Response.objects.filter(run=run).select_related("prompt").order_by("prompt_id", "index"):
        prompt = find_prompt(response.prompt.messages)
        if prompt is not None:
            found.append((prompt, response.text))
    return found


def reward_model_report(run: Run) -> Report:
    """The reward model, the gold rule and two labelers on the same held-out pairs."""
    snapshot = run.inputs.get(name="train").snapshot
    assert snapshot is not None
    right = pairs = 0.0
    groups = []
    for row in snapshot_rows(snapshot, "validation"):
        prompt = find_prompt(row["prompt"])
        if prompt is None:
            continue
        scores = [score(prompt, completion["content"]) for completion in row["completions"]]
        found, count = rule_accuracy([gold.total for gold in scores], row["ranks"])
        right, pairs = right + found, pairs + count
        groups.append((prompt.id, scores))
    return {
        "accuracy": run.result.get("accuracy/validation"),
        "gold_rule_accuracy": right / pairs if pairs else None,
        # Of every two of the panel on these answers: in the tables each task has one label.
        "agreement": agreement(calibrated_panel(run.project), groups),
        "pairs": pairs,
    }


def seconds(run: Run) -> float:
    return round((run.ended_at - run.started_at).total_seconds(), 1) if run.ended_at and run.started_at else 0.0


def describe(report: Report) -> str:
    """The report in a few lines, for the terminal."""
    lines = []
    for policy, gold in report["gold"].items():
        parts = "  ".join(f"{part} {value:.2f}" for part, value in gold["parts"].items())
        lines.append(f"  {policy:5} gold {gold['mean']:.3f} [{gold['low']:.3f}, {gold['high']:.3f}]  {parts}")
    reward = report["reward_model"]
    lines.append(
        f"  reward model {number(reward['accuracy'])} of {reward['pairs']:.0f} held-out pairs;"
        f" gold rule {number(reward['gold_rule_accuracy'])}; two labelers {number(reward['agreement'])}"
    )
    lines.append(f"  KL {number(report['kl'])} nats a response; perplexity {number(report['perplexity'])}")
    lines.append("  seconds: " + "  ".join(f"{name} {value:.0f}" for name, value in report["seconds"].items()))
    return "\n".join(lines)


def number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
