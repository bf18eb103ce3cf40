"""Decoding through the model's own key-value cache: slower than `Decoder`, and right for any causal language model.

Prompts are padded on the left, so that every row grows at the same column; position ids count real tokens, so a row
sees the same positions as when it is trained on. Rows are admitted all at once: none joins while others are decoded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class PlainDecoder:
    """What `Decoder` does, for as many prompts as there are slots. Shapes as there."""

    def __init__(self, model: PreTrainedModel, slots: int) -> None:
        self.model, self.device, self.slots = model, model.device, slots
        self.rows = 0

    def admit(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> Tensor:
        if self.rows or list(rows) != list(range(self.slots)):
            raise ValueError("a decoder with a growing cache takes all of its prompts at once")
        ids, self.mask = (tensor.to(self.device) for tensor in pad_left(prompts))
        self.rows, self.in_use = len(prompts), [True] * len(prompts)
        self.cache = DynamicCache(config=self.model.config)
        positions = (self.mask.long().cumsum(dim=1) - 1).clamp(min=0)
        self.lengths = self.mask.sum(dim=1, keepdim=True)
        return self._forward(ids, positions)

    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(self.rows, 1)], dim=1)
        logits = self._forward(tokens[:, None], self.lengths)
        self.lengths = self.lengths + 1
        return logits

    def retire(self, rows: Sequence[int]) -> None:
        for row in rows:
            self.in_use[row] = False

    def drop_unused(self) -> list[int]:
        kept = [row for row in range(self.rows) if self.in_use[row]]
        chosen = torch.tensor(kept, device=self.device)
        self.cache.batch_select_indices(chosen)
        self.mask, self.lengths = self.mask[chosen], self.lengths[chosen]
        self.rows, self.in_use = len(kept), [True] * len(kept)
        return kept

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        logits: Tensor = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1]


def pad_left(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids (B, P) padded on the left, and their mask (B, P) bool, True on real tokens. What pads is hidden: token 0."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([[0] * (width - len(sequence)) + list(sequence) for sequence in sequences])
    starts = torch.tensor([width - len(sequence) for sequence in sequences])
    return ids, torch.arange(width)[None, :] >= starts[:, None]
