"""Attention over a flat row: sequences laid end to end, none of which sees another.

L tokens in the row, H heads, H' of them with keys and values of their own (grouped heads), d the width of one. A
`Layout` says which tokens attend to which; it is made once for a row and used in every layer. Sequences of like length
form a bucket, and a bucket's attention is a few batched products and a softmax in float32. On a CPU these beat
`scaled_dot_product_attention` at the lengths of a conversation, and are taken in tiles of queries, so that what lies
in the future is mostly not computed and memory does not grow with the square of the length. On a GPU each bucket is one
call of `scaled_dot_product_attention`.

The functions are registered with transformers under `flat_sdpa` and `flat_eager`; without a layout they are `sdpa` and
`eager`. So a model that was switched to them still does all it did, and no model code is copied.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

TILE = 128  # queries at a time on a CPU
KEEP_PROBABILITIES = 32 * 2**20  # bytes a layer that wait for the backward pass; more are computed again
ALIKE = 0.8  # the shortest sequence of a bucket has this share of the longest one's tokens, or more
SMALL = 2**14  # queries x keys of a sequence: up to here another bucket costs more than what is added to fill one
SMALL_ALIKE = 0.4
BUCKET_SCORES = 2**20  # queries x keys of a bucket at most, unless it is one sequence; its masks are then not kept
FAR = 2**30  # the position of a token that is not there: in everybody's future


@dataclass(frozen=True)
class Span:
    """Tokens `start` to `start + length` of the row; they see `prefix` tokens from `prefix_start` before themselves."""

    start: int
    length: int
    prefix_start: int = 0
    prefix: int = 0


@dataclass(frozen=True)
class Places:
    """Where the tokens of n spans are in a row of L tokens, each span's T of them, some of which may not be there."""

    index: Tensor
    """(n * T,), in the row; L, one beyond it, for a token that is not there."""

    gaps: Tensor
    """Which of `index` are not there."""

    block: slice | None
    """The same as one stretch of the row, where it is one: then nothing need be gathered."""

    def take(self, row: Tensor, n: int) -> Tensor:
        """(n, T, ...) of a row (L, ...); what is not there is some other token's, which a mask hides."""
        found = row[self.block] if self.block else row.index_select(0, self.index.clamp_max(len(row) - 1))
        return found.unflatten(0, (n, -1))

    def put(self, row: Tensor, values: Tensor) -> None:
        """Write values (n, T, ...) into (L + 1, ...), whose last is for what belongs nowhere."""
        if self.block:
            row[self.block].unflatten(0, values.shape[:2]).copy_(values)
        else:
            row.index_copy_(0, self.index, values.flatten(0, 1).to(row.dtype))

    def add(self, row: Tensor, values: Tensor) -> None:
        row.index_add_(0, self.index, values.flatten(0, 1).to(row.dtype))


@dataclass(frozen=True)
class Bucket:
    """Spans of like length: n of them, of at most Q queries and K keys, prefix first. Tensors are on the device."""

    shape: tuple[int, int, int]
    """n, Q, K"""

    queries: Places
    keys: Places

    query_positions: Tensor
    """(n, Q), counted as keys are; FAR where there is none."""

    key_positions: Tensor
    """(n, K)"""

    prefix: int
    """Tokens of the longest prefix."""

    _masks: dict[Any, tuple[int, Tensor]] = field(default_factory=dict)

    def hidden(self, rows: slice, columns: slice, window: int | None) -> Tensor:
        """(n or 1, 1, 1, q, k) bool, True where a query of this tile must not see a key."""
        distance = self.query_positions[:, rows, None] - self.key_positions[:, None, columns]
        mask = distance < 0
        if window is not None:
            mask |= distance >= window
        if len(mask) > 1 and bool((mask == mask[:1]).all()):
            mask = mask[:1]  # all spans alike: one mask for the bucket
        return mask[:, None, None]

    def hide(self, scores: Tensor, rows: slice, columns: slice, window: int | None) -> None:
        """Make the scores (n * H', G, q, k) of a tile -inf where a query must not see a key."""
        key = (rows.start, rows.stop, columns.start, columns.stop, window, scores.dtype)
        if key not in self._masks:
            hidden = self.hidden(rows, columns, window)
            seen_by_all = ~hidden.flatten(0, -2).any(dim=0)  # (k,)
            first = int(seen_by_all.long().cumprod(0).sum())  # most keys lie before a tile's diagonal
            mask = torch.zeros_like(hidden[..., first:], dtype=scores.dtype)
            found = (first, mask.masked_fill_(hidden[..., first:], float("-inf")))
            if math.prod(self.shape) <= BUCKET_SCORES:
                self._masks[key] = found
        else:
            found = self._masks[key]
        first, mask = found
        # adding is many times faster than filling by a mask
        scores.view(self.shape[0], -1, *scores.shape[1:])[..., first:] += mask

    def tiles(self, size: int, window: int | None) -> Iterator[tuple[slice, slice]]:
        """(queries, keys) of the tiles that cover what may be seen."""
        _, queries, keys = self.shape
        shortest_prefix = int(self.query_positions[:, 0].min()) if window is not None else 0
        for start in range(0, queries, size):
            end = min(start + size, queries)
            first = 0 if window is None else max(0, shortest_prefix + start - window + 1)
            yield slice(start, end), slice(first, min(keys, self.prefix + end))


