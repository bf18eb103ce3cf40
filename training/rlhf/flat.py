"""Flat rows: sequences laid end to end without padding, a beginning that several of them share laid down once.

    sequences  a b c d | a b e | x y          row  a b c d e x y + filler
    prefix of the first two: a b              positions  0 1 2 3 2 0 1 ...

Every token goes through the model once. The row's length is rounded up to a multiple, so that few kernels are built;
what fills it belongs to no sequence, attends to nothing and is read by nobody. `hidden_states` is what all stages call:
where a family cannot be shown to compute the same on a flat row as on padded sequences, it pads.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.rlhf.attention import Layout, Span, flat_row, make_layout, switch_attention
from training.rlhf.numerics import exact_products

ROW_MULTIPLE = 64
LEAST_PREFIX = 8  # tokens; a shorter common beginning is not worth a layout of its own
TOLERANCE = 1e-3  # of the largest state; how far the trial of `reads_flat_rows` may be off in float32
COARSE = 0.1  # the same for weights of fewer digits

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlatRow:
    """S sequences in one row of L tokens."""

    ids: Tensor
    """(1, L)"""

    positions: Tensor
    """(1, L), counted within a sequence."""

    layout: Layout

    places: list[np.ndarray]
    """Of each sequence: where its tokens are in the row; shared tokens are in several."""

    @property
    def last(self) -> Tensor:
        """(S,) where the last token of each sequence is."""
        return torch.tensor([places[-1] for places in self.places], device=self.ids.device)

    @property
    def tokens(self) -> int:
        """Tokens of the sequences, each place counted once; what is more in the row is filler."""
        return sum(len(bucket.queries.index) - len(bucket.queries.gaps) for bucket in self.layout.buckets)

    def before(self, counts: Sequence[Sequence[bool]]) -> Tensor:
        """(N,) places of the tokens before those that count: where they are predicted. `counts` has a list for each
        sequence, in its order; a first token, which nothing predicts, never counts."""
        found = [
            places[:-1][np.asarray(count[1:], dtype=bool)] for places, count in zip(self.places, counts, strict=True)
        ]
        return torch.from_numpy(np.concatenate(found)).to(self.ids.device)


def lay_flat(sequences: Sequence[Sequence[int]], device: torch.device, *, pad_id: int = 0) -> FlatRow:
    """A row of sequences that share nothing."""
    return lay_shared([[sequence] for sequence in sequences], device, pad_id=pad_id)


def lay_shared(groups: Sequence[Sequence[Sequence[int]]], device: torch.device, *, pad_id: int = 0) -> FlatRow:
    """A row of groups of sequences; what all sequences of a group begin with is laid down once, if it is long enough.

    Sequences keep their order: group after group. Each keeps at least its last token for itself.
    """
    pieces: list[Sequence[int]] = []
    positions: list[np.ndarray] = []
    spans: list[Span] = []
    places: list[np.ndarray] = []
    length = 0

    def lay(tokens: Sequence[int], first: int, prefix_start: int) -> np.ndarray:
        nonlocal length
        spans.append(Span(length, len(tokens), prefix_start, first))
        pieces.append(tokens)
        positions.append(np.arange(first, first + len(tokens)))
        length += len(tokens)
        return np.arange(length - len(tokens), length)

    for group in groups:
        shared = common_prefix(group)
        start = length
        prefix = lay(group[0][:shared], 0, 0) if shared else np.arange(0)
        places += [np.concatenate([prefix, lay(sequence[shared:], shared, start)]) for sequence in group]
    whole = ROW_MULTIPLE * -(-length // ROW_MULTIPLE)
    ids = np.full(whole, pad_id)
    ids[:length] = np.concatenate([np.asarray(piece) for piece in pieces])
    position_ids = np.zeros(whole, dtype=np.int64)
    position_ids[:length] = np.concatenate(positions)
    return FlatRow(
        torch.from_numpy(ids).unsqueeze(0).to(device),
        torch.from_numpy(position_ids).unsqueeze(0).to(device),
        make_layout(whole, spans, device),
        places,
    )


def lay_blocks(blocks: Tensor) -> FlatRow:
    """A row of blocks (B, T) of one length, on their device; its layout is kept from one batch to the next."""
    count, length = blocks.shape
    positions, layout, places = _even(count, length, blocks.device)
    ids = blocks.new_zeros(1, layout.length)
    ids[0, : count * length] = blocks.reshape(-1)
    return FlatRow(ids, positions, layout, places)


@lru_cache(maxsize=4)
def _even(count: int, length: int, device: torch.device) -> tuple[Tensor, Layout, list[np.ndarray]]:
    row = lay_flat([[0] * length] * count, device)
    return row.positions, row.layout, row.places


def common_prefix(group: Sequence[Sequence[int]]) -> int:
    """Tokens with which all sequences of a group begin, less than the shortest has; 0 if that is not worth while."""
    if len(group) < 2:
        return 0
    limit = min(len(sequence) for sequence in group) - 1
    first = group[0]
    same = next((at for at in range(limit) if any(one[at] != first[at] for one in group)), limit)
    return same if same >= LEAST_PREFIX else 0


def row_tokens(group: Sequence[Sequence[int]]) -> int:
    """Tokens that a group takes in a row."""
    return sum(len(sequence) for sequence in group) - (len(group) - 1) * common_prefix(group)


def hidden_states(model: PreTrainedModel, row: FlatRow) -> Tensor:
    """(L, D) states of a row's tokens, behind the last norm; those of filler mean nothing."""
    if not reads_flat_rows(model):
        return _padded_states(model, row)
    return _flat_states(model, row)


