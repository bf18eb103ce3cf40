"""What is said of scores beside people's rankings and beside each other, with intervals: plain numbers, no tensors.

Pairs of one ranking, and rankings of one prompt, are not independent; so every interval is over prompts. All intervals
are for 95 %.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from training.rlhf.losses import ranked_pairs

Z95 = 1.959963984540054  # of the normal distribution, two-sided
BINS = 10


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float

    def metrics(self, name: str) -> dict[str, float]:
        """As metrics: `name`, `name/low` and `name/high`."""
        return {name: self.value, f"{name}/low": self.low, f"{name}/high": self.high}


class Judged(NamedTuple):
    """One ranking and what a reward model says of its answers."""

    scores: Sequence[float]
    """(K,), higher is better."""

    ranks: Sequence[float]
    """(K,), 1 is best, equal is tied."""

    prompt: str
    """Whose answers these are: rankings of one prompt are no independent evidence."""

    category: str = ""


class Bin(NamedTuple):
    """Predictions of like probability, beside what became of them."""

    low: float
    high: float
    pairs: int
    predicted: float
    """Mean predicted probability."""

    happened: float
    """Share in which it came true."""


# Rankings


def pair_accuracy(scores: Sequence[float], ranks: Sequence[float | None]) -> tuple[float, int]:
    """(pairs that the scores put in the right order, pairs that are not tied); equal scores are half right."""
    right = 0.0
    untied = [(better, worse) for better, worse, tied in ranked_pairs(ranks) if not tied]
    for better, worse in untied:
        right += 1.0 if scores[better] > scores[worse] else 0.5 if scores[better] == scores[worse] else 0.0
    return right, len(untied)


def kendall_tau(scores: Sequence[float], ranks: Sequence[float | None]) -> float | None:
    """Kendall's tau-b between scores (higher is better) and ranks (lower is better), -1..1; None where all are tied.

    (concordant - discordant) / sqrt(pairs not tied in score x pairs not tied in rank): Kendall 1945.
    """
    balance = by_score = by_rank = 0
    for better, worse, tied in ranked_pairs(ranks):
        difference = scores[better] - scores[worse]
        by_rank += not tied
        by_score += difference != 0
        balance += 0 if tied else (difference > 0) - (difference < 0)
    return balance / math.sqrt(by_score * by_rank) if by_score and by_rank else None


def win_probabilities(scores: Sequence[float], ranks: Sequence[float | None]) -> list[tuple[float, float]]:
    """(predicted, happened) of each pair that is not tied: how sure the scores are of the answer that they prefer, by
    Bradley and Terry's sigmoid of the difference (0.5..1), and 1 if people prefer it too, else 0."""
    found = []
    for better, worse, tied in ranked_pairs(ranks):
        if not tied:
            difference = scores[better] - scores[worse]
            happened = 1.0 if difference > 0 else 0.5 if difference == 0 else 0.0
            found.append((1 / (1 + math.exp(-min(abs(difference), 700.0))), happened))
    return found


