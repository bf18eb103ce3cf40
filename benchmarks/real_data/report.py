"""From what the trial brought back to its report: figures with intervals, and the same in a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.real_data import measure

Report = dict[str, Any]


def reward_figures(
    train: Sequence[measure.Row], held_out: Sequence[measure.Row], evaluation: Mapping[str, Any], seed: int
) -> Report:
    """The reward model on held-out rankings, beside what it must be compared with, all on the same pairs."""
    scores = {row["id"]: row["scores"] for row in evaluation["rankings"]}
    pairs = measure.pairs_of(held_out, scores)
    longer, rule = measure.length_rule(measure.pairs_of(train))
    model = measure.by_prompt(pairs, measure.model_is_right)
    length = measure.by_prompt(pairs, rule)
    return {
        "accuracy": measure.with_interval(model, seed),
        "chance": 0.5,
        "length_only": {"prefers": "longer" if longer else "shorter", **measure.with_interval(length, seed)},
        "less_length_only": measure.difference(model, length, seed),
        "judges_agree": measure.with_interval(measure.judges_by_prompt(pairs), seed),
        "accuracy_as_the_run_says": evaluation["metrics"].get("accuracy/validation"),
        "rankings_measured": len(scores),
        "rankings_held_out": len(held_out),
    }


def answer_figures(before: Mapping[str, Any], after: Mapping[str, Any], seed: int) -> Report:
    """Answers to held-out prompts before PPO and after it; the differences are by prompt."""
    columns = {"score": "score", "kl": "kl", "length": "tokens"}
    return {
        "sft": summary(before),
        "ppo": summary(after),
        "ppo_less_sft": {
            name: measure.mean_difference(column_of(after, column), column_of(before, column), seed)
            for name, column in columns.items()
        },
    }


def summary(evaluation: Mapping[str, Any]) -> Report:
    names = {
        "score": "objective/score",
        "kl": "objective/kl",
        "length": "response/length",
        "ended": "response/eos_rate",
        "perplexity_on_text": "perplexity/validation",
    }
    return {name: evaluation["metrics"].get(metric) for name, metric in names.items()}


def column_of(evaluation: Mapping[str, Any], column: str) -> dict[str, float]:
    return {row["prompt_id"]: float(row[column]) for row in evaluation["answers"]}


def filtered(run: Mapping[str, Any]) -> list[Report]:
    """What a run read and what it left out, by input."""
    names = ("split", "kept", "filtered", "reasons")
    return [{name: part.get(name) for name in names} for part in run["data_report"]]


def as_text(report: Report) -> str:
    reward, answers = report["reward_model"], report["ppo"]["held_out"]
    gain = answers["ppo_less_sft"]["score"]
    lines = [
        *(import_line(name, found) for name, found in report["imports"].items()),
        f"Base: {report['base']['parameters']:,} parameters, perplexity {report['base']['perplexity']:.1f}",
        "SFT: validation loss {first:.3f} at first, {best:.3f} at best, {last:.3f} at last".format(**report["sft"]),
        f"Reward model on {reward['accuracy']['pairs']} held-out pairs of {reward['accuracy']['prompts']} prompts:",
        f"  accuracy     {interval(reward['accuracy'])}",
        "  chance       0.500",
        f"  length only  {interval(reward['length_only'])} ({reward['length_only']['prefers']} is better)",
        f"  difference   {interval(reward['less_length_only'])}",
        f"  judges agree {interval(reward['judges_agree'])}",
        "PPO, answers to held-out prompts:",
        *(
            f"  {name}: score {found['score']:.3f}, KL {found['kl']:.2f} nats, {found['length']:.1f} tokens, "
            f"{found['ended']:.0%} ended, perplexity on text {found['perplexity_on_text']:.1f}"
            for name, found in (("SFT", answers["sft"]), ("PPO", answers["ppo"]))
        ),
        f"  score gained {interval(gain)} over {gain['prompts']} prompts",
        "Seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in report["seconds"].items()),
    ]
    for stage, parts in report["rows"].items():
        lines += [f"{stage}, {row_line(part)}" for part in parts]
    return "\n".join(lines)


def interval(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def import_line(name: str, found: Mapping[str, Any]) -> str:
    again = found["again"]
    return (
        f"{name}: {found['rows']} rows, {found['added']} added, {found['rejected_count']} refused; "
        f"again: {again['added']} added, {again['known']} known"
    )


def row_line(part: Mapping[str, Any]) -> str:
    reasons = "; ".join(f"{why}: {count}" for why, count in (part["reasons"] or {}).items())
    return f"{part['split']}: {part['kept']} rows used" + (
        f", {part['filtered']} left out ({reasons})" if reasons else ""
    )
