"""Rows in, batches out: JSONL read with line numbers, batches by length and token budget, masks by stored lengths."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from training.rlhf.errors import DataError, RowError

Row = dict[str, Any]
Encoded = TypeVar("Encoded")

LENGTH_MULTIPLE = 8  # padded lengths are multiples of it: fewer shapes, for which kernels are built once
WORTH_A_PASS = 2048  # tokens; below it a pass costs more by being one than by padding
CPU_ROW = 2048  # tokens; a CPU computes no faster with more of them, and keeps the activations of fewer
WINDOW = 16  # batches among which rows are sorted by length


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file. Raises DataError naming the line that is not a JSON object."""
    rows = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"line {number} of {path.name} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"line {number} of {path.name} is not a JSON object")
            rows.append(row)
    return rows


def encode_rows(rows: Sequence[Row], encode: Callable[[Row], Encoded]) -> tuple[list[Encoded], Counter[str]]:
    """Every row that `encode` takes, and how many it refused for which reason (RowError)."""
    kept: list[Encoded] = []
    reasons: Counter[str] = Counter()
    for row in rows:
        try:
            kept.append(encode(row))
        except RowError as reason:
            reasons[str(reason)] += 1
    return kept, reasons


def required(row: Row, name: str, kind: type) -> Any:
    """A field that the row must have. Raises RowError."""
    value = row.get(name)
    if not isinstance(value, kind):
        raise RowError(f"row without {name}")
    return value


def pad_right(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (B, T) padded on the right, T a multiple of 8, and lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    longest = padded_length(int(lengths.max()))
    ids = torch.full((len(sequences), longest), pad_id, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return ids, lengths


def padded_length(length: int) -> int:
    return LENGTH_MULTIPLE * math.ceil(length / LENGTH_MULTIPLE)


def length_mask(lengths: torch.Tensor, longest: int) -> torch.Tensor:
    """(B, T), True at the first `lengths` positions: from stored lengths, never from where pad ids are."""
    return torch.arange(longest, device=lengths.device)[None, :] < lengths[:, None]


def micro_batches(
    indices: Sequence[int],
    costs: Sequence[int],
    lengths: Sequence[int],
    budget: int,
    *,
    worth_a_pass: int = WORTH_A_PASS,
) -> list[list[int]]:
    """Split a batch into groups whose padded size (sum of costs x longest) fits the token budget.

    `costs` counts the sequences of an element (1, or K for a ranking), `lengths` its longest. An element over the
    budget by itself is a group of its own. Longest first, so that too large a budget runs out of memory at once. A
    group of `worth_a_pass` tokens takes no shorter element, which it would only pad.
    """
    groups: list[list[int]] = []
    width = count = 0
    for index in sorted(indices, key=lambda item: (-lengths[item], item)):
        full = width * count >= worth_a_pass and padded_length(lengths[index]) < width
        if groups and not full and width * (count + costs[index]) <= budget:
            groups[-1].append(index)
            count += costs[index]
        else:
            groups.append([index])
            width, count = padded_length(lengths[index]), costs[index]
    return groups


def fill_rows(costs: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of elements of `costs` tokens each, in rows of at most `budget` tokens, about evenly full.

    Where there is no GPU a row has at most 2048 tokens. An element that has more than a row by itself is still whole.
    Longest first into the emptiest row, with as few rows as will do.
    """
    limit = budget if torch.cuda.is_available() else min(budget, CPU_ROW)
    limit = max(limit, max(costs, default=0))
    order = sorted(range(len(costs)), key=lambda index: (-costs[index], index))
    for count in range(max(1, math.ceil(sum(costs) / limit)), len(costs) + 1):
        rows: list[list[int]] = [[] for _ in range(count)]
        filled = [0] * count
        for index in order:
            emptiest = filled.index(min(filled))
            rows[emptiest].append(index)
            filled[emptiest] += costs[index]
        if max(filled) <= limit:
            return rows
    return [[index] for index in order]


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch: shuffled, then sorted by length inside windows of 16 batches, batches shuffled again.

    Every row comes once; the last batch may be smaller. Decided by (lengths, batch_size, seed, epoch) alone.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = sorted(order[start : start + WINDOW * batch_size].tolist(), key=lambda index: lengths[index])
        batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


class BatchCursor:
    """An endless walk over epochs of batches that knows where it is, so that a resumed run goes on from there."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.epoch = self.position = 0
        self._batches = epoch_batches(lengths, batch_size, seed, epoch=0)

    @property
    def batches_per_epoch(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return self

    def __next__(self) -> list[int]:
        if self.position == len(self._batches):
            self._go_to(self.epoch + 1, 0)
        batch = self._batches[self.position]
        self.position += 1
        return batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position, "rows": len(self.lengths)}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        if state_dict["rows"] != len(self.lengths):
            raise ValueError(f"it read {state_dict['rows']} rows, here are {len(self.lengths)}")
        self._go_to(state_dict["epoch"], state_dict["position"])

    def _go_to(self, epoch: int, position: int) -> None:
        if epoch != self.epoch:
            self._batches = epoch_batches(self.lengths, self.batch_size, self.seed, epoch)
        self.epoch, self.position = epoch, position


def total_steps(batches_per_epoch: int, epochs: float, max_steps: int) -> int:
    """Optimiser steps of a run: by epochs, or fewer if `max_steps` says so."""
    steps = max(1, math.ceil(epochs * batches_per_epoch))
    return min(steps, max_steps) if max_steps else steps


def due(step: int, every: int, last: int) -> bool:
    """Whether something that is done each `every` steps (0: never) and at the end is to be done after this step."""
    return step == last or (every > 0 and step % every == 0)
