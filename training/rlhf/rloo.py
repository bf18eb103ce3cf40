"""RLOO: REINFORCE against a reward model, without a value model (Ahmadian et al. 2024, arXiv:2402.14740).

A cheap baseline for PPO with the same inputs. One update: the policy answers each of the next prompts k times; an
answer's reward is its score less beta * KL to the reference (the sum over its tokens), and its advantage that reward
less the mean of the other answers to the same prompt. A whole answer is one action. The loss is REINFORCE on all
answers at once, or PPO's clipped loss over parts of them, by config.

Scores, penalty, KL, seeds, checks and held-out prompts are PPO's own, so that the two can be compared run for run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from training.rlhf.adapters import Trained, same_weights
from training.rlhf.config import RLOOConfig
from training.rlhf.data import due
from training.rlhf.ema import MovingAverage
from training.rlhf.errors import DataError
from training.rlhf.generate import Decoding, derive_seed
from training.rlhf.optim import clip_gradients, learning_rate_at, make_optimizer, set_learning_rate
from training.rlhf.ppo import (
    check_first_minibatch,
    check_sampler,
    check_starts_at_reference,
    show_samples,
    too_far,
    validate,
)
from training.rlhf.record import Record
from training.rlhf.rewards import finish_scores, kl_per_token
from training.rlhf.rloo_losses import clipped_loss, leave_one_out, reinforce_loss
from training.rlhf.rollouts import (
    Models,
    Prompt,
    PromptCursor,
    Rollouts,
    Views,
    load_models,
    read_prompts,
    response_logprobs,
    sample_rollouts,
    view_rollouts,
)
from training.rlhf.tokens import context_limit
from training.rlhf.workspace import StepMetrics, Workspace


def run(config: RLOOConfig, work: Workspace) -> Iterator[StepMetrics]:
    """Train `policy` on the prompts of `train` against `reward_model`, close to `reference`; `validation` (held-out
    prompts) is optional."""
    models = load_models(work)
    models = dataclasses.replace(models, value=models.reward_model)  # nobody asks for values; what was loaded goes
    limit = min(
        context_limit(model.config, config.context_length)
        for model in (models.policy, models.reference, models.reward_model.network)
    )
    prompts = read_prompts(work, "train", models.tokenizer, limit, config.max_new_tokens)
    if not prompts:
        raise DataError("no prompt is left to train on; the data events say why each was left out")
    held_out: list[Prompt] = []
    if "validation" in work.inputs:
        held_out = read_prompts(work, "validation", models.tokenizer, limit, config.max_new_tokens)[: config.eval_rows]
    shown = (held_out or prompts)[: config.sample_count]

    trained = Trained(models.policy)
    optimizer = make_optimizer(models.policy, config)
    cursor = PromptCursor(len(prompts), work.seed)
    average = MovingAverage(models.policy, config.ema_decay)
    record = Record(trained, watch="validation/score", higher=True)
    starts_at_reference = same_weights(models.policy, models.reference)
    state = {"policy": trained, "optimizer": optimizer, "cursor": cursor, "average": average, "record": record}
    total = config.total_updates
    step = work.resume(state, total_steps=total)
    if not work.checkpoint:
        baseline = validate(models, average, held_out, config, work) if held_out else {}
        show_samples(models, average, shown, 0, config, work)
        record.note(0, baseline)
        if baseline:
            yield StepMetrics(0, baseline)

    while step < total and not too_far(record.latest, config):
        step += 1
        began = time.perf_counter()

        places = cursor.peek(config.prompts_per_update)
        chosen = [prompts[place] for place in places for _ in range(config.samples_per_prompt)]
        seeds = [
            derive_seed(work.seed, "rollout", cursor.position + row, sample)
            for row in range(len(places))
            for sample in range(config.samples_per_prompt)
        ]
        # until the cursor moves nothing has changed, and a run that is asked to stop need not finish the update
        rollouts = sample_rollouts(
            models,
            chosen,
            seeds,
            Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature),
            batch_tokens=config.generation_batch_tokens,
            heartbeat=lambda: work.pause_point("generating"),
        )
        views = view_rollouts(
            models,
            rollouts,
            config.temperature,
            with_values=False,
            budget=config.micro_batch_tokens,
            heartbeat=lambda: work.pause_point("scoring"),
        )
        cursor.advance(len(places))
        check_sampler(models, rollouts, views, config.temperature)

        kl = kl_per_token(views.logprobs, views.ref_logprobs, rollouts.mask)
        if step == 1 and starts_at_reference:
            check_starts_at_reference(models, rollouts, views, config.temperature)
        scores = finish_scores(views.scores, rollouts.responses.ended, config.missing_eos_penalty)
        rewards = (scores - config.kl_coef * kl.sum(dim=1)).view(-1, config.samples_per_prompt)  # (P, k)
        advantages = leave_one_out(rewards).flatten()

        rate = learning_rate_at(
            step, peak=config.learning_rate, schedule=config.schedule, warmup=config.warmup_updates, total=total
        )
        set_learning_rate(optimizer, rate)
        taken = optimise(models, rollouts, views, advantages, optimizer, step, config, work)
        average.update()

        metrics = {
            "objective/kl": float(kl.sum(dim=1).mean()),
            "objective/kl_coef": config.kl_coef,
            "objective/score": float(views.scores.mean()),
            "objective/reward": float(rewards.mean()),
            "objective/reward_spread": float(rewards.std(dim=1).mean()),
            "objective/entropy": views.entropy,
            "response/length": float(rollouts.responses.lengths.float().mean()),
            "response/eos_rate": float(rollouts.responses.ended.float().mean()),
            "lr": rate,
            **taken,
            "tokens_per_second": int(rollouts.lengths.sum()) / (time.perf_counter() - began),
        }
        last = step if too_far(metrics, config) else total
        if held_out and due(step, config.eval_every, last):
            metrics |= validate(models, average, held_out, config, work)
        if config.sample_every and due(step, config.sample_every, last):
            show_samples(models, average, shown, step, config, work)
        record.note(step, metrics)
        yield StepMetrics(step, metrics)

    with average.in_place():
        work.publish_model(models.policy, models.tokenizer, record.result())


def optimise(
    models: Models,
    rollouts: Rollouts,
    views: Views,
    advantages: Tensor,
    optimizer: torch.optim.Optimizer,
    step: int,
    config: RLOOConfig,
    work: Workspace,
) -> dict[str, float]:
    """The optimiser steps of one update; returns their metrics, means over the minibatches."""
    count = len(rollouts.ids)
    size = config.minibatch_size or count
    seen: list[dict[str, float]] = []
    for epoch in range(config.update_epochs):
        order = np.random.default_rng([work.seed, step, epoch]).permutation(count).tolist()
        for start in range(0, count, size):
            optimizer.zero_grad()
            found = minibatch_gradient(models, rollouts, views, advantages, order[start : start + size], config, work)
            if not seen:
                # a product of many ratios may leave the range by rounding alone, so tokens are what is checked
                tokens_alone = {**found, "policy/clip_fraction": 0.0}
                check_first_minibatch(tokens_alone, models, rollouts, views, config)
            found["grad_norm"] = clip_gradients(models.policy.parameters(), config.max_grad_norm)
            optimizer.step()
            seen.append(found)
    names = ("loss/policy", "policy/approx_kl", "policy/clip_fraction", "grad_norm")
    metrics = {name: float(np.mean([found[name] for found in seen])) for name in names}
    return metrics | {"policy/steps": float(len(seen))}


def minibatch_gradient(
    models: Models,
    rollouts: Rollouts,
    views: Views,
    advantages: Tensor,
    rows: Sequence[int],
    config: RLOOConfig,
    work: Workspace,
) -> dict[str, float]:
    """Add the gradient of the loss over the answers `rows`; returns the minibatch's means.

    `policy/clip_fraction` is the share of answers whose ratio is outside the range; `policy/approx_kl` and
    `policy/ratio_error` are means over tokens.
    """
    tokens = int(rollouts.responses.lengths[list(rows)].sum())
    loss_sum = moved = off = clipped = 0.0
    for part in rollouts.passes(rows, config.micro_batch_tokens, models.device):
        work.progress("training")
        flat, _ = response_logprobs(models.policy, part, config.temperature, models.numerics)
        old = views.logprobs[part.rows][part.mask].to(flat.device)
        lengths = part.mask.sum(dim=1).tolist()
        logprobs, old_logprobs = (
            torch.stack([answer.sum() for answer in values.split(lengths)]) for values in (flat, old)
        )
        gains = advantages[part.rows].to(flat.device)
        if config.loss == "clip":
            loss = clipped_loss(logprobs, old_logprobs, gains, cliprange=config.cliprange, count=len(rows))
        else:
            loss = reinforce_loss(logprobs, gains, count=len(rows))
        loss.backward()
        loss_sum += float(loss.detach())
        log_ratio = (flat - old).detach()
        moved += float((log_ratio.exp() - 1 - log_ratio).sum())
        off += float((log_ratio.exp() - 1).abs().sum())
        ratios = (logprobs - old_logprobs).detach().exp()
        clipped += float(((ratios - 1).abs() > config.cliprange).sum())
    return {
        "loss/policy": loss_sum,
        "policy/approx_kl": moved / tokens,
        "policy/ratio_error": off / tokens,
        "policy/clip_fraction": clipped / len(rows),
    }
