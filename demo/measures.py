"""The figures of the demo's report: gold scores with an interval, and how varied the answers are."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from demo.gold import PARTS, GoldScore, score
from demo.prompts import WorldPrompt

Answered = tuple[WorldPrompt, str]


def gold_summary(answers: Sequence[Answered]) -> dict[str, Any]:
    """Mean gold total with its 95 % interval, its standard deviation over answers, and the mean of each part.

    A prompt's answers are one observation, so the interval is over prompts (normal approximation).
    """
    scored = [(prompt, score(prompt, text)) for prompt, text in answers]
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for prompt, gold in scored:
        by_prompt[prompt.id].append(gold.total)
    means = [fmean(totals) for totals in by_prompt.values()]
    mean = fmean(means)
    half = 1.96 * stdev(means) / len(means) ** 0.5 if len(means) > 1 else 0.0
    golds: list[GoldScore] = [gold for _, gold in scored]
    return {
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "deviation": stdev(gold.total for gold in golds) if len(golds) > 1 else 0.0,
        "parts": {part: fmean(getattr(gold, part) for gold in golds) for part in PARTS},
    }


def distinct2(answers: Sequence[Answered]) -> float:
    """Different pairs of neighbouring words (in Chinese: characters) as a share of all of them, over all answers."""
    pairs: list[tuple[str, str]] = []
    for prompt, text in answers:
        said = list(text.replace(" ", "")) if prompt.language == "zh" else text.split()
        pairs.extend(itertools.pairwise(said))
    return len(set(pairs)) / len(pairs) if pairs else 0.0
