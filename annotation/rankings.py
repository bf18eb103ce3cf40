"""Rankings as numbers: 1 is best, equal ranks are ties, None was not ranked. Pure: no table, no settings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from django.utils.translation import gettext as _

from annotation.errors import PlackettError

Rank = int | None
TIES = ("drop", "half", "margin")


class RankingProblem(PlackettError):
    """Ranks that are no ranking."""


class Pair(NamedTuple):
    """Two answers by their places in the group. `weight` 1 says chosen is better, 0.5 that they are tied."""

    chosen: int
    rejected: int
    weight: float
    margin: int
    """How many ranks apart; 0 for a tie."""


def ranks_validate(ranks: Sequence[object], *, allow_ties: bool = True, allow_partial: bool = False) -> list[Rank]:
    """Return the ranks without gaps, or refuse them in words."""
    if len(ranks) < 2:
        raise RankingProblem(_("A ranking needs two answers or more."))
    for place, rank in enumerate(ranks, start=1):
        if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= 1000):
            raise RankingProblem(
                _("The rank of answer %(place)s is %(rank)s; it must be a whole number from 1 up.")
                % {"place": place, "rank": f"{rank!r:.40}"}
            )
    known = [rank for rank in ranks if isinstance(rank, int)]
    missing = len(ranks) - len(known)
    if missing and not allow_partial:
        raise RankingProblem(
            _("%(missing)s of %(count)s answers have no rank yet. Rank every answer.")
            % {"missing": missing, "count": len(ranks)}
        )
    if len(known) < 2:
        raise RankingProblem(_("Rank at least two answers."))
    if not allow_ties and len(set(known)) < len(known):
        raise RankingProblem(
            _("Two answers have the same rank, and this project allows no ties. Put one above the other.")
        )
    return normalise_ranks([rank if isinstance(rank, int) else None for rank in ranks])


def normalise_ranks(ranks: Sequence[Rank]) -> list[Rank]:
    """Return dense ranks: 1, 1, 3 (as in sports) and 1, 1, 2 mean the same and both become 1, 1, 2."""
    order = {rank: place for place, rank in enumerate(sorted({rank for rank in ranks if rank is not None}), start=1)}
    return [None if rank is None else order[rank] for rank in ranks]


def pairs(ranks: Sequence[Rank], *, ties: str = "drop") -> list[Pair]:
    """Return the pairs that a ranking says something about, at most C(K, 2) of them.

    ties: "drop" leaves tied pairs out, "half" and "margin" keep them with weight 0.5 and margin 0 (a trainer that
    knows margins pulls their scores together). Answers without a rank are in no pair.
    """
    if ties not in TIES:
        raise RankingProblem(
            _("The tie policy is %(ties)s; it must be one of %(known)s.")
            % {"ties": repr(ties), "known": ", ".join(TIES)}
        )
    found = []
    for first, second in combinations(range(len(ranks)), 2):
        upper, lower = ranks[first], ranks[second]
        if upper is None or lower is None:
            continue
        if upper == lower:
            if ties != "drop":
                found.append(Pair(first, second, 0.5, 0))
        elif upper < lower:
            found.append(Pair(first, second, 1.0, lower - upper))
        else:
            found.append(Pair(second, first, 1.0, upper - lower))
    return found


def agreement(ours: Sequence[Rank], theirs: Sequence[Rank]) -> tuple[int, int]:
    """Return (pairs put in the same order by both, pairs ordered by both); ties and unranked answers are left out.

    The two sequences are ranks of the same answers in the same places.
    """
    if len(ours) != len(theirs):
        raise RankingProblem(
            _("These rankings are of %(ours)s and %(theirs)s answers; agreement needs the same.")
            % {"ours": len(ours), "theirs": len(theirs)}
        )
    agreed = compared = 0
    for first, second in combinations(range(len(ours)), 2):
        here, there = _order(ours, first, second), _order(theirs, first, second)
        if here and there:
            compared += 1
            agreed += here == there
    return agreed, compared


def most_agreed(rankings: Sequence[Sequence[Rank]]) -> int:
    """Which of these rankings of the same answers agrees most with the others; the first of those that do equally.

    What it agrees by: over all other rankings, the pairs that both put in the same order less those that they put in
    opposite orders. Ties and unranked answers say nothing. The result is a ranking that somebody made, never a cycle
    such as three pairwise majorities may form (docs/adr/0012).
    """
    best, best_score = 0, None
    for place, ours in enumerate(rankings):
        score = 0
        for other, theirs in enumerate(rankings):
            if other != place:
                agreed, compared = agreement(ours, theirs)
                score += 2 * agreed - compared
        if best_score is None or score > best_score:
            best, best_score = place, score
    return best


def contradictions(ranks: Sequence[Rank], ratings: Sequence[int | None]) -> list[tuple[int, int]]:
    """Return the pairs (better ranked, worse ranked) whose ratings say the opposite."""
    return [
        (pair.chosen, pair.rejected) for pair in pairs(ranks) if _below(ratings[pair.chosen], ratings[pair.rejected])
    ]


def _below(rating: int | None, other: int | None) -> bool:
    return rating is not None and other is not None and rating < other


def _order(ranks: Sequence[Rank], first: int, second: int) -> int:
    """-1: first is better, 1: second is better, 0: tied or unknown."""
    left, right = ranks[first], ranks[second]
    if left is None or right is None or left == right:
        return 0
    return -1 if left < right else 1
