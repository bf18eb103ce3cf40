"""How good a reward model is on held-out rankings, beside chance, a rule that looks at length alone, and the judges.

Pure. A ranking is one judge's order of some answers; all comparisons here are of pairs that the judge did not tie. The
judges' pairs of one prompt depend on each other, so every interval is a bootstrap over prompts.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

Row = Mapping[str, Any]
Tallies = Mapping[str, tuple[float, int]]
"""By prompt: how many were right (a half for undecided), of how many."""

DRAWS = 4000


@dataclass(frozen=True)
class Pair:
    """Two answers that one judge put in an order."""

    prompt: str
    labeler: str
    better: str
    """Id of the answer."""
    worse: str
    better_length: int
    """In characters."""
    worse_length: int
    gap: float = 0.0
    """Score of the better one less that of the worse one, where a model scored them."""


def pairs_of(rows: Iterable[Row], scores: Mapping[str, Sequence[float]] | None = None) -> list[Pair]:
    """The untied pairs of canonical ranking rows; with `scores` by ranking, only of rankings that have some."""
    found = []
    for row in rows:
        if scores is not None and row["id"] not in scores:
            continue
        ranked = [(item, rank) for item, rank in zip(row["completions"], row["ranks"], strict=True) if rank is not None]
        given = scores[row["id"]] if scores is not None else [0.0] * len(ranked)
        answers = [(item, rank, score) for (item, rank), score in zip(ranked, given, strict=True)]
        for one, other in combinations(answers, 2):
            if one[1] != other[1]:
                better, worse = (one, other) if one[1] < other[1] else (other, one)
                found.append(pair(row, better, worse))
    return found


def pair(row: Row, better: tuple[Row, float, float], worse: tuple[Row, float, float]) -> Pair:
    return Pair(
        prompt="\x1f".join(message["content"] for message in row["prompt"]),
        labeler=row["labeler"],
        better=better[0]["id"],
        worse=worse[0]["id"],
        better_length=len(better[0]["content"]),
        worse_length=len(worse[0]["content"]),
        gap=better[2] - worse[2],
    )


def by_prompt(pairs: Iterable[Pair], right: Callable[[Pair], float]) -> dict[str, tuple[float, int]]:
    """How often a rule is right on each prompt's pairs. `right` says 1, 0, or a half where it can't tell."""
    found: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for item in pairs:
        correct, count = found[item.prompt]
        found[item.prompt] = (correct + right(item), count + 1)
    return dict(found)


def model_is_right(item: Pair) -> float:
    return half_step(item.gap)


def length_rule(train: Sequence[Pair]) -> tuple[bool, Callable[[Pair], float]]:
    """(whether longer is better, the rule): the better of the two rules on the training pairs."""
    longer = fmean(half_step(item.better_length - item.worse_length) for item in train) >= 0.5
    sign = 1 if longer else -1
    return longer, lambda item: half_step(sign * (item.better_length - item.worse_length))


def half_step(number: float) -> float:
    return (number > 0) + (number == 0) / 2


def judges_by_prompt(pairs: Iterable[Pair]) -> dict[str, tuple[float, int]]:
    """Over every two judges who both decided the same two answers: how often they agree."""
    verdicts: dict[tuple[str, frozenset[str]], list[Pair]] = defaultdict(list)
    for item in pairs:
        verdicts[item.prompt, frozenset((item.better, item.worse))].append(item)
    found: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for (prompt, _), same in verdicts.items():
        for one, other in combinations(same, 2):
            if one.labeler != other.labeler:
                agree, count = found[prompt]
                found[prompt] = (agree + (one.better == other.better), count + 1)
    return dict(found)


def share(tallies: Iterable[tuple[float, int]]) -> float:
    listed = list(tallies)
    return sum(right for right, _ in listed) / sum(count for _, count in listed)


def with_interval(tallies: Tallies, seed: int, draws: int = DRAWS) -> dict[str, Any]:
    """{"mean", "low", "high", "pairs", "prompts"}: the share that is right, and its 95 % bootstrap over prompts."""
    listed = [tallies[prompt] for prompt in sorted(tallies)]
    found = bootstrap(listed, share, seed, draws)
    return {**found, "pairs": sum(count for _, count in listed), "prompts": len(listed)}


def difference(one: Tallies, other: Tallies, seed: int, draws: int = DRAWS) -> dict[str, Any]:
    """`one` less `other` on the same prompts, with the interval of the difference."""
    both = [(one[prompt], other[prompt]) for prompt in sorted(one.keys() & other.keys())]
    return bootstrap(both, lambda drawn: share(a for a, _ in drawn) - share(b for _, b in drawn), seed, draws)


def mean_difference(one: Mapping[str, float], other: Mapping[str, float], seed: int) -> dict[str, Any]:
    """Mean of `one` less `other` over the keys that both have, with its interval over keys."""
    gaps = [one[key] - other[key] for key in sorted(one.keys() & other.keys())]
    return {**bootstrap(gaps, fmean, seed), "prompts": len(gaps)}


def bootstrap(
    listed: Sequence[Any], statistic: Callable[[Sequence[Any]], float], seed: int, draws: int = DRAWS
) -> dict[str, float]:
    """The statistic, and the 2.5th and 97.5th percentile of it over samples of `listed` with replacement."""
    if not listed:
        raise ValueError("there is nothing to measure")
    chance = random.Random(seed)
    drawn = sorted(statistic(chance.choices(listed, k=len(listed))) for _ in range(draws))
    return {"mean": statistic(listed), "low": drawn[int(0.025 * draws)], "high": drawn[int(0.975 * draws) - 1]}
