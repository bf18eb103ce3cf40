"""Decoding a batch of rows one token at a time, over keys and values that are written in place.

Shapes: S rows, N tokens laid end to end, P longest prompt, H heads of queries in G groups for each of K heads of keys
and values, D size of a head, C columns of the cache, V vocabulary.

Every row ends at the same column, whenever it began: a row that is L tokens long holds the last L columns. So a step
writes one column, whatever the rows' lengths, no column is padding, and a row that is finished makes room for a new
prompt at once. What lies left of a row's start is hidden from it, and so is what is not written yet. Position ids count
a row's own tokens.

The model's own modules do the work, and keys and values are kept by the attention function, which transformers calls by
name (`AttentionInterface`) in place of its own; where a step can be taken in a `Straight` line, it is. A model whose
attention is not called that way, or does something that this one does not know, is not decoded here: it is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from training.rlhf.straight import straighten

NAME = "plackett_decode"
Way = Literal["straight", "modules", "none"]
SCORES = 2**22  # attention scores of a prompt that are held at a time
BLOCK = 32  # columns by which the cache grows

_tried: WeakKeyDictionary[nn.Module, Way] = WeakKeyDictionary()


class Decoder:
    """Up to `slots` rows of at most `columns` tokens that grow side by side.

    When the last column is written, rows move to the left; so where prompts are admitted beside rows that have grown,
    a few more columns than the longest row has tokens save work. The cache is attended to whole, and grows by blocks:
    what a product reads lies in one piece, since oneDNN copies a part of a bfloat16 tensor first, and its shape stays
    for some steps, since each new one is a new kernel. Use it under `torch.inference_mode`, and inside of
    `attention_by(config, NAME)`.
    """

    def __init__(self, model: PreTrainedModel, slots: int, columns: int, *, way: Way) -> None:
        self.model, self.device, self.columns = model, model.device, columns
        self.straight = straighten(model, self.columns) if way == "straight" else None
        layers = model.config.get_text_config().num_hidden_layers
        self.kinds = [(0.0, 0.0, 0)] * layers  # scaling, softcap and window of each layer, as its prompts had it
        self.room = 0  # columns of the cache so far
        self.keys: list[Tensor | None] = [None] * layers  # each (slots, K, room, D), made by the first prompt
        self.values: list[Tensor | None] = [None] * layers
        self.slots = self.rows = slots
        self.end = 0  # the column that is written next
        self.starts = [0] * slots  # the column of each row's first token; a row that is not in use starts at its end
        self.in_use = [False] * slots
        self._prompts: _Prompts | None = None
        self._bounds()

    def admit(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> Tensor:
        """Let `rows` begin anew with `prompts`; returns the logits (n, V) of each one's next token.

        Prompts that are the same are forwarded once.
        """
        longest = max(map(len, prompts))
        if self.end < longest or not any(self.in_use):
            self._move_to(longest)
        for row, prompt in zip(rows, prompts, strict=True):
            self.starts[row], self.in_use[row] = self.end - len(prompt), True
        self._bounds()
        distinct = {tuple(prompt): place for place, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
        copies = [distinct[tuple(prompt)] for prompt in prompts]
        self._prompts = _Prompts(rows, copies, list(distinct), self.device)
        ids = torch.tensor([[token for prompt in distinct for token in prompt]], device=self.device)
        positions = torch.tensor([[place for prompt in distinct for place in range(len(prompt))]], device=self.device)
        logits = self._forward(ids, positions, self._prompts.last)
        self._prompts = None
        return logits[0][copies]

    def step(self, tokens: Tensor) -> Tensor:
        """Add one token to each row, (S,); returns the logits (S, V) of the next."""
        if self.end == self.room:
            self._make_room()
        self.hidden[:, self.end] = 0.0
        positions = self.end - self._starts
        if self.straight is not None:
            logits = self.straight.step(tokens, positions[:, 0], self._attend_as_before)
        else:
            logits = self._forward(tokens[:, None], positions, 1)[:, 0]
        self.end += 1
        return logits

    def retire(self, rows: Sequence[int]) -> None:
        """Rows that are finished; they go on beside the others, without a past, until they are admitted or dropped."""
        for row in rows:
            self.starts[row], self.in_use[row] = self.end, False
        self._bounds()

    def drop_unused(self) -> list[int]:
        """Drop the rows that are not in use; returns the old number of each row that is left."""
        kept = [row for row in range(self.rows) if self.in_use[row]]
        holes = [row for row in range(len(kept)) if not self.in_use[row]]
        moved = kept[len(kept) - len(holes) :]
        order = list(range(len(kept)))
        for hole, row in zip(holes, moved, strict=True):
            order[hole] = row
        if holes:
            for cache in (*self.keys, *self.values):
                assert cache is not None
                cache[holes, :, self.first : self.end] = cache[moved, :, self.first : self.end]
        self.starts = [self.starts[row] for row in order]
        self.in_use = [True] * len(order)
        self.rows = len(order)
        self._bounds()
        return order

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, softcap: float, window: int
    ) -> Tensor:
        """Attention of what is being forwarded, after its keys and values are written; (B, T, H, D)."""
        keys, values = self._cache(layer, key, value)
        if self._prompts is not None:
            self.kinds[layer] = scaling, softcap, window
            self._prompts.write(key, keys, self.end)
            self._prompts.write(value, values, self.end)
            return self._prompts.attend(query, key, value, scaling, softcap, window)
        keys[:, :, self.end] = key[:, :, 0]
        values[:, :, self.end] = value[:, :, 0]
        first = max(0, self.end + 1 - window) if window else 0
        rows, heads, _, size = keys.shape
        scores = torch.bmm(
            query.reshape(rows * heads, -1, size).to(keys.dtype),
            keys[:, :, first:].reshape(rows * heads, -1, size).transpose(1, 2),
        )  # (S x K, G, L)
        scores = _scaled(scores, scaling, softcap)
        scores = scores.view(rows, -1, scores.shape[-1]) + self.hidden[:, None, first:]
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(values.dtype)
        weights = weights.view(rows * heads, -1, weights.shape[-1])
        mixed = torch.bmm(weights, values[:, :, first:].reshape(rows * heads, -1, size))
        return mixed.view(rows, 1, -1, size)

    def _attend_as_before(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.attend(layer, query, key, value, *self.kinds[layer])

    def _forward(self, ids: Tensor, positions: Tensor, keep: int | Tensor) -> Tensor:
        output: Tensor = self.model(
            input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=keep, decoder=self
        ).logits
        return output

    def _cache(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.keys[layer], self.values[layer]
        if keys is None or values is None:
            # zeros: a column of weight 0 still takes part in a product
            device = key.device.type
            dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else value.dtype
            keys, values = (
                part.new_zeros(self.slots, part.shape[1], self.room, part.shape[3], dtype=dtype)
                for part in (key, value)
            )
            self.keys[layer], self.values[layer] = keys, values
        return keys[: self.rows], values[: self.rows]

    def _bounds(self) -> None:
        """What follows from the starts: where the first row begins, and which columns are hidden from whom."""
        used = [start for start, used in zip(self.starts, self.in_use, strict=True) if used]
        self.first = min(used, default=self.end)  # nothing left of it is seen by a row in use
        self._starts = torch.tensor(self.starts, device=self.device)[:, None]  # (S, 1)
        columns = torch.arange(self.room, device=self.device)
        self.hidden = torch.zeros(self.rows, self.room, device=self.device)
        self.hidden.masked_fill_((columns < self._starts) | (columns >= self.end), -torch.inf)

    def _make_room(self) -> None:
        """For one more column: by moving to the left where a block is free there, else by growing."""
        if self.first >= BLOCK or self.room == self.columns:
            self._move_to(self.end - self.first)
        else:
            self._grow_to(self.end + 1)
            self._bounds()

    def _grow_to(self, columns: int) -> None:
        """Have at least so many columns."""
        old, self.room = self.room, max(self.room, min(self.columns, BLOCK * -(-columns // BLOCK)))
        if self.room == old:
            return
        for caches in (self.keys, self.values):
            for layer, cache in enumerate(caches):
                if cache is not None:
                    caches[layer] = nn.functional.pad(cache, (0, 0, 0, self.room - old))

    def _move_to(self, end: int) -> None:
        """Move what is in use to the left or to the right, so that it ends before column `end`."""
        self._grow_to(end)
        width = self.end - self.first
        for cache in (*self.keys, *self.values):
            if cache is not None and width:
                cache[: self.rows, :, end - width : end] = cache[: self.rows, :, self.first : self.end].clone()
        self.starts = [
            start + end - self.end if used else end for start, used in zip(self.starts, self.in_use, strict=True)
        ]
        self.end = end
        self._bounds()


class _Prompts:
    """Prompts that are forwarded laid end to end, each seeing itself alone."""

    def __init__(
        self, rows: Sequence[int], copies: Sequence[int], prompts: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        self.width = int(lengths.max())
        ends = lengths.cumsum(0)
        columns = torch.arange(self.width)
        self.rows = torch.tensor(rows, device=device)
        self.last = (ends - 1).to(device)
        self.real = (columns < lengths[:, None]).to(device)
        """(n, P) bool, True on tokens, with each prompt at the left."""
        self.left = ((ends - lengths)[:, None] + columns).clamp(max=int(ends[-1]) - 1).to(device)
        """(n, P), which of the N tokens is where, with each prompt at the left."""
        self.right = ((ends - self.width)[:, None] + columns).clamp(min=0)[copies].to(device)
        """(rows, P), the same with each prompt at the right."""

    def write(self, flat: Tensor, cache: Tensor, end: int) -> None:
        """Write keys or values (1, K, N, D) of the prompts into the columns before `end` of their rows."""
        cache[self.rows, :, end - self.width : end] = flat[0][:, self.right].transpose(0, 1).to(cache.dtype)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, softcap: float, window: int) -> Tensor:
        """(1, N, H, D); causal attention of each prompt, in blocks of queries so that few scores are held."""
        count, heads, size = len(self.left), key.shape[1], key.shape[3]
        groups = query.shape[1] // heads
        queries = query[0][:, self.left].view(heads, groups, count, self.width, size).permute(2, 0, 1, 3, 4)
        keys, values = (flat[0][:, self.left].transpose(0, 1) for flat in (key, value))  # (n, K, P, D)
        mixed = torch.empty_like(queries)
        columns = torch.arange(self.width, device=query.device)
        block = max(1, SCORES // (count * query.shape[1] * self.width))
        for start in range(0, self.width, block):
            stop = min(start + block, self.width)
            first = max(0, start + 1 - window) if window else 0
            seen = columns[start:stop, None] - columns[None, first:stop]  # how far back
            hidden = (seen < 0) | (seen >= window) if window else seen < 0
            block_queries = queries[:, :, :, start:stop].reshape(count, heads, -1, size)
            scores = _scaled(block_queries @ keys[:, :, first:stop].transpose(2, 3), scaling, softcap)
            scores = scores.view(count, heads, groups, stop - start, -1).masked_fill(hidden, -torch.inf)
            weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(values.dtype).flatten(2, 3)
            mixed[:, :, :, start:stop] = (weights @ values[:, :, first:stop]).view(count, heads, groups, -1, size)
        laid = mixed.permute(0, 3, 1, 2, 4)[self.real]  # (N, K, G, D)
        return laid.reshape(1, len(laid), -1, size)


def _scaled(scores: Tensor, scaling: float, softcap: float) -> Tensor:
    return torch.tanh(scores * (scaling / softcap)) * softcap if softcap else scores * scaling


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    decoder: Decoder,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers calls for each layer; query (B, H, T, D), key and value (B, K, T, D) -> (B, T, H, D)."""
    unknown = [name for name in ("position_bias", "s_aux", "sinks") if others.get(name) is not None]
    if unknown or attention_mask is not None:
        # what `_agrees` waits for: such a model is decoded the plain way
        raise NotImplementedError(f"attention with {' and '.join(unknown) or 'a mask'}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    return decoder.attend(layer, query, key, value, scale, softcap or 0.0, sliding_window or 0), None


AttentionInterface.register(NAME, _attention)  # without a mask function of its name, transformers makes no mask


@contextmanager
def attention_by(config: Any, name: str | None) -> Iterator[None]:
    """Inside, the model of this config uses the attention function that is registered under `name`; None: its own."""
    before = config._attn_implementation
    config._attn_implementation = name or before
    try:
        yield
    finally:
        config._attn_implementation = before


def way_to_decode(model: PreTrainedModel) -> Way:
    """How a `Decoder` gives the logits that the model's own forward gives, if it does; tried once for a model."""
    if model not in _tried:
        ways: tuple[Way, ...] = ("straight", "modules") if _known(model.config.get_text_config()) else ()
        _tried[model] = next((way for way in ways if _agrees(model, way)), "none")
    return _tried[model]


def _known(config: Any) -> bool:
    kinds = set(getattr(config, "layer_types", None) or ())
    return kinds <= {"full_attention", "sliding_attention"} and not getattr(config, "attention_chunk_size", None)


@torch.inference_mode()
def _agrees(model: PreTrainedModel, way: Way) -> bool:
    """Two prompts and a step, against whole forwards."""
    tokens = (torch.arange(6, device=model.device) * 7 + 3) % model.get_input_embeddings().weight.shape[0]
    prompts, added = [tokens[:3].tolist(), tokens[3:4].tolist()], tokens[4:]
    decoder = Decoder(model, 2, 4, way=way)
    if way == "straight" and decoder.straight is None:
        return False
    try:
        with attention_by(model.config.get_text_config(), NAME):
            found = torch.cat([decoder.admit([0, 1], prompts), decoder.step(added)])
    except (NotImplementedError, TypeError, AttributeError):
        return False
    if any(cache is None for cache in decoder.keys):
        return False
    whole = [*prompts, *([*prompt, int(token)] for prompt, token in zip(prompts, added, strict=True))]
    wanted = torch.cat([model(input_ids=tokens.new_tensor([ids]), use_cache=False).logits[:, -1] for ids in whole])
    coarse = 0.1 if found.dtype == torch.bfloat16 else 1e-2
    return bool((found - wanted).abs().max() <= coarse * wanted.abs().max())
