"""Writers of the families that are groups or transcripts: hh-rlhf, UltraFeedback, OpenAssistant, Argilla, Label Studio.

A writer takes one canonical row (`annotation.selectors.rows`) and yields rows of the format. What a format has no
place for it leaves out in silence, for `training.exports` says so for the whole format; a row that would come out wrong
raises LeftOut with the reason instead, which is counted and told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from annotation.formats.base import Out, Row
from annotation.rankings import pairs

HH_MARK = re.compile(r"(?:^|\n\n)(?:Human|Assistant):")
ULTRAFEEDBACK_LEVELS = 5


class LeftOut(Exception):
    """A row that the format can't carry; `reason` is a key of `training.exports.REASONS`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def single_turn(row: Row) -> str:
    """The one thing that the user said. Raises LeftOut for a conversation."""
    prompt = row["prompt"]
    if len(prompt) != 1:
        raise LeftOut("turns")
    return str(prompt[0]["content"])


def no_system(row: Row) -> list[Out]:
    if any(turn["role"] == "system" for turn in row["prompt"]):
        raise LeftOut("system")
    return list(row["prompt"])


def as_field(prompt: list[Out]) -> Any:
    """A text where that says it all, else the conversation."""
    is_text = len(prompt) == 1 and prompt[0]["role"] == "user"
    return prompt[0]["content"] if is_text else prompt


# --- hh-rlhf -----------------------------------------------------------------------------------------


def write_hh(row: Row, ties: str) -> Iterator[Out]:
    """Two whole transcripts for each pair; a text that looks like the turn of a transcript can't be told from one."""
    prompt = no_system(row)
    answers = [completion["content"] for completion in row["completions"]]
    if any(HH_MARK.search(text) for text in [*answers, *(turn["content"] for turn in prompt)]):
        raise LeftOut("marks")
    names = {"user": "Human", "assistant": "Assistant"}
    start = "".join(f"\n\n{names[turn['role']]}: {turn['content']}" for turn in prompt) + "\n\nAssistant: "
    for chosen, rejected in ordered(row["ranks"], ties):
        yield {"chosen": start + answers[chosen], "rejected": start + answers[rejected]}


def ordered(ranks: list[Any], ties: str) -> Iterator[tuple[int, int]]:
    """(better, worse) by their places; a tie both ways round with the policy "half", else not at all."""
    for pair in pairs(ranks, ties="half" if ties == "half" else "drop"):
        yield pair.chosen, pair.rejected
        if not pair.margin:
            yield pair.rejected, pair.chosen


# --- UltraFeedback -------------------------------------------------------------------------------------


def write_ultrafeedback(row: Row, ties: str) -> Iterator[Out]:
    """The group with its order written as ratings from 5 down, as UltraFeedback has no ranks."""
    instruction = single_turn(row)
    if max(rank or 0 for rank in row["ranks"]) > ULTRAFEEDBACK_LEVELS:
        raise LeftOut("levels")
    items = list(zip(row["completions"], row["ranks"], strict=True))
    yield {
        "source": "plackett",
        "instruction": instruction,
        "models": [name_of(completion) for completion, _rank in items],
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
        "completions": [
            {
                "model": name_of(completion),
                "principle": "",
                "custom_system_prompt": "",
                "response": completion["content"],
                "annotations": {"preference": {"Rating": rating_of(rank), "Rationale": ""}},
            }
            for completion, rank in items
        ],
    }


def name_of(completion: Mapping[str, Any]) -> str:
    return str(completion.get("model") or "")


def rating_of(rank: int | None) -> str:
    return "N/A" if rank is None else str(ULTRAFEEDBACK_LEVELS + 1 - rank)


# --- OpenAssistant trees -------------------------------------------------------------------------------


def write_oasst_ranking(row: Row, ties: str) -> Iterator[Out]:
    """A tree whose one path is the prompt and whose leaves are the answers, ranked from 0."""
    prompt = no_system(row)
    leaves = [
        {
            **node(completion["id"], "assistant", completion["content"], row),
            "rank": None if rank is None else rank - 1,
            "synthetic": completion["author"] == "model",
            "model_name": completion["model"] if completion["author"] == "model" else None,
        }
        for completion, rank in zip(row["completions"], row["ranks"], strict=True)
    ]
    yield tree(row, prompt, leaves)


