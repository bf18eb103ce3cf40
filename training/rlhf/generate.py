"""Sampling answers from a policy: a batched decode loop over the model's own key-value cache.

Shapes: B prompts, P longest prompt, R most new tokens, V vocabulary. Prompts are padded on the left, so that every row
grows at the same column; position ids count real tokens, so a row sees the same positions as when it is trained on.

A row's answer is decided by the model, its prompt and its seed: each token takes one number from the row's own
generator, so neither the other rows nor the size of the batch has a say. What remains is rounding: a product over
another batch shape may differ in its last bits (about 1e-6 in a float32 probability), and a draw that falls that close
to the border between two tokens goes to the other one. The same batch gives the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from training.rlhf.data import micro_batches

COMPACT_BELOW = 0.75  # finished rows leave the batch when the live ones are fewer than this share of it


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How tokens are chosen.

    `top_p` below 1 and `top_k` above 0 cut the distribution. Rollouts of PPO are never cut: the ratio would be biased
    by the mass that is missing (huggingface/trl issue 6789).
    """

    max_new_tokens: int
    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    top_k: int = 0


class Responses(NamedTuple):
    """Answers, cut after their first EOS. On the CPU."""

    ids: Tensor
    """(B, R) long, padded on the right."""
    lengths: Tensor
    """(B,) tokens of each answer, its EOS included; at least 1."""
    ended: Tensor
    """(B,) bool, False where `max_new_tokens` cut the answer off before its EOS."""
    logprobs: Tensor
    """(B, R) float32, nats, at the sampling temperature and before top-p and top-k (at temperature 0: of the model
    itself); 0 behind the answer. For PPO's old log-probabilities take the training forward, not these."""

    def tokens(self, row: int) -> list[int]:
        """The ids of one answer without padding."""
        return self.ids[row, : int(self.lengths[row])].tolist()