@dataclass(frozen=True)
class Layout:
    """Who attends to whom in a row of L tokens."""

    length: int
    buckets: list[Bucket]

    filler: bool
    """Whether some tokens are in no span."""

    shared: bool
    """Whether some tokens are keys of several spans, so that their gradients add up."""

    @property
    def scores(self) -> int:
        """Products of a query and a key, for one head."""
        return sum(n * queries * keys for n, queries, keys in (bucket.shape for bucket in self.buckets))


def make_layout(length: int, spans: Sequence[Span], device: torch.device) -> Layout:
    """The layout of a row of `length` tokens; those in no span are filler and come out as 0."""
    order = sorted(range(len(spans)), key=lambda at: (-spans[at].length, -spans[at].prefix, at))
    groups: list[list[Span]] = []
    for span in (spans[at] for at in order):
        if groups and _fits(groups[-1], span):
            groups[-1].append(span)
        else:
            groups.append([span])
    buckets = [_bucket(group, length, device) for group in groups]
    filler = sum(span.length for span in spans) < length
    return Layout(length, buckets, filler, any(span.prefix for span in spans))


def _fits(group: Sequence[Span], span: Span) -> bool:
    longest = group[0]
    keys = max(longest.length, span.length) + max(max(one.prefix for one in group), span.prefix)
    least = span.length + min(min(one.prefix for one in group), span.prefix)
    share = SMALL_ALIKE if longest.length * keys <= SMALL else ALIKE
    alike = span.length >= share * longest.length and least >= share * keys
    return alike and (len(group) + 1) * longest.length * keys <= BUCKET_SCORES


def _bucket(spans: Sequence[Span], nowhere: int, device: torch.device) -> Bucket:
    count = len(spans)
    wide = max(span.length for span in spans)
    prefix = max(span.prefix for span in spans)
    own = np.arange(wide)[None, :]  # (1, Q)
    starts, lengths, prefix_starts, prefixes = (
        np.array([getattr(span, name) for span in spans])[:, None]
        for name in ("start", "length", "prefix_start", "prefix")
    )
    there = own < lengths
    queries = np.where(there, starts + own, nowhere)  # (n, Q)
    query_positions = np.where(there, prefixes + own, FAR)
    before = np.arange(prefix)[None, :]  # (1, P)
    in_prefix = before < prefixes
    keys = np.concatenate([np.where(in_prefix, prefix_starts + before, nowhere), queries], axis=1)  # (n, P + Q)
    key_positions = np.concatenate([np.where(in_prefix, before, FAR), query_positions], axis=1)
    return Bucket(
        (count, wide, prefix + wide),
        _places(queries.reshape(-1), nowhere, device),
        _places(keys.reshape(-1), nowhere, device),
        torch.from_numpy(query_positions).to(device),
        torch.from_numpy(key_positions).to(device),
        prefix,
    )


def _places(index: np.ndarray, nowhere: int, device: torch.device) -> Places:
    start = int(index[0])
    is_block = start + len(index) <= nowhere and bool((np.diff(index) == 1).all())
    gaps = torch.from_numpy(np.flatnonzero(index == nowhere)).to(device)
    block = slice(start, start + len(index)) if is_block else None
    return Places(torch.from_numpy(np.ascontiguousarray(index)).to(device), gaps, block)


# On a CPU: batched products


@dataclass(frozen=True)
class Kind:
    """What a layer's attention is."""

    scaling: float
    window: int | None
    softcap: float | None