def write_oasst_demonstration(row: Row, ties: str) -> Iterator[Out]:
    """A prompt with one reply. An earlier answer of a conversation would read as a demonstration too."""
    single_turn(row)
    reply = node(f"{row['id']}-reply", "assistant", row["completion"][-1]["content"], row)
    yield tree(row, list(row["prompt"]), [{**reply, "user_id": row["labeler"], "rank": 0}])


def tree(row: Row, prompt: list[Out], leaves: list[Out]) -> Out:
    replies = leaves
    for place in range(len(prompt) - 1, -1, -1):
        role = "prompter" if prompt[place]["role"] == "user" else "assistant"
        key = str(row["id"]) if place == len(prompt) - 1 else f"{row['id']}-{place}"
        replies = [{**node(key, role, prompt[place]["content"], row), "replies": replies}]
    return {"message_tree_id": row["id"], "tree_state": "ready_for_export", "prompt": replies[0]}


def node(key: str, role: str, text: str, row: Row) -> Out:
    return {"message_id": key, "text": text, "role": role, "lang": row["language"], "deleted": False, "replies": []}


# --- Argilla -------------------------------------------------------------------------------------------


def write_argilla_ranking(row: Row, ties: str) -> Iterator[Out]:
    """A record with a ranking question: fields prompt and response-1 to response-K, and one submitted response."""
    names = [f"response-{number}" for number in range(1, len(row["completions"]) + 1)]
    texts = {name: item["content"] for name, item in zip(names, row["completions"], strict=True)}
    value = [{"value": name, "rank": rank} for name, rank in zip(names, row["ranks"], strict=True)]
    fields = {"prompt": as_field(row["prompt"]), **texts}
    yield record(row, fields, "ranking", value, row["prompt_fields"]["category"])


def write_argilla_demonstration(row: Row, ties: str) -> Iterator[Out]:
    fields = {"prompt": as_field(row["prompt"])}
    yield record(row, fields, "response", row["completion"][-1]["content"], row["category"])


def record(row: Row, fields: Out, question: str, value: Any, category: str) -> Out:
    return {
        "id": row["id"],
        "fields": fields,
        "metadata": {"category": category, "language": row["language"], "split": row["split"]},
        "suggestions": [],
        "responses": [{"question_name": question, "value": value, "user_id": row["labeler"], "status": "submitted"}],
    }


# --- Label Studio --------------------------------------------------------------------------------------


def write_studio_ranking(row: Row, ties: str) -> Iterator[Out]:
    """A task with a ranker's result: the ids of the answers, best first; what was not ranked is not named."""
    ranked = sorted((rank, place) for place, rank in enumerate(row["ranks"]) if rank is not None)
    if len({rank for rank, _place in ranked}) < len(ranked):
        raise LeftOut("ties")
    # An empty body would be read as its title, so that one is empty too.
    items = [
        {"id": completion["id"], "title": str(number) if completion["content"] else "", "body": completion["content"]}
        for number, completion in enumerate(row["completions"], start=1)
    ]
    order = [items[place]["id"] for _rank, place in ranked]
    result = {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": order}}
    yield studio_task(row, {"items": items}, result, row["active_seconds"], row["prompt_fields"]["category"])


def write_studio_demonstration(row: Row, ties: str) -> Iterator[Out]:
    text = row["completion"][-1]["content"]
    result = {"from_name": "answer", "to_name": "prompt", "type": "textarea", "value": {"text": [text]}}
    yield studio_task(row, {}, result, None, row["category"])


def studio_task(row: Row, data: Out, result: Out, seconds: float | None, category: str) -> Out:
    """`completed_by` stays open: Label Studio knows its own people there and refuses any other name."""
    filing = {"category": category, "language": row["language"], "labeler": row["labeler"]}
    annotation = {"result": [{"id": str(row["id"]), **result}], "was_cancelled": False, "ground_truth": False}
    if seconds is not None:
        annotation["lead_time"] = seconds
    return {
        "data": {"plackett_id": row["id"], "prompt": as_field(row["prompt"]), **data, "meta": filing},
        "annotations": [annotation],
    }


# --- verl ----------------------------------------------------------------------------------------------


def write_verl(row: Row, ties: str) -> Iterator[Out]:
    """A prompt as verl's RL trainers read it from Parquet; a reward model scores it, so there is no ground truth."""
    yield {
        "data_source": "plackett",
        "prompt": row["prompt"],
        "ability": row["category"],
        "reward_model": {"style": "model", "ground_truth": ""},
        "extra_info": {"index": row["id"], "split": row["split"], "language": row["language"], "group": row["group"]},
    }
