"""Sampling answers from a policy, many side by side; as soon as some are finished, waiting prompts take their places.

Shapes: B prompts, S rows that are decoded side by side, R most new tokens, V vocabulary. The rows are those of a
`Decoder`; a model that it does not know is decoded by `decode_plainly`.

A row's answer is decided by the model, its prompt and its seed: each token takes one number from the row's own
generator, so neither the other rows nor the size of the batch has a say. What remains is rounding: a product over
another batch shape may differ in its last bits (about 1e-6 in a float32 probability), and a draw that falls that close
to the border between two tokens goes to the other one. The same batch gives the same bits.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.rlhf.data import padded_length
from training.rlhf.decode import NAME, Decoder, attention_by, way_to_decode
from training.rlhf.decode_plain import PlainDecoder

SLACK = 64  # columns of the cache beyond the longest row, so that growing rows are seldom moved
IDLE = 8  # finished rows are replaced, or leave, when they are one in so many


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
    draws = uniform_draws(seeds, room)
    way = way_to_decode(model)
    for band in bands(prompts, room):
        longest = len(prompts[band[0]]) + room
        slots = min(len(band), max(1, batch_tokens // padded_length(longest)))
        parts = [band] if way != "none" else [band[at : at + slots] for at in range(0, len(band), slots)]
        for part in parts:
            columns = longest + (SLACK if len(part) > slots else 0)
            decoder = PlainDecoder(model, len(part)) if way == "none" else Decoder(model, slots, columns, way=way)
            pages = _Pages([prompts[row] for row in part], draws[part], decoding, eos_token_id, pad_token_id, decoder)
            with attention_by(model.config.get_text_config(), None if way == "none" else NAME):
                written = pages.write(heartbeat or _nothing)
            for whole, piece in zip(answers, written, strict=True):
                whole[part] = piece
    return answers


def bands(prompts: Sequence[Sequence[int]], room: int) -> list[list[int]]:
    """Prompts longest first, cut where one would be less than half as long as the longest, the answer's room included.

    So rows that are decoded side by side never have more than twice the columns that they need.
    """
    parts: list[list[int]] = []
    for index in sorted(range(len(prompts)), key=lambda item: (-len(prompts[item]), item)):
        if parts and 2 * (len(prompts[index]) + room) >= len(prompts[parts[-1][0]]) + room:
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts


class _Pages:
    """The answers to some prompts as they are written, and which row of the decoder is writing which."""

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        draws: Tensor,
        decoding: Decoding,
        eos_token_id: int,
        pad_token_id: int,
        decoder: Decoder | PlainDecoder,
    ) -> None:
        count, device = len(prompts), decoder.device
        self.prompts, self.decoding, self.decoder, self.eos_token_id = prompts, decoding, decoder, eos_token_id
        # one page too many: rows that are not in use write there
        self.draws = torch.cat([draws, draws[:1]]).to(device)
        self.tokens = torch.full((count + 1, decoding.max_new_tokens), pad_token_id, device=device)
        self.logprobs = torch.zeros(count + 1, decoding.max_new_tokens, device=device)
        self.lengths = torch.zeros(count + 1, dtype=torch.long, device=device)
        self.ended = torch.zeros(count + 1, dtype=torch.bool, device=device)
        self.spare = count
        self.page = torch.full((decoder.slots,), count, device=device)  # which answer each row writes
        self.latest = torch.zeros(decoder.slots, dtype=torch.long, device=device)  # its last token

    @torch.inference_mode()
    def write(self, heartbeat: Callable[[], None]) -> Responses:
        """Decode until every prompt has its answer."""
        waiting = deque(range(len(self.prompts)))
        free = list(range(self.decoder.slots))
        while waiting or len(free) < len(self.page):
            heartbeat()
            enough = free and len(free) * IDLE >= len(self.page)
            if waiting and enough:
                rows = free[: len(waiting)]
                taken = [waiting.popleft() for _ in rows]
                logits = self.decoder.admit(rows, [self.prompts[index] for index in taken])
                where = torch.tensor(rows, device=self.page.device)
                self.page[where] = torch.tensor(taken, device=self.page.device)
                free = free[len(rows) :] + self._add(where, logits)
            elif enough:
                order = torch.tensor(self.decoder.drop_unused(), device=self.page.device)
                self.page, self.latest, free = self.page[order], self.latest[order], []
            else:
                free += self._add(None, self.decoder.step(self.latest))
        parts = (self.tokens, self.lengths, self.ended, self.logprobs)
        return Responses(*(part[: self.spare].cpu() for part in parts))

    def _add(self, rows: Tensor | None, logits: Tensor) -> list[int]:
        """Choose and write down the next token of these rows (None: all); returns those that are now finished."""
        page = self.page if rows is None else self.page[rows]
        at = self.lengths[page]
        chosen, logprobs = choose_tokens(logits, self.draws[page, at], self.decoding)
        self.tokens[page, at], self.logprobs[page, at] = chosen, logprobs
        ended = chosen == self.eos_token_id
        self.ended[page], self.lengths[page] = ended, at + 1
        self.lengths[self.spare] = 0
        if rows is None:
            self.latest = chosen
        else:
            self.latest[rows] = chosen
        finished = (ended | (at + 1 == self.tokens.shape[1])) & (page != self.spare)
        if not finished.any():
            return []
        over: list[int] = (finished.nonzero()[:, 0] if rows is None else rows[finished]).tolist()
        self.page[over] = self.spare
        self.decoder.retire(over)
        return over


def choose_tokens(logits: Tensor, draws: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """Tokens (B,) by inversion of the cumulative distribution, and their log-probabilities (B,) in nats, float32.

    logits (B, V), draws (B,) float32 in [0, 1). The cumulative sum runs in float64: a draw has 24 bits, so it cannot
    reach the total, and a token of probability 0 is never chosen.
    """
    logits = logits.float()
    if decoding.temperature == 0:
        chosen = logits.argmax(dim=-1)
        return chosen, _take(torch.log_softmax(logits, dim=-1), chosen)
    if decoding.temperature != 1:
        logits = logits / decoding.temperature
    highest = logits.amax(dim=-1, keepdim=True)
    masses = (logits - highest).exp_()  # probabilities times a number of each row's own
    cumulative = masses.cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    if decoding.top_p < 1 or decoding.top_k > 0:
        kept = keep_likeliest((masses / total).float(), decoding.top_p, decoding.top_k)
        cumulative = kept.cumsum(dim=-1, dtype=torch.float64)
    targets = draws.double()[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, targets, right=True).squeeze(1)
    return chosen, _take(logits, chosen) - highest.squeeze(1) - total.squeeze(1).log().float()


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


def _take(logprobs: Tensor, chosen: Tensor) -> Tensor:
    return logprobs.gather(-1, chosen[:, None]).squeeze(1)


def _nothing() -> None:
    """The heartbeat of a decode that nobody watches."""
