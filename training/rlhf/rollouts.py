"""Rollouts: prompts in an order of their own, an answer sampled to each, and what four models think of the answers.

Shapes: B rollouts, T tokens of prompt and answer padded on the right, R tokens of the answer, b rollouts of a pass, N
their response tokens laid end to end. A pass is a flat row of rollouts that fits the token budget, without padding; the
head of the policy runs on response positions alone, and its logits are not kept. The value before token t, like the
log-probability of token t, is read at the token before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.rlhf.adapters import prepare_training
from training.rlhf.config import FineTuningConfig, Numerics, TrainingConfig
from training.rlhf.data import (
    Row,
    encode_rows,
    fill_rows,
    length_mask,
    pad_right,
    padded_length,
    read_rows,
    required,
)
from training.rlhf.errors import RowError
from training.rlhf.flat import FlatRow, hidden_states, lay_flat
from training.rlhf.generate import Decoding, Responses, generate
from training.rlhf.linear import head_of, linear_logprobs_and_entropy
from training.rlhf.model import RewardModel, fit_to_tokenizer, load_policy, load_reward_model, selected_logits
from training.rlhf.numerics import autocast, device_of
from training.rlhf.ppo_losses import token_entropy, token_logprobs
from training.rlhf.tokens import Message, check_same_tokens, encode_prompt, load_tokenizer
from training.rlhf.trunks import load_roles
from training.rlhf.workspace import Workspace


@dataclass(frozen=True)
class Models:
    """Who takes part in PPO. All speak the same tokens; dropout is off in each."""

    tokenizer: PreTrainedTokenizerBase
    policy: PreTrainedModel
    """Trained; started from the SFT model or an earlier policy."""

    reference: PreTrainedModel
    """Frozen; what the policy is kept close to."""

    reward_model: RewardModel
    """Frozen; scores a whole answer, its shift taken off."""

    value: RewardModel
    """Trained; started from the reward model (InstructGPT, section 3.5)."""

    numerics: Numerics

    @property
    def device(self) -> torch.device:
        return device_of(self.numerics)


def load_models(work: Workspace) -> Models:
    """The four models of a PPO run. Raises DataError where one was trained on other tokens or another chat template."""
    tokenizer = load_tokenizer(work.input("policy"))
    for name in ("reference", "reward_model"):
        check_same_tokens(tokenizer, load_tokenizer(work.input(name)), "policy", name.replace("_", " "))
    if isinstance(work.config, FineTuningConfig) and work.config.lora_rank:
        return Models(tokenizer, *load_roles(work, tokenizer, work.config), work.numerics)
    policy = load_policy(work.input("policy"), work.numerics)
    reference = load_policy(work.input("reference"), work.numerics).requires_grad_(False)
    reward_model = load_reward_model(work.input("reward_model"), work.numerics).requires_grad_(False)
    value = load_reward_model(work.input("reward_model"), work.numerics)
    for model in (policy, reference, reward_model.network, value.network):
        work.progress("loading the models")
        fit_to_tokenizer(model, tokenizer)
    for trained in (policy, value):
        if isinstance(work.config, TrainingConfig):
            prepare_training(trained, work.config, work.numerics, work.seed)
    return Models(tokenizer, policy, reference, reward_model, value, work.numerics)


class Prompt(NamedTuple):
    """One prompt row, encoded."""

    id: str
    ids: list[int]
    """Up to where the assistant is to speak."""

    messages: list[Message]


def read_prompts(
    work: Workspace,
    split: str,
    tokenizer: PreTrainedTokenizerBase,
    limit: int,
    max_new_tokens: int,
    *,
    unique: bool = True,
) -> list[Prompt]:
    """The prompts of an input that leave room for `max_new_tokens` in `limit` tokens; with `unique`, each once.

    Others are left out and counted in a data event; none is cut.
    """
    seen: set[tuple[int, ...]] = set()

    def encode(row: Row) -> Prompt:
        work.progress("reading the prompts")
        messages = required(row, "prompt", list)
        ids = encode_prompt(tokenizer, messages)
        if too_long := leaves_no_room(len(ids), max_new_tokens, limit):
            raise RowError(too_long)
        if unique and tuple(ids) in seen:
            raise RowError("prompt that was there before")
        seen.add(tuple(ids))
        return Prompt(str(row["id"]), ids, messages)

    rows = [{"id": number, **row} for number, row in enumerate(read_rows(work.input(split)))]
    kept, reasons = encode_rows(rows, encode)
    work.data(split, len(kept), reasons)
    return kept


def leaves_no_room(prompt_length: int, max_new_tokens: int, limit: int) -> str:
    """Why a prompt can't be answered within so many tokens; empty where it can."""
    if prompt_length + max_new_tokens <= limit:
        return ""
    return "prompt longer than the context, less the room for an answer"


