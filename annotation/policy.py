"""What comes next, for given counts: pure functions over plain numbers. `services.queue` feeds and obeys them.

In this order:
1. priority: the kinds and categories whose best task has the highest priority, whatever the rest says;
2. kind: drawn by weight, so that every kind with a weight keeps coming;
3. category: the one whose share of the labels is furthest below its quota (its deficit);
4. within a category: priority, then the most uncertain under the current reward model (where asked for), then the
   oldest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Shares of InstructGPT's API prompts (arXiv:2203.02155, table 1), in percent.
INSTRUCTGPT_QUOTAS: Mapping[str, float] = {
    "generation": 45.6,
    "open_qa": 12.4,
    "brainstorming": 11.2,
    "chat": 8.4,
    "rewrite": 6.6,
    "summarization": 4.2,
    "classification": 3.5,
    "other": 3.5,
    "closed_qa": 2.6,
    "extract": 1.9,
}


@dataclass(frozen=True)
class Policy:
    """How a project hands out its tasks."""

    weights: Mapping[str, int] = field(default_factory=dict)
    """{kind: weight}; a kind that is not named has weight 1, one of weight 0 is not handed out."""
    quotas: Mapping[str, float] = field(default_factory=lambda: INSTRUCTGPT_QUOTAS)
    """{category: share of the labels}, in any unit; a category that is not named has 0. Empty: no quotas."""
    uncertain_first: bool = False
    """Within a category, the tasks on which the reward model is least sure before older ones."""
    review_after_skips: int = 3
    """A task that so many labelers skipped leaves the queue for a look by a reviewer; 0: never."""
    daily_limit: int | None = None
    """Tasks a day for each labeler at most, where they have no limit of their own; None: any number."""

    def weight(self, kind: str) -> int:
        return self.weights.get(kind, 1)

    @property
    def has_quotas(self) -> bool:
        return sum(self.quotas.values()) > 0

    def order(self) -> tuple[str, ...]:
        """The order of tasks within a category, as a query writes it."""
        return ("-priority", "-uncertainty", "id") if self.uncertain_first else ("-priority", "id")

    def goes_to_review(self, skips: int) -> bool:
        return 0 < self.review_after_skips <= skips


@dataclass(frozen=True)
class Head:
    """The best task of a category that a labeler may get; ids sort by age."""

    category: str
    priority: int
    uncertainty: float
    id: str


def kinds_in_order(priorities: Mapping[str, int], policy: Policy, draw: float) -> list[str]:
    """Return the kinds in the order in which to try them.

    priorities: {kind: priority of its best task}, for kinds that have a task for this labeler. draw: uniform in [0, 1);
    among the kinds of the highest priority it picks the first by weight. The others follow by priority, then weight.
    """
    ranked = sorted(
        (kind for kind in priorities if policy.weight(kind) > 0),
        key=lambda kind: (-priorities[kind], -policy.weight(kind), kind),
    )
    if not ranked:
        return []
    first = drawn([kind for kind in ranked if priorities[kind] == priorities[ranked[0]]], policy, draw)
    return [first, *(kind for kind in ranked if kind != first)]


def drawn(kinds: list[str], policy: Policy, draw: float) -> str:
    """Return one of the kinds, each as often as its weight says when `draw` is uniform in [0, 1)."""
    left = draw * sum(policy.weight(kind) for kind in kinds)
    for kind in kinds:
        left -= policy.weight(kind)
        if left < 0:
            return kind
    return kinds[-1]


def deficits(taken: Mapping[str, int], quotas: Mapping[str, float]) -> dict[str, float]:
    """Return how many labels each category lacks, were the next label to complete the quotas; they sum to 1.

    taken: {category: labels given or in work}. Giving the next label to the largest deficit never leads a category
    more than one label beyond its quota.
    """
    whole = sum(quotas.values())
    following = sum(taken.values()) + 1
    names = taken.keys() | quotas.keys()
    return {name: quotas.get(name, 0.0) / whole * following - taken.get(name, 0) for name in names}


def categories_in_order(heads: list[Head], taken: Mapping[str, int], policy: Policy) -> list[str]:
    """Return the categories in the order in which to try them, for the heads that this labeler may get."""
    if not policy.has_quotas:
        return [head.category for head in sorted(heads, key=lambda head: place_of(head, policy))]
    lacking = deficits({head.category: 0 for head in heads} | dict(taken), policy.quotas)
    ranked = sorted(heads, key=lambda head: (-head.priority, -lacking[head.category], head.category))
    return [head.category for head in ranked]


def place_of(head: Head, policy: Policy) -> tuple[int, float, str]:
    return -head.priority, -head.uncertainty if policy.uncertain_first else 0.0, head.id