def reliability(predictions: Sequence[tuple[float, float]], *, low: float = 0.5, bins: int = BINS) -> list[Bin]:
    """(predicted, happened) pairs in bins of equal width from `low` to 1; empty bins are left out."""
    width = (1.0 - low) / bins
    members: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for predicted, happened in predictions:
        members[min(bins - 1, int((predicted - low) / width))].append((predicted, happened))
    return [
        Bin(
            low + place * width,
            low + (place + 1) * width,
            len(inside),
            math.fsum(predicted for predicted, _ in inside) / len(inside),
            math.fsum(happened for _, happened in inside) / len(inside),
        )
        for place, inside in sorted(members.items())
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the gap between predicted and happened, mean over pairs.

    Source: Guo et al. 2017 (arXiv:1706.04599), equation 3.
    """
    return math.fsum(item.pairs * abs(item.predicted - item.happened) for item in bins) / sum(
        item.pairs for item in bins
    )


def agreement(judged: Sequence[Judged]) -> dict[str, float]:
    """How far scores agree with rankings: numbers of rankings and pairs, `accuracy` over pairs that are not tied and
    mean `kendall_tau`, both with intervals over prompts, and `calibration_error`. A measure without data is left out.
    """
    right: dict[str, float] = defaultdict(float)
    pairs: dict[str, int] = defaultdict(int)
    taus: dict[str, list[float]] = defaultdict(list)
    predictions: list[tuple[float, float]] = []
    for one in judged:
        correct, count = pair_accuracy(one.scores, one.ranks)
        right[one.prompt] += correct
        pairs[one.prompt] += count
        predictions += win_probabilities(one.scores, one.ranks)
        tau = kendall_tau(one.scores, one.ranks)
        if tau is not None:
            taus[one.prompt].append(tau)
    found: dict[str, float] = {"rankings": float(len(judged)), "pairs": float(len(predictions))}
    if predictions:
        found |= share_interval([right[key] for key in pairs], list(pairs.values())).metrics("accuracy")
        found["calibration_error"] = calibration_error(reliability(predictions))
    if taus:
        tau_interval = ratio_interval([math.fsum(of) for of in taus.values()], [len(of) for of in taus.values()])
        found |= tau_interval.metrics("kendall_tau")
    return found


def agreement_by_part(judged: Sequence[Judged]) -> list[dict[str, float | str]]:
    """`agreement` of all rankings, then by K, then by category: one row a part, named by `part` and `value`."""
    parts: list[tuple[str, str, Sequence[Judged]]] = [("all", "", judged)]
    for size in sorted({len(one.scores) for one in judged}):
        parts.append(("k", str(size), [one for one in judged if len(one.scores) == size]))
    for category in sorted({one.category for one in judged if one.category}):
        parts.append(("category", category, [one for one in judged if one.category == category]))
    return [{"part": part, "value": value, **agreement(inside)} for part, value, inside in parts]


def reliability_of(judged: Iterable[Judged]) -> list[dict[str, float]]:
    """The reliability bins of all pairs that are not tied, as rows of a report."""
    predictions = [item for one in judged for item in win_probabilities(one.scores, one.ranks)]
    return [{name: float(value) for name, value in found._asdict().items()} for found in reliability(predictions)]


# Policies


def best_of_n(scores: Sequence[float], n: int) -> float:
    """The expected best score of n answers drawn without replacement from these N: the unbiased estimate of best-of-n.

    Source: Nakano et al. 2021 (WebGPT, arXiv:2112.09332); as pass@k of Chen et al. 2021 (arXiv:2107.03374).
    With the scores in order, the i-th lowest is the best of C(i - 1, n - 1) of the C(N, n) choices.
    """
    count = len(scores)
    if not 1 <= n <= count:
        raise ValueError(f"best of {n} needs {n} answers at least, got {count}")
    chances = math.comb(count, n)
    return math.fsum(
        score * (math.comb(place, n - 1) / chances) for place, score in enumerate(sorted(scores)) if place >= n - 1
    )


def best_of_n_kl(n: int) -> float:
    """Nats from best-of-n to the policy it draws from, at most: log n - (n - 1) / n.

    Source: Stiennon et al. 2020 (arXiv:2009.01325), appendix G.3; a bound, by Beirami et al. 2024 (arXiv:2401.01879).
    """
    return math.log(n) - (n - 1) / n


def win_rate(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """How often a score of mine beats one of theirs, over all pairs of the two; equal scores count half."""
    wins = sum(1.0 if one > other else 0.5 if one == other else 0.0 for one in mine for other in theirs)
    return wins / (len(mine) * len(theirs))


# Intervals


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of independent values, by Student's t; of a single value nothing more is known than itself."""
    return ratio_interval(values, [1] * len(values))


def ratio_interval(sums: Sequence[float], counts: Sequence[int]) -> Interval:
    """A mean over items that come in clusters: `sums` and `counts` of the items of each cluster.

    The variance is that of a ratio of two sums over clusters (Cochran 1977, Sampling Techniques, section 6.3), the
    quantile Student's with a degree for each cluster less one. One cluster has no spread: low and high are the value.
    """
    total, clusters = sum(counts), sum(1 for count in counts if count)
    value = math.fsum(sums) / total
    spread = student_t(clusters - 1) * standard_error(sums, counts, value) if clusters > 1 else 0.0
    return Interval(value, value - spread, value + spread)


def share_interval(right: Sequence[float], counts: Sequence[int]) -> Interval:
    """A share of items that come in clusters, by Wilson's interval: it stays inside 0..1, and has a width at 0 and 1.

    The items count for as many independent ones as give the clustered variance (Kott and Carr 1997), and never for more
    than there are; where all clusters agree, for as many as there are clusters.
    """
    total, clusters = sum(counts), sum(1 for count in counts if count)
    value = math.fsum(right) / total
    error = standard_error(right, counts, value) if clusters > 1 else 0.0
    worth = min(float(total), value * (1 - value) / error**2) if error > 0 else float(clusters)
    square = Z95**2 / worth
    middle = (value + square / 2) / (1 + square)
    half = Z95 / (1 + square) * math.sqrt(value * (1 - value) / worth + square / (4 * worth))
    return Interval(value, max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half)))


def standard_error(sums: Sequence[float], counts: Sequence[int], value: float) -> float:
    """Of the ratio of two sums over two clusters or more."""
    total, clusters = sum(counts), sum(1 for count in counts if count)
    squares = math.fsum((part - value * count) ** 2 for part, count in zip(sums, counts, strict=True))
    return math.sqrt(squares * clusters / (clusters - 1)) / total


def student_t(degrees: int) -> float:
    """The two-sided 95 % quantile of Student's t, to 1 % from three degrees up (Abramowitz and Stegun 26.7.5)."""
    exact = {1: 12.7062, 2: 4.3027}
    z, n = Z95, degrees
    return exact.get(degrees) or (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def flat(prefix: str, parts: Sequence[Mapping[str, float | str]]) -> dict[str, float]:
    """The rows of `agreement_by_part` as metrics: measure/prefix of all, measure/prefix/k4 and /category/x of parts."""
    metrics: dict[str, float] = {}
    for row in parts:
        place = {"all": "", "k": f"/k{row['value']}", "category": f"/category/{row['value']}"}[str(row["part"])]
        for name in ("accuracy", "accuracy/low", "accuracy/high", "kendall_tau", "calibration_error"):
            measure, _, bound = name.partition("/")
            if isinstance(row.get(name), float) and not (bound and place):
                metrics[f"{measure}/{prefix}{place}" + (f"/{bound}" if bound else "")] = float(row[name])
    return metrics