class FlatAttention(torch.autograd.Function):
    """queries (L, H, d), keys and values (L, H', d) -> (L, H, d); every bucket by itself, in tiles of queries."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, kind: Kind, dtype: torch.dtype
    ) -> Tensor:
        out = _row_like(query, layout, zero=layout.filler, dtype=dtype)
        size = layout.scores * query.shape[1] * dtype.itemsize
        keep = kind.softcap is None and any(ctx.needs_input_grad) and size <= KEEP_PROBABILITIES
        kept: list[Tensor] = []
        heads: list[Tensor] = []
        groups = query.shape[1] // key.shape[1]
        with torch.autocast(query.device.type, enabled=False):
            for bucket in layout.buckets:
                n = bucket.shape[0]
                q = _heads(query, bucket.queries, n, groups, dtype)  # (n * H', G, Q, d)
                k, v = (_heads(part, bucket.keys, n, 1, dtype).squeeze(1) for part in (key, value))  # (n * H', K, d)
                found = torch.empty_like(q)
                for rows, columns in bucket.tiles(TILE, kind.window):
                    weights, _ = _weights(q, k, bucket, rows, columns, kind)
                    found[:, :, rows] = _product(weights, v[:, columns])
                    if keep:
                        kept.append(weights)
                bucket.queries.put(out, _rows(found, n))
                heads += [q, k, v]
        ctx.save_for_backward(*heads)
        ctx.layout, ctx.kind, ctx.dtypes, ctx.kept = layout, kind, (query.dtype, key.dtype, value.dtype), kept
        return out[: layout.length]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layout, kind, kept = ctx.layout, ctx.kind, iter(ctx.kept)
        heads = iter(ctx.saved_tensors)
        rows_of: list[Tensor] = []
        with torch.autocast(grad.device.type, enabled=False):
            for bucket in layout.buckets:
                n = bucket.shape[0]
                q, k, v = (next(heads) for _ in range(3))
                if not rows_of:
                    like = (grad, *(grad[:, : len(k) // n] for _ in range(2)))
                    zero = (layout.filler, *([layout.filler or layout.shared] * 2))
                    rows_of = [
                        _row_like(one, layout, zero=fill, dtype=dtype)
                        for one, fill, dtype in zip(like, zero, ctx.dtypes, strict=True)
                    ]
                d_out = _heads(grad, bucket.queries, n, q.shape[1], q.dtype, zero_gaps=True)
                d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
                for rows, columns in bucket.tiles(TILE, kind.window):
                    weights, slope = (next(kept), None) if ctx.kept else _weights(q, k, bucket, rows, columns, kind)
                    d_rows = d_out[:, :, rows]
                    _add_turned(d_v[:, columns], weights, d_rows)
                    d_weights = _product(d_rows, v[:, columns].transpose(1, 2))
                    d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
                    if slope is not None:
                        d_scores *= slope
                    d_q[:, :, rows] = _product(d_scores, k[:, columns], kind.scaling)
                    _add_turned(d_k[:, columns], d_scores, q[:, :, rows], kind.scaling)
                bucket.queries.put(rows_of[0], _rows(d_q, n))
                for row, part in zip(rows_of[1:], (d_k, d_v), strict=True):
                    write = bucket.keys.add if layout.shared else bucket.keys.put
                    write(row, _rows(part[:, None], n))
        return (*(row[:-1] for row in rows_of), None, None, None)


def _row_like(part: Tensor, layout: Layout, *, zero: bool, dtype: torch.dtype) -> Tensor:
    """(L + 1, H, d) to write into; zeroed where not all of it will be written, or where it is added to."""
    make = part.new_zeros if zero else part.new_empty
    return make((layout.length + 1, *part.shape[1:]), dtype=dtype)


def _heads(row: Tensor, places: Places, n: int, groups: int, dtype: torch.dtype, *, zero_gaps: bool = False) -> Tensor:
    """(L, H, d) -> (n * H / G, G, T, d) of the tokens of a bucket; contiguous."""
    found = places.take(row, n)  # (n, T, H, d)
    if zero_gaps and len(places.gaps):
        found.flatten(0, 1).index_fill_(0, places.gaps, 0.0)
    fresh = torch.empty((n, found.shape[2], found.shape[1], found.shape[3]), dtype=dtype, device=row.device)
    fresh.copy_(found.transpose(1, 2))
    return fresh.view(n * fresh.shape[1] // groups, groups, *fresh.shape[2:])


def _rows(heads: Tensor, n: int) -> Tensor:
    """(n * H', G, T, d) -> (n, T, H' * G, d), not contiguous."""
    return heads.view(n, -1, *heads.shape[2:]).transpose(1, 2)


def _weights(
    q: Tensor, k: Tensor, bucket: Bucket, rows: slice, columns: slice, kind: Kind
) -> tuple[Tensor, Tensor | None]:
    """Attention weights (n * H', G, q, k) of a tile, and the derivative of the cap on the scores, if there is one."""
    scores = _product(q[:, :, rows], k[:, columns].transpose(1, 2), kind.scaling)
    slope = None
    precise = torch.promote_types(scores.dtype, torch.float32)
    if kind.softcap is not None:
        capped = torch.tanh(scores.to(precise) / kind.softcap)
        slope = (1 - capped * capped).to(scores.dtype)
        scores = capped * kind.softcap
    bucket.hide(scores, rows, columns, kind.window)
    return torch.softmax(scores, dim=-1, dtype=precise).to(q.dtype), slope


def _product(left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
    """scale * (b, G, q, x) @ (b, x, y) -> (b, G, q, y): the queries of a group share their keys."""
    b, groups, rows, inner = left.shape
    flat = left.reshape(b, groups * rows, inner)
    found = torch.bmm(flat, right) if scale == 1.0 else _scaled_product(flat, right, scale)
    return found.view(b, groups, rows, -1)


def _scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """The factor costs nothing within the product."""
    return torch.baddbmm(left.new_empty(()), left, right, beta=0.0, alpha=scale)


def _add_turned(to: Tensor, left: Tensor, right: Tensor, scale: float = 1.0) -> None:
    """to (b, k, d) += scale * (b, G, q, k)^T @ (b, G, q, d), summed over the group and its queries; in place."""
    b, groups, rows, keys = left.shape
    flat = left.reshape(b, groups * rows, keys).transpose(1, 2)
    to.baddbmm_(flat, right.reshape(b, groups * rows, -1), alpha=scale)


# On a GPU, and as the obvious version in tests: one call a bucket


def bucketed_attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, kind: Kind) -> Tensor:
    """As `FlatAttention`, by autograd: (L, H, d) of queries (L, H, d), keys and values (L, H', d)."""
    out = query.new_zeros((layout.length + 1, *query.shape[1:]), dtype=value.dtype)
    for bucket in layout.buckets:
        n, queries, keys = bucket.shape
        q = bucket.queries.take(query, n).transpose(1, 2)  # (n, H, Q, d)
        k, v = (bucket.keys.take(part, n).transpose(1, 2) for part in (key, value))
        hidden = bucket.hidden(slice(0, queries), slice(0, keys), kind.window).squeeze(1)  # (n or 1, 1, Q, K)
        if kind.softcap is None:
            found = F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden, scale=kind.scaling, enable_gqa=True)
        else:
            groups = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
            scores = kind.softcap * torch.tanh(q @ k.transpose(2, 3) * kind.scaling / kind.softcap)
            scores = scores.masked_fill(hidden, float("-inf"))
            precise = torch.promote_types(scores.dtype, torch.float32)
            found = torch.softmax(scores, dim=-1, dtype=precise).to(v.dtype) @ v
        out = out.index_copy(0, bucket.queries.index, found.transpose(1, 2).reshape(n * queries, *query.shape[1:]))
    return out[: layout.length]


