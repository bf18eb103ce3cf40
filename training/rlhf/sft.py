"""Supervised fine-tuning on demonstrations: InstructGPT (arXiv:2203.02155) section 3.5, appendix C.1.

Cross-entropy on what the assistant says in the completion, its EOS included; the prompt is context. The loss of a step
is the mean over all such tokens of its batch, however many passes the batch is split into. A pass is a flat row of
whole demonstrations without padding. Dropout is off, as in the later stages, so that the policy that PPO starts from is
the one that was measured here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.rlhf import parallel
from training.rlhf.adapters import Trained, prepare_training
from training.rlhf.config import SFTConfig
from training.rlhf.data import BatchCursor, Row, due, encode_rows, fill_rows, read_rows, required
from training.rlhf.data import total_steps as count_steps
from training.rlhf.errors import DataError, RowError
from training.rlhf.flat import hidden_states, lay_flat
from training.rlhf.generate import Decoding, derive_seed, generate
from training.rlhf.linear import policy_cross_entropy
from training.rlhf.model import fit_to_tokenizer, load_policy
from training.rlhf.numerics import autocast
from training.rlhf.optim import clip_gradients, learning_rate_at, make_optimizer, set_learning_rate
from training.rlhf.record import Record
from training.rlhf.tokens import (
    Message,
    context_limit,
    decode_response,
    encode_conversation,
    encode_prompt,
    load_tokenizer,
)
from training.rlhf.workspace import StepMetrics, Workspace


class Demonstration(NamedTuple):
    """One row, encoded."""

    ids: list[int]
    """Prompt and completion, (T,), ending in EOS."""

    counts: list[bool]
    """(T,), True on the tokens that are learned."""

    prompt: list[Message]

    @property
    def prompt_length(self) -> int:
        """Tokens before the first that is learned."""
        return self.counts.index(True)

    def exceeds(self, limit: int) -> str:
        """Why it does not fit in so many tokens; empty where it does."""
        if len(self.ids) <= limit:
            return ""
        return "prompt longer than the context" if self.prompt_length >= limit else "longer than the context"


def run(config: SFTConfig, work: Workspace) -> Iterator[StepMetrics]:
    """Fine-tune `policy` on the demonstrations of `train`; the loss is followed on `validation`, if given."""
    tokenizer = load_tokenizer(work.input("policy"))
    model = load_policy(work.input("policy"), work.numerics)
    fit_to_tokenizer(model, tokenizer)
    prepare_training(model, config, work.numerics, work.seed, folder=work.input("policy"))
    limit = context_limit(model.config, config.context_length)
    train = read_demonstrations(work, "train", tokenizer, limit)
    validation = read_demonstrations(work, "validation", tokenizer, limit)[: config.eval_rows]
    if not train:
        raise DataError("no demonstration is left to train on; the data events say why each was left out")

    optimizer = make_optimizer(model, config)
    cursor = BatchCursor([len(row.ids) for row in train], config.batch_size, work.seed)
    total = count_steps(cursor.batches_per_epoch, config.epochs, config.max_steps)
    trained = Trained(model)
    record = Record(trained, watch="loss/validation", keep_weights=config.publish == "best")
    state = {"model": trained, "optimizer": optimizer, "cursor": cursor, "record": record}
    start = work.resume(state, total_steps=total)
    if validation and not work.checkpoint:
        baseline = {"loss/validation": mean_loss(model, tokenizer, validation, config, work)}
        record.note(0, baseline)
        show_samples(model, tokenizer, validation, 0, config, work)
        yield StepMetrics(0, baseline)

    weights = list(model.parameters())
    for step in range(start + 1, total + 1):
        began = time.perf_counter()
        batch = [train[index] for index in next(cursor)]
        learned = sum(sum(row.counts) for row in batch)
        loss_sum = 0.0
        optimizer.zero_grad()
        mine = [batch[index] for index in parallel.share([len(row.ids) for row in batch])]
        for group in split_batch(mine, config.micro_batch_tokens):
            loss = completion_loss(model, tokenizer, group, work) / learned
            loss.backward()
            loss_sum += float(loss.detach())
        parallel.sum_gradients(weights)
        [loss_sum] = parallel.total([loss_sum], work.numerics)
        rate = learning_rate_at(
            step, peak=config.learning_rate, schedule=config.schedule, warmup=config.warmup_steps, total=total
        )
        set_learning_rate(optimizer, rate)
        norm = clip_gradients(weights, config.max_grad_norm)
        optimizer.step()

        speed = sum(len(row.ids) for row in batch) / (time.perf_counter() - began)
        metrics = {"loss/train": loss_sum, "lr": rate, "grad_norm": norm, "tokens_per_second": speed}
        if validation and due(step, config.eval_every, total):
            metrics["loss/validation"] = mean_loss(model, tokenizer, validation, config, work)
        if validation and config.sample_every and due(step, config.sample_every, total):
            show_samples(model, tokenizer, validation, step, config, work)
        record.note(step, metrics)
        yield StepMetrics(step, metrics)

    record.restore()
    work.publish_model(model, tokenizer, record.result())


def read_demonstrations(
    work: Workspace, split: str, tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[Demonstration]:
    """The rows of an input that can be learned whole; the others are counted, none is cut."""
    if split not in work.inputs:
        if split == "train":
            work.input(split)
        return []

    def encode(row: Row) -> Demonstration:
        work.progress("reading the demonstrations")
        demonstration = encode_demonstration(row, tokenizer)
        if too_long := demonstration.exceeds(limit):
            raise RowError(too_long)
        return demonstration

    kept, reasons = encode_rows(read_rows(work.inputs[split]), encode)
    work.data(split, len(kept), reasons)
    return kept


def encode_demonstration(row: Row, tokenizer: PreTrainedTokenizerBase) -> Demonstration:
    """One row, however long. Raises RowError where nothing can be learned from it."""
    prompt, completion = required(row, "prompt", list), required(row, "completion", list)
    ids, counts = encode_conversation(tokenizer, prompt, completion)
    if not completion[-1]["content"].strip():
        raise RowError("empty completion")
    return Demonstration(ids, counts, prompt)


def split_batch(batch: Sequence[Demonstration], budget: int) -> list[list[Demonstration]]:
    """The batch in passes of at most `budget` tokens."""
    rows = fill_rows([len(row.ids) for row in batch], budget)
    return [[batch[index] for index in row] for row in rows]


def completion_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, group: Sequence[Demonstration], work: Workspace
) -> torch.Tensor:
    """Sum, in nats, of -log p over the tokens that count."""
    row = lay_flat([one.ids for one in group], model.device, pad_id=tokenizer.pad_token_id)
    targets = [token for one in group for token, counts in zip(one.ids[1:], one.counts[1:], strict=True) if counts]
    with autocast(work.numerics):
        states = hidden_states(model, row)[row.before([one.counts for one in group])]  # (N, D)
        return policy_cross_entropy(model, states, torch.tensor(targets, device=model.device))


@torch.no_grad()
def mean_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Demonstration],
    config: SFTConfig,
    work: Workspace,
) -> float:
    """Mean over all tokens that count, in nats."""
    total = 0.0
    for group in split_batch(rows, config.micro_batch_tokens):
        work.progress("validating")
        total += float(completion_loss(model, tokenizer, group, work))
    return total / sum(sum(row.counts) for row in rows)


def show_samples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Demonstration],
    step: int,
    config: SFTConfig,
    work: Workspace,
) -> None:
    """Answer the first validation prompts; each has a seed of its own, so training does not notice."""
    limit = context_limit(model.config, config.context_length)
    chosen = [(row.prompt, encode_prompt(tokenizer, row.prompt)) for row in rows[: config.sample_count]]
    chosen = [(prompt, ids) for prompt, ids in chosen if len(ids) < limit]
    if not chosen:
        return
    room = min(config.max_new_tokens, limit - max(len(ids) for _, ids in chosen))
    answers = generate(
        model,
        [ids for _, ids in chosen],
        [derive_seed(work.seed, "sft", step, index) for index in range(len(chosen))],
        Decoding(max_new_tokens=room, temperature=config.sample_temperature),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        heartbeat=lambda: work.progress("answering"),
    )
    for row, (prompt, _) in enumerate(chosen):
        tokens = answers.tokens(row)
        text = decode_response(tokenizer, tokens)
        work.sample(step, prompt, text, tokens=len(tokens), ended=bool(answers.ended[row]))
