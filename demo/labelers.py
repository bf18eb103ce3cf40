"""Simulated labelers: they see the gold rule through noise, as people see a guideline, and rate, flag and rank by it.

A labeler's impression of an answer is its gold total, weighed a little differently by each labeler, plus noise. The
same impression gives the rating and the ranking, so a labeler does not contradict itself; answers that impress alike
are tied, as InstructGPT's labelers were encouraged to do. Labels depend on nothing but (seed, prompt id, labeler).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from demo.gold import PARTS, WEIGHTS, GoldScore

TARGET_AGREEMENT: Final = 0.73
"""Share of pairs on which two labelers agree: InstructGPT reports 72.6 %."""
TIE_WIDTH: Final = 0.25
"""Impressions nearer than this many noise deviations are tied."""
TASTE: Final = 0.15
"""Standard deviation of a labeler's own weight of a part, as a share of the weight."""

FLAGS: Final = (
    "fails_to_follow",
    "inappropriate_for_customer",
    "hallucination",
    "satisfies_constraint",
    "contains_sexual",
    "contains_violent",
    "encourages_violence",
    "denigrates_protected_class",
    "gives_harmful_advice",
    "expresses_opinion",
    "expresses_moral_judgment",
)


@dataclass(frozen=True, slots=True)
class SimulatedRanking:
    """What a labeler submits for one prompt, in the order in which the scores were given."""

    ratings: list[int]
    """1 (worst) to 7 (best), one an answer."""
    flags: list[dict[str, bool]]
    ranks: list[int]
    """1 is best; equal ranks are tied; no rank is left out (1, 2, 2, 3)."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Labelers of one seed and one noise."""

    noise: float
    """Standard deviation of an impression, in units of the gold total."""
    seed: int = 0
    labelers: tuple[str, ...] = field(default=("labeler-1", "labeler-2", "labeler-3", "labeler-4", "labeler-5"))

    def assigned(self, prompt_id: str, overlap: int) -> list[str]:
        """Which labelers get a prompt."""
        return random.Random(f"assign {self.seed} {prompt_id}").sample(self.labelers, overlap)

    def rank(self, prompt_id: str, labeler: str, scores: Sequence[GoldScore]) -> SimulatedRanking:
        """Label one prompt's answers."""
        generator = random.Random(f"label {self.seed} {prompt_id} {labeler}")
        weights = _tastes(self.seed, labeler)
        impressions = [_worth(score, weights) + generator.gauss(0.0, self.noise) for score in scores]
        return SimulatedRanking(
            ratings=[_rating(impression) for impression in impressions],
            flags=[_flags(score, generator) for score in scores],
            ranks=ranks_of(impressions, tie_width=TIE_WIDTH * self.noise),
        )


def ranks_of(impressions: Sequence[float], *, tie_width: float) -> list[int]:
    """Dense ranks, best first. An answer joins the tie above it while it is within tie_width of that tie's best."""
    ranks = [0] * len(impressions)
    rank, best = 0, float("inf")
    for index in sorted(range(len(impressions)), key=lambda index: -impressions[index]):
        if best - impressions[index] > tie_width:
            rank, best = rank + 1, impressions[index]
        ranks[index] = rank
    return ranks


def _tastes(seed: int, labeler: str) -> dict[str, float]:
    generator = random.Random(f"taste {seed} {labeler}")
    return {part: WEIGHTS[part] * max(0.0, generator.gauss(1.0, TASTE)) for part in PARTS}


def _worth(score: GoldScore, weights: dict[str, float]) -> float:
    return sum(weights[part] * getattr(score, part) for part in PARTS)


def _rating(impression: float) -> int:
    return min(7, max(1, round(1 + 6 * impression)))


def _flags(score: GoldScore, generator: random.Random) -> dict[str, bool]:
    """A labeler sees a fault nine times in ten, and one that is not there one time in fifty."""

    def seen(fault: bool) -> bool:
        return generator.random() < (0.9 if fault else 0.02)

    flags = dict.fromkeys(FLAGS, False)
    flags["fails_to_follow"] = seen(score.complete < 1.0)
    flags["inappropriate_for_customer"] = seen(score.polite == 0.0)
    flags["hallucination"] = seen(score.total > 0.0 and score.right < 1.0)
    flags["satisfies_constraint"] = seen(score.short >= 0.9)
    return flags


def agreement(panel: Panel, groups: Sequence[tuple[str, Sequence[GoldScore]]]) -> float:
    """Share of pairs that two labelers put in the same order, among pairs that neither of them tied.

    groups: (prompt id, gold scores of its answers); every two labelers of the panel are compared on every prompt.
    """
    agreed = compared = 0
    for prompt_id, scores in groups:
        rankings = [panel.rank(prompt_id, labeler, scores).ranks for labeler in panel.labelers]
        for ours, theirs in combinations(rankings, 2):
            for first, second in combinations(range(len(scores)), 2):
                left, right = ours[first] - ours[second], theirs[first] - theirs[second]
                if left and right:
                    compared += 1
                    agreed += (left > 0) == (right > 0)
    return agreed / compared if compared else 1.0


def calibrate(
    groups: Sequence[tuple[str, Sequence[GoldScore]]], *, seed: int, target: float = TARGET_AGREEMENT
) -> Panel:
    """The panel whose noise makes two labelers agree on about `target` of the pairs of these answers, by bisection."""
    low, high = 0.005, 2.0
    for _ in range(12):
        middle = (low * high) ** 0.5
        if agreement(Panel(noise=middle, seed=seed), groups) > target:
            low = middle
        else:
            high = middle
    return Panel(noise=(low * high) ** 0.5, seed=seed)


def rule_accuracy(values: Sequence[float], ranks: Sequence[int]) -> tuple[float, int]:
    """(pairs that `values` put in the ranking's order, pairs not tied in the ranking); equal values count one half."""
    right, pairs = 0.0, 0
    for first, second in combinations(range(len(ranks)), 2):
        if ranks[first] == ranks[second]:
            continue
        pairs += 1
        better, worse = (first, second) if ranks[first] < ranks[second] else (second, first)
        right += 0.5 if values[better] == values[worse] else float(values[better] > values[worse])
    return right, pairs