# In transformers

_ROW_IS_FLAT: ContextVar[bool] = ContextVar("row_is_flat", default=False)


@contextmanager
def flat_row() -> Iterator[None]:
    """In it no mask is made by a model that was switched: a layout says who sees whom."""
    token = _ROW_IS_FLAT.set(True)
    try:
        yield
    finally:
        _ROW_IS_FLAT.reset(token)


def switch_attention(model: PreTrainedModel) -> bool:
    """Let a model attend by layout wherever one is given. False where its attention cannot be switched."""
    config = model.config.get_text_config()
    name = config._attn_implementation
    if name in _SWITCHED.values():
        return True
    if name not in _SWITCHED:
        return False
    for part in {id(one): one for one in (model.config, config, model.base_model.config)}.values():
        part._attn_implementation = _SWITCHED[name]
    return True


_SWITCHED = {"sdpa": "flat_sdpa", "eager": "flat_eager"}


def _attention(base: str) -> Any:
    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        layout: Layout | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """query (B, H, T, d), key and value (B, H', T, d) -> (B, T, H, d); B is 1 where there is a layout."""
        if layout is None:
            own: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
            plain: Any = ALL_ATTENTION_FUNCTIONS.get_interface(base, own)
            result: tuple[Tensor, Tensor | None] = plain(
                module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
            )
            return result
        if dropout:
            raise ValueError("attention over a flat row has no dropout")
        kind = Kind(
            query.shape[-1] ** -0.5 if scaling is None else float(scaling),
            kwargs.get("sliding_window"),
            kwargs.get("softcap"),
        )
        q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))  # (L, heads, d)
        device = q.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else v.dtype
        if device == "cpu":
            out = FlatAttention.apply(q, k, v, layout, kind, dtype)
        else:
            out = bucketed_attention(q.to(dtype), k.to(dtype), v.to(dtype), layout, kind)
        return out[None], None

    return attend


def _mask(base: str) -> Any:
    def make(*args: Any, **kwargs: Any) -> Any:
        return None if _ROW_IS_FLAT.get() else ALL_MASK_ATTENTION_FUNCTIONS[base](*args, **kwargs)

    return make


for _base, _name in _SWITCHED.items():
    AttentionInterface.register(_name, _attention(_base))
    AttentionMaskInterface.register(_name, _mask(_base))