def _flat_states(model: PreTrainedModel, row: FlatRow) -> Tensor:
    with flat_row():
        output = model.base_model(input_ids=row.ids, position_ids=row.positions, layout=row.layout, use_cache=False)
    states: Tensor = output.last_hidden_state[0]
    return states


def _padded_states(model: PreTrainedModel, row: FlatRow) -> Tensor:
    """The same, each sequence in a line of its own, padded on the right; shared tokens are computed once a line."""
    wide = max(len(places) for places in row.places)
    index = np.stack([np.pad(places, (0, wide - len(places)), mode="edge") for places in row.places])  # (S, T)
    ids = row.ids[0][torch.from_numpy(index).to(row.ids.device)]
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)  # (S * T, D)
    source = np.zeros(row.ids.shape[1], dtype=np.int64)
    for line, places in reversed(list(enumerate(row.places))):
        source[places] = line * wide + np.arange(len(places))
    found: Tensor = states[torch.from_numpy(source).to(states.device)]
    return found


def reads_flat_rows(model: PreTrainedModel) -> bool:
    """Whether a model gives the same states on a flat row as on padded sequences: tried once, on a few tokens."""
    known: bool | None = getattr(model, "_reads_flat_rows", None)
    if known is None:
        known = switch_attention(model) and _agrees(model)
        model._reads_flat_rows = known
        if not known:
            log.warning(
                "%s does not compute the same on a flat row as on padded sequences; its batches are padded",
                type(model).__name__,
            )
    return known


@torch.no_grad()
def _agrees(model: PreTrainedModel) -> bool:
    """Three sequences, two with a common beginning, flat and padded; longer than a short window, if there is one."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) or 0
    room = int(getattr(config, "max_position_embeddings", None) or 64)
    length = max(LEAST_PREFIX + 4, min(window + 8 if window < 256 else 24, room))
    vocabulary = model.get_input_embeddings().weight.shape[0]
    numbers = np.random.default_rng(0).integers(0, vocabulary, 3 * length)
    first = numbers[:length].tolist()
    second = first[: length - 3] + numbers[length : length + 3].tolist()
    row = lay_shared([[first, second], [numbers[2 * length :].tolist()[: length - 2]]], model.device)
    real = torch.from_numpy(np.unique(np.concatenate(row.places)))
    with torch.autocast(model.device.type, enabled=False), exact_products():
        wanted = _padded_states(model, row)[real].float()
        try:
            found = _flat_states(model, row)[real].float()
        except (TypeError, ValueError, RuntimeError, KeyError, IndexError) as error:
            log.warning("%s refused a flat row: %s", type(model).__name__, error)
            return False
    allowed = TOLERANCE if model.dtype.itemsize >= 4 else COARSE
    return bool((wanted - found).abs().max() <= allowed * wanted.abs().max())
