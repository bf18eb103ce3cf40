"""What the simulated labelers leave behind, as canonical rows: demonstrations and rankings."""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from demo.answers import Manner, compose
from demo.gold import GoldScore, score
from demo.labelers import Panel
from demo.measures import Answered
from demo.prompts import WorldPrompt

Row = dict[str, Any]


def demonstration_text(prompt: WorldPrompt, manner: Manner, seed: int) -> str:
    """What a simulated labeler writes for a prompt; always the same for one seed."""
    return compose(prompt, manner, random.Random(f"demonstration {seed} {prompt.id}"))


def demonstration_row(prompt: WorldPrompt, manner: Manner, seed: int) -> Row:
    answer = {"role": "assistant", "content": demonstration_text(prompt, manner, seed)}
    return {**prompt.row("sft"), "completion": [answer], "labeler": "simulated", "origin": "simulated"}


def answer_groups(answers: Sequence[Answered]) -> list[tuple[WorldPrompt, list[str]]]:
    """The answers of each prompt, in the order in which the prompts first come."""
    groups: dict[str, list[str]] = defaultdict(list)
    prompts: dict[str, WorldPrompt] = {}
    for prompt, text in answers:
        prompts[prompt.id] = prompt
        groups[prompt.id].append(text)
    return [(prompts[prompt_id], texts) for prompt_id, texts in groups.items()]


def gold_groups(groups: Sequence[tuple[WorldPrompt, list[str]]]) -> list[tuple[str, list[GoldScore]]]:
    """(prompt id, gold scores of its answers): what labelers are calibrated and compared on."""
    return [(prompt.id, [score(prompt, text) for text in texts]) for prompt, texts in groups]


def ranking_rows(groups: Sequence[tuple[WorldPrompt, list[str]]], panel: Panel, overlap: int) -> list[Row]:
    """Rankings of each prompt's answers by `overlap` labelers of the panel."""
    rows: list[Row] = []
    for (prompt, texts), (_, scores) in zip(groups, gold_groups(groups), strict=True):
        for labeler in panel.assigned(prompt.id, overlap):
            label = panel.rank(prompt.id, labeler, scores)
            completions = [
                {"id": f"{prompt.id}#{index}", "content": text, "ratings": {"overall": rating}, "flags": flags}
                for index, (text, rating, flags) in enumerate(zip(texts, label.ratings, label.flags, strict=True))
            ]
            rows.append(
                {
                    **prompt.row("rm"),
                    "id": f"{prompt.id}@{labeler}",
                    "completions": completions,
                    "ranks": label.ranks,
                    "presented_order": list(range(len(texts))),
                    "labeler": labeler,
                    "purpose": "train",
                    "origin": "simulated",
                    "counts": True,
                }
            )
    return rows
