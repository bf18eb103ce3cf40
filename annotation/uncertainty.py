"""How unsure a reward model is about the order of some answers. Pure: no table, no settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations


def pair_uncertainty(scores: Sequence[float]) -> float:
    """Return the mean entropy, in bits, of the model's choice between two of the answers.

    Under Bradley-Terry the model prefers answer i to j with probability sigmoid(score_i - score_j). 1 says that it
    can't tell any two apart, 0 that it is sure of every pair; of fewer than two scores there is nothing to be unsure.
    """
    pairs = list(combinations(scores, 2))
    return sum(entropy(first - second) for first, second in pairs) / len(pairs) if pairs else 0.0


def entropy(margin: float) -> float:
    """Return the entropy in bits of a coin that falls on one side with probability sigmoid(margin)."""
    rare = math.exp(-abs(margin))  # the odds against the likelier side
    likelier = 1 / (1 + rare)
    if not rare:
        return 0.0
    return -likelier * math.log2(likelier) - (1 - likelier) * math.log2(rare * likelier)