def derive_seed(*parts: int | str) -> int:
    """A seed of 48 bits from what names a draw: (run's seed, purpose, prompt, index). Alike parts, alike seed."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    decoding: Decoding,
    *,
    eos_token_id: int,
    pad_token_id: int,
    batch_tokens: int = 16_384,
    heartbeat: Callable[[], None] | None = None,
) -> Responses:
    """One answer to each prompt, in order.

    Prompts of like length are decoded side by side, at most `batch_tokens` tokens (prompt and room for the answer) at a
    time. `heartbeat` is called before each token, so that a long decode can say that it lives; it may raise to stop.
    Raises ValueError for an empty prompt or a missing seed.
    """
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need as many seeds, got {len(seeds)}")
    if any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("a prompt has no token; give at least the start token")
    count, room = len(prompts), decoding.max_new_tokens
    # made outside of inference mode, so that training may use them later
    answers = Responses(
        ids=torch.full((count, room), pad_token_id, dtype=torch.long),
        lengths=torch.zeros(count, dtype=torch.long),
        ended=torch.zeros(count, dtype=torch.bool),
        logprobs=torch.zeros(count, room),
    )
    lengths = [len(prompt) + room for prompt in prompts]
    # a step costs nearly the same for few rows as for many, so a batch is as large as it may be
    for group in micro_batches(range(count), [1] * count, lengths, batch_tokens, worth_a_pass=batch_tokens):
        part = _decode(
            model,
            [prompts[index] for index in group],
            uniform_draws([seeds[index] for index in group], room),
            decoding,
            eos_token_id,
            pad_token_id,
            heartbeat or _nothing,
        )
        for whole, piece in zip(answers, part, strict=True):
            whole[group] = piece
    return answers


@torch.inference_mode()
def _decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    draws: Tensor,
    decoding: Decoding,
    eos_token_id: int,
    pad_token_id: int,
    heartbeat: Callable[[], None],
) -> Responses:
    """Decode one batch; draws (B, R) in [0, 1) choose the tokens. Tensors come back on the CPU."""
    device, room = model.device, decoding.max_new_tokens
    ids, mask = pad_left(prompts, pad_token_id)
    width = ids.shape[1]
    ids, draws = ids.to(device), draws.to(device)
    mask = torch.cat([mask, mask.new_ones(len(prompts), room)], dim=1).to(device)  # (B, P + R)
    positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
    tokens = torch.full((len(prompts), room), pad_token_id, dtype=torch.long, device=device)
    logprobs = torch.zeros(len(prompts), room, device=device)

    rows = torch.arange(len(prompts), device=device)  # which answer each row of the batch belongs to
    live = torch.ones(len(prompts), dtype=torch.bool, device=device)
    cache = DynamicCache(config=model.config)
    step_ids, step_positions = ids, positions[:, :width]
    for step in range(room):
        heartbeat()
        logits = model(
            input_ids=step_ids,
            attention_mask=mask[:, : width + step],
            position_ids=step_positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        chosen, chosen_logprobs = choose_tokens(logits, draws[:, step], decoding)
        tokens[rows, step] = torch.where(live, chosen, pad_token_id)
        logprobs[rows, step] = torch.where(live, chosen_logprobs, 0.0)
        live = live & (chosen != eos_token_id)
        alive = int(live.sum())
        if alive == 0:
            break
        if alive < COMPACT_BELOW * len(rows):
            kept = live.nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            rows, live, chosen = rows[kept], live[kept], chosen[kept]
            mask, positions, draws = mask[kept], positions[kept], draws[kept]
        step_ids, step_positions = chosen[:, None], positions[:, width + step : width + step + 1]

    ended, lengths = first_end(tokens, eos_token_id)
    return Responses(tokens.cpu(), lengths.cpu(), ended.cpu(), logprobs.cpu())


def choose_tokens(logits: Tensor, draws: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """Tokens (B,) by inversion of the cumulative distribution, and their log-probabilities (B,) in nats, float32.

    logits (B, V), draws (B,) float32 in [0, 1). The cumulative sum runs in float64: a draw has 24 bits, so it cannot
    reach the total, and a token of probability 0 is never chosen.
    """
    logits = logits.float()
    if decoding.temperature == 0:
        chosen = logits.argmax(dim=-1)
        return chosen, _take(torch.log_softmax(logits, dim=-1), chosen)
    logprobs = torch.log_softmax(logits / decoding.temperature, dim=-1)
    kept = keep_likeliest(logprobs.exp(), decoding.top_p, decoding.top_k)
    cumulative = kept.double().cumsum(dim=-1)
    targets = draws.double()[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, targets, right=True).squeeze(1)
    return chosen, _take(logprobs, chosen)


def keep_likeliest(probabilities: Tensor, top_p: float, top_k: int) -> Tensor:
    """Probabilities (B, V) with 0 outside the `top_k` likeliest tokens and outside the fewest that hold `top_p`.

    Not renormalised. Source of top-p: Holtzman et al. 2020 (arXiv:1904.09751), section 3.1.
    """
    if top_p >= 1 and top_k <= 0:
        return probabilities
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    kept = ordered.cumsum(dim=-1) - ordered < top_p  # a token counts while those before it hold less than top_p
    if top_k > 0:
        kept[:, top_k:] = False
    return torch.zeros_like(probabilities).scatter(-1, order, torch.where(kept, ordered, 0.0))


def uniform_draws(seeds: Sequence[int], count: int) -> Tensor:
    """(B, count) float32 in [0, 1): row b is the start of the sequence that seed b names, whatever `count` is."""
    draws = [np.random.default_rng(seed).random(count, dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(draws))


def pad_left(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids (B, P) padded on the left, and their mask (B, P) bool, True on real tokens."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([[pad_id] * (width - len(sequence)) + list(sequence) for sequence in sequences])
    starts = torch.tensor([width - len(sequence) for sequence in sequences])
    return ids, torch.arange(width)[None, :] >= starts[:, None]


def first_end(tokens: Tensor, eos_token_id: int) -> tuple[Tensor, Tensor]:
    """(ended, lengths), both (B,), of answers (B, R): up to and with the first EOS, or all R tokens without one."""
    is_end = tokens == eos_token_id
    ended = is_end.any(dim=1)
    return ended, torch.where(ended, is_end.int().argmax(dim=1) + 1, tokens.shape[1])


def _take(logprobs: Tensor, chosen: Tensor) -> Tensor:
    return logprobs.gather(-1, chosen[:, None]).squeeze(1)


def _nothing() -> None:
    """The heartbeat of a decode that nobody watches."""
