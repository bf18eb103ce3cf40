"""`python -m training.rlhf.lengths`: how long the rows of a dataset are for a model, before anything trains on them.

Rows are encoded as the stages encode them, chat template and closing token included, and the same rows are left out for
the same reasons: an SFT or reward run with this context length says so too, in its data events. Rankings are counted as
they are trained on, the prompt once for each answer that was ranked. Memory does not grow with the rows: lengths are
counted, not kept, so the percentiles are exact.

The order is JSON on stdin, one line: `{"model": folder, "kind": "demonstrations", "context_length": 0, "room": 128,
"files": {"train": path}}`. Lines on stdout: `{"rows": 2000}` now and then, and the result. Whoever asks keeps stdin
open: its end ends this.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoConfig, PreTrainedTokenizerBase

from training.rlhf import pretrain, reward, rollouts, sft
from training.rlhf.data import Row, required
from training.rlhf.errors import ModelError, RowError
from training.rlhf.tokens import context_limit, encode_prompt, load_tokenizer

PERCENTILES = (50, 90, 95, 99, 100)
TELL_EVERY = 1000
EXIT_MODEL = 65


class Measured(NamedTuple):
    """One row in tokens."""

    prompts: list[int]
    responses: list[int]
    total: int
    """What a run reads of it."""
    refused: str = ""
    """Why a run leaves it out; empty where it fits."""


Measure = Callable[[Row], Measured]


class Lengths:
    """What is known of one file."""

    def __init__(self) -> None:
        self.rows = self.tokens = self.kept = self.kept_tokens = 0
        self.prompts: Counter[int] = Counter()
        self.responses: Counter[int] = Counter()
        self.left_out: Counter[str] = Counter()

    def add(self, measured: Measured) -> None:
        self.rows += 1
        self.tokens += measured.total
        self.prompts.update(measured.prompts)
        self.responses.update(measured.responses)
        if measured.refused:
            self.left_out[measured.refused] += 1
        else:
            self.kept += 1
            self.kept_tokens += measured.total

    def refuse(self, reason: str) -> None:
        """A row that can't be read as tokens at all."""
        self.rows += 1
        self.left_out[reason] += 1

    def result(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "kept": self.kept,
            "kept_tokens": self.kept_tokens,
            "prompt": percentiles(self.prompts),
            "response": percentiles(self.responses),
            "left_out": dict(self.left_out.most_common()),
        }


def percentiles(lengths: Counter[int]) -> dict[str, int]:
    """{"p50": tokens, ...}: the least length that so many percent do not exceed. {} where there is none."""
    number = sum(lengths.values())
    found: dict[str, int] = {}
    seen = 0
    wanted = list(PERCENTILES) if number else []
    for length in sorted(lengths):
        seen += lengths[length]
        while wanted and 100 * seen >= wanted[0] * number:
            found[f"p{wanted.pop(0)}"] = length
    return found


# Each by its stage's own encoder: sft, reward and dpo, ppo and rloo and sample, pretrain.


def measure_demonstration(row: Row, tokenizer: PreTrainedTokenizerBase, limit: int, room: int) -> Measured:
    demonstration = sft.encode_demonstration(row, tokenizer)
    total, start = len(demonstration.ids), demonstration.prompt_length
    return Measured([start], [total - start], total, demonstration.exceeds(limit))


def measure_ranking(row: Row, tokenizer: PreTrainedTokenizerBase, limit: int, room: int) -> Measured:
    answers, _ranks = reward.ranked_answers(row)
    lengths = [(len(prompt), len(answer)) for prompt, answer in reward.encode_answers(row, answers, tokenizer)]
    reasons = [reward.exceeds(prompt, answer, limit) for prompt, answer in lengths]
    refused = next(filter(None, reasons), "")  # the first that does not fit is the reason, as it is there
    return Measured([lengths[0][0]], [answer for _, answer in lengths], sum(map(sum, lengths)), refused)


def measure_prompt(row: Row, tokenizer: PreTrainedTokenizerBase, limit: int, room: int) -> Measured:
    length = len(encode_prompt(tokenizer, required(row, "prompt", list)))
    return Measured([length], [], length, rollouts.leaves_no_room(length, room, limit))


def measure_text(row: Row, tokenizer: PreTrainedTokenizerBase, limit: int, room: int) -> Measured:
    """Texts are joined, with EOS between them, and cut into blocks: none is too long."""
    text = pretrain.document_text(row, tokenizer)
    length = len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
    return Measured([], [length], length)


MEASURES: dict[str, Callable[[Row, PreTrainedTokenizerBase, int, int], Measured]] = {
    "demonstrations": measure_demonstration,
    "rankings": measure_ranking,
    "prompts": measure_prompt,
    "corpus": measure_text,
}


def lengths_of(path: Path, measure: Measure, tell: Callable[[], None]) -> Lengths:
    """The lengths of a file's rows; `tell` is called for each."""
    found = Lengths()
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            tell()
            try:
                found.add(measure(json.loads(line)))
            except RowError as reason:
                found.refuse(str(reason))
    return found


def run(order: Mapping[str, Any], say: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Measure each file of the order. Raises ModelError (a DataError) in words."""
    tokenizer = load_tokenizer(order["model"])
    config = AutoConfig.from_pretrained(order["model"], local_files_only=True, trust_remote_code=False)
    limit = context_limit(config, int(order.get("context_length") or 0))
    room = int(order.get("room") or 0)
    one = MEASURES[order["kind"]]
    counted = counter(say)
    splits = {
        split: lengths_of(Path(path), lambda row: one(row, tokenizer, limit, room), counted).result()
        for split, path in order["files"].items()
    }
    return {"context_length": limit, "room": room, "splits": splits}


def counter(say: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
    numbers: Iterator[int] = iter(range(1, sys.maxsize))

    def count() -> None:
        number = next(numbers)
        if number % TELL_EVERY == 0:
            say({"rows": number})

    return count


def say_line(content: Mapping[str, Any]) -> None:
    print(json.dumps(content), flush=True)


def end_with_stdin() -> None:
    """Whoever asked is gone, or has had enough. Past Python's own buffer, whose lock must be free at the end."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> int:
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_stdin, daemon=True, name="stdin").start()
    try:
        say_line({"result": run(order, say_line)})
    except ModelError as problem:
        say_line({"problem": str(problem)})
        return EXIT_MODEL
    return 0


if __name__ == "__main__":
    sys.exit(main())
