"""What a snapshot's rows are made of, counted in one pass: mix, labelers' shares, and the biases that can be measured.

Pure: rows in, a small JSON out. Nothing here grows with the rows but the names of labelers and guidelines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

Row = Mapping[str, Any]
LENGTH_STEPS = (0, 50, 100, 200, 400, 800, 1600, 3200, 6400)
"""Lower ends of the bars of a distribution of lengths, in characters."""
MOST_NAMED = 1000  # labelers; beyond that they are counted and not named


class Facts:
    def __init__(self) -> None:
        self.rows = 0
        self.counts: dict[str, Counter[str]] = {
            name: Counter()
            for name in (
                *("category", "language", "origin", "labeler", "guideline", "prompt_length", "answer_length"),
                *("rating", "flag", "k", "first_position", "shown_position"),
            )
        }
        self.pairs = self.tied_pairs = self.unranked = self.with_ties = 0
        self.longer_wins = self.length_pairs = 0
        self.seconds: list[float] = [0.0, 0]
        self.first, self.last = "", ""

    def add(self, row: Row) -> None:
        self.rows += 1
        category = row.get("category") or (row.get("prompt_fields") or {}).get("category")
        for name, value in (
            ("category", category),
            ("language", row.get("language")),
            ("origin", row.get("origin")),
            ("labeler", row.get("labeler")),
            ("guideline", row.get("guideline_version")),
        ):
            if value is not None:
                self.counts[name][str(value)] += 1
        if row.get("prompt"):
            self.counts["prompt_length"][bar(sum(len(turn["content"]) for turn in row["prompt"]))] += 1
        if row.get("text") is not None:
            self.counts["prompt_length"][bar(len(row["text"]))] += 1
        if row.get("completion"):
            self.counts["answer_length"][bar(len(row["completion"][-1]["content"]))] += 1
        if submitted := row.get("submitted_at"):
            self.first, self.last = min(self.first or submitted, submitted), max(self.last, submitted)
        if row.get("active_seconds"):
            self.seconds[0] += row["active_seconds"]
            self.seconds[1] += 1
        if row.get("completions"):
            self.add_ranking(row)

    def add_ranking(self, row: Row) -> None:
        completions, ranks = row["completions"], row["ranks"]
        self.counts["k"][str(len(completions))] += 1
        lengths = [len(item["content"]) for item in completions]
        for item, length in zip(completions, lengths, strict=True):
            self.counts["answer_length"][bar(length)] += 1
            self.counts["flag"].update(item.get("flags") or ())
            rating = (item.get("ratings") or {}).get("overall")
            if rating is not None:
                self.counts["rating"][str(rating)] += 1
        self.unranked += sum(rank is None for rank in ranks)
        self.add_positions(row)
        tied = False
        for one, other in combinations(range(len(ranks)), 2):
            if ranks[one] is None or ranks[other] is None:
                continue
            if ranks[one] == ranks[other]:
                self.tied_pairs += 1
                tied = True
                continue
            self.pairs += 1
            if lengths[one] != lengths[other]:
                self.length_pairs += 1
                self.longer_wins += (lengths[one] > lengths[other]) == (ranks[one] < ranks[other])
        self.with_ties += tied

    def add_positions(self, row: Row) -> None:
        """Where the answer stood that came first alone, and how many answers stood there in all such rankings."""
        best = [place for place, rank in enumerate(row["ranks"]) if rank == 1]
        if len(best) != 1:
            return
        order = {key: position for position, key in enumerate(row["presented_order"], start=1)}
        at = order.get(row["completions"][best[0]]["id"])
        if at is not None:
            self.counts["first_position"][str(at)] += 1
            self.counts["shown_position"].update(str(position) for position in order.values())

    def result(self) -> dict[str, Any]:
        labelers = self.counts["labeler"]
        found: dict[str, Any] = {"rows": self.rows, "labelers": len(labelers)}
        for name, counter in self.counts.items():
            if counter:
                found[name] = dict(sorted(counter.most_common(MOST_NAMED), key=lambda item: (-item[1], item[0])))
        if self.counts["k"]:
            found |= {
                "pairs": self.pairs,
                "tied_pairs": self.tied_pairs,
                "rankings_with_ties": self.with_ties,
                "unranked_answers": self.unranked,
                "longer_wins": self.longer_wins,
                "pairs_of_unequal_length": self.length_pairs,
            }
        if self.seconds[1]:
            found["mean_seconds"] = round(self.seconds[0] / self.seconds[1], 1)
        if self.first:
            found |= {"first_submitted_at": self.first, "last_submitted_at": self.last}
        return found


def bar(length: int) -> str:
    """The bar that a length belongs to, by its lower end."""
    return str(max(step for step in LENGTH_STEPS if step <= length))


def facts_of(rows: Iterable[Row]) -> dict[str, Any]:
    facts = Facts()
    for row in rows:
        facts.add(row)
    return facts.result()