class PromptCursor:
    """An endless walk over the prompts, each pass in an order of its own.

    The order is a function of (seed, pass), so the position is all there is to save. `peek` does not move, so that an
    update that is broken off can start over.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.position = count, seed, 0

    def peek(self, wanted: int) -> list[int]:
        """Indices of the next `wanted` prompts; a new pass begins wherever the one before it ends."""
        places = range(self.position, self.position + wanted)
        orders = {turn: self._order(turn) for turn in {place // self.count for place in places}}
        return [int(orders[place // self.count][place % self.count]) for place in places]

    def advance(self, count: int) -> None:
        self.position += count

    def _order(self, turn: int) -> np.ndarray:
        return np.random.default_rng([self.seed, turn]).permutation(self.count)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position, "prompts": self.count}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        if state_dict["prompts"] != self.count:
            raise ValueError(f"it walked over {state_dict['prompts']} prompts, here are {self.count}")
        self.position = state_dict["position"]


class Pass(NamedTuple):
    """Rollouts that go through a model together, on its device."""

    rows: list[int]

    row: FlatRow
    """Prompts and answers, laid end to end."""

    before: Tensor
    """(N,) where in the row the token before each response token is."""

    tokens: Tensor
    """(N,) the response tokens, in the order of `before`."""

    mask: Tensor
    """(b, R) bool, on the CPU, True on response tokens; the same N, in the same order."""

    ids: Tensor
    """(b, T'), the same rollouts padded on the right; T' just long enough for them."""

    select: Tensor
    """(b, T') bool, True at the token before each response token; the same N, in the same order."""


@dataclass(frozen=True)
class Rollouts:
    """Prompts with one answer each, on the CPU."""

    ids: Tensor
    """(B, T) prompt and answer, padded on the right."""

    prompt_lengths: Tensor
    """(B,)"""

    responses: Responses
    """(B, R) tensors; the answers end with their first EOS."""

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of prompt and answer."""
        return self.prompt_lengths + self.responses.lengths

    @property
    def mask(self) -> Tensor:
        """(B, R) bool, True on response tokens, EOS included."""
        return length_mask(self.responses.lengths, self.responses.ids.shape[1])

    def passes(self, rows: Iterable[int], budget: int, device: torch.device) -> list[Pass]:
        """`rows` in flat rows of at most `budget` tokens each."""
        lengths = self.lengths.tolist()
        chosen = list(rows)
        groups = fill_rows([lengths[row] for row in chosen], budget)
        return [self._pass([chosen[place] for place in group], device) for group in groups]

    def _pass(self, rows: list[int], device: torch.device) -> Pass:
        starts, ends = self.prompt_lengths[rows], self.lengths[rows]
        ids = self.ids[rows, : padded_length(int(ends.max()))]
        following = torch.arange(1, ids.shape[1] + 1)[None, :]  # the token that a position predicts
        select = (following >= starts[:, None]) & (following < ends[:, None])
        mask = self.mask[rows]
        tokens = self.responses.ids[rows][mask]
        row = lay_flat([line[:end] for line, end in zip(ids.tolist(), ends.tolist(), strict=True)], device)
        before = np.concatenate(
            [places[start - 1 : -1] for places, start in zip(row.places, starts.tolist(), strict=True)]
        )
        return Pass(
            rows,
            row,
            torch.from_numpy(before).to(device),
            tokens.to(device),
            mask,
            ids.to(device),
            select.to(device),
        )


def sample_rollouts(
    models: Models,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    decoding: Decoding,
    *,
    batch_tokens: int,
    heartbeat: Callable[[], None],
) -> Rollouts:
    """One answer of the policy to each prompt; row b is decided by prompt b and seed b."""
    with autocast(models.numerics):
        responses = generate(
            models.policy,
            [prompt.ids for prompt in prompts],
            seeds,
            decoding,
            eos_token_id=models.tokenizer.eos_token_id,
            pad_token_id=models.tokenizer.pad_token_id,
            batch_tokens=batch_tokens,
            heartbeat=heartbeat,
        )
    whole = [prompt.ids + responses.tokens(row) for row, prompt in enumerate(prompts)]
    ids, _ = pad_right(whole, models.tokenizer.pad_token_id)
    return Rollouts(ids, torch.tensor([len(prompt.ids) for prompt in prompts]), responses)


def response_logprobs(
    policy: PreTrainedModel, part: Pass, temperature: float, numerics: Numerics, *, with_entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """(log-probabilities (N,), entropies (N,)) of a pass's response tokens, nats: the forward that trains.

    Every log-probability of PPO comes from here, at the sampling temperature: old, reference and update alike. The
    entropies carry no gradient, and are 0 without `with_entropy`.
    """
    head = head_of(policy)
    with autocast(numerics):
        if head is not None:
            states = hidden_states(policy, part.row)[part.before]
            return linear_logprobs_and_entropy(
                states, head, part.tokens, temperature=temperature, with_entropy=with_entropy
            )
        logits = selected_logits(policy, part.ids, part.select)
    entropy = token_entropy(logits.detach(), temperature) if with_entropy else torch.zeros_like(logits[:, 0])
    return token_logprobs(logits, part.tokens, temperature), entropy


def response_values(value: RewardModel, part: Pass, numerics: Numerics) -> Tensor:
    """Values (N,) of the states before each response token of a pass."""
    return scores_at(value, part.row, part.before, numerics)


def response_scores(reward_model: RewardModel, part: Pass, eos_token_id: int, numerics: Numerics) -> Tensor:
    """Scores (b,) of a pass's answers, at their last token, which is taken for EOS, there or not.

    The reward model learned to score at an EOS; an answer that was cut off is scored as if it had ended where it was
    cut.
    """
    ids = part.row.ids.clone()
    ids[0, part.row.last] = eos_token_id
    return scores_at(reward_model, dataclasses.replace(part.row, ids=ids), part.row.last, numerics)


def scores_at(model: RewardModel, row: FlatRow, places: Tensor, numerics: Numerics) -> Tensor:
    """What a reward or value model says, float32, at some places of a row."""
    with autocast(numerics):
        states = hidden_states(model.network, row)[places]
    scores: Tensor = model.network.score(states.float()).squeeze(-1) - model.shift  # float32: bfloat16 has three digits
    return scores


class Views(NamedTuple):
    """What the models say of rollouts before any of them is trained on these. On the CPU, float32, 0 on padding."""

    logprobs: Tensor
    """(B, R) nats, of the policy that sampled them."""

    ref_logprobs: Tensor
    """(B, R) nats, of the frozen reference."""

    values: Tensor
    """(B, R); all 0 where the value model was not asked."""

    scores: Tensor
    """(B,) of the reward model, its shift taken off, before any penalty."""

    entropy: float
    """Mean entropy of the policy at a response token, nats."""


@torch.no_grad()
def view_rollouts(
    models: Models,
    rollouts: Rollouts,
    temperature: float,
    *,
    with_values: bool,
    budget: int,
    heartbeat: Callable[[], None],
) -> Views:
    """Forward each rollout through the models, in passes of at most `budget` tokens; no gradient."""
    logprobs, ref_logprobs, values = (torch.zeros(rollouts.responses.ids.shape) for _ in range(3))
    scores = torch.zeros(len(rollouts.ids))
    entropy = 0.0
    for part in rollouts.passes(range(len(rollouts.ids)), budget, models.device):
        heartbeat()
        found, entropies = response_logprobs(models.policy, part, temperature, models.numerics, with_entropy=True)
        entropy += float(entropies.sum())
        logprobs[part.rows] = spread(found, part.mask)
        found, _ = response_logprobs(models.reference, part, temperature, models.numerics)
        ref_logprobs[part.rows] = spread(found, part.mask)
        if with_values:
            values[part.rows] = spread(response_values(models.value, part, models.numerics), part.mask)
        found = response_scores(models.reward_model, part, models.tokenizer.eos_token_id, models.numerics)
        scores[part.rows] = found.cpu()
    return Views(logprobs, ref_logprobs, values, scores, entropy / int(rollouts.mask.sum()))


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """(N,) laid out where mask (b, R) is True, 0 elsewhere; on the CPU."""
    laid = torch.zeros(mask.shape)
    laid[mask] = flat.float().cpu()
    return laid
