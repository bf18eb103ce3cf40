"""PPO against a reward model with a KL penalty: InstructGPT (arXiv:2203.02155) section 3.5, equation 2, appendix C.4.

One update: answers are sampled to the next prompts; policy, reference, value and reward model look at them; each
token's reward is -beta * KL to the reference, and the last one's also the score; advantages (GAE) are whitened over the
whole update; then clipped losses on minibatches. What differs from the papers and from other code, on purpose:

- The score sits on the last token of the answer (its EOS), not on a slot behind it.
- Old log-probabilities come from the training forward, not from the sampler, so the first ratio is 1. This is checked
  in every update, and a run in which it is not so stops.
- Losses are means over the tokens of a minibatch, so how it is cut into passes changes nothing but rounding.
- The value model is a model of its own with its own optimiser, started from the reward model.
- Whatever is drawn at random is a function of the seed and of a position; so an update that is broken off starts over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.rlhf.adapters import Trained, same_weights
from training.rlhf.config import Numerics, OnPolicyConfig, PPOConfig
from training.rlhf.data import due
from training.rlhf.diagnose import likely_cause
from training.rlhf.ema import MovingAverage
from training.rlhf.errors import DataError, NumericsError
from training.rlhf.generate import Decoding, derive_seed
from training.rlhf.optim import clip_gradients, learning_rate_at, make_optimizer, set_learning_rate
from training.rlhf.ppo_losses import policy_loss, value_loss
from training.rlhf.ptx import PretrainingText
from training.rlhf.record import Record
from training.rlhf.rewards import (
    KLController,
    estimate_advantages,
    explained_variance,
    finish_scores,
    kl_per_token,
    masked_mean,
    token_rewards,
    whiten,
)
from training.rlhf.rollouts import (
    Models,
    Prompt,
    PromptCursor,
    Rollouts,
    Views,
    load_models,
    read_prompts,
    response_logprobs,
    response_values,
    sample_rollouts,
    spread,
    view_rollouts,
)
from training.rlhf.tokens import context_limit, decode_response
from training.rlhf.workspace import StepMetrics, Workspace


def run(config: PPOConfig, work: Workspace) -> Iterator[StepMetrics]:
    """Train `policy` on the prompts of `train` against `reward_model`, close to `reference`.

    `validation` (held-out prompts) and `pretraining` (text, where ptx_coef is above 0) are optional.
    """
    models = load_models(work)
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

    policy_optimizer = make_optimizer(models.policy, config)
    value_optimizer = make_optimizer(models.value, config)
    cursor = PromptCursor(len(prompts), work.seed)
    controller = KLController(config.kl_coef, config.kl_target or None, config.kl_horizon)
    average = MovingAverage(models.policy, config.ema_decay)
    record = Record(Trained(models.policy), watch="validation/score", higher=True)
    text = PretrainingText(config, work, models, limit) if config.ptx_coef else None
    starts_at_reference = same_weights(models.policy, models.reference)
    state = {
        "policy": Trained(models.policy),
        "value": Trained(models.value),
        "policy_optimizer": policy_optimizer,
        "value_optimizer": value_optimizer,
        "cursor": cursor,
        "kl": controller,
        "average": average,
        "record": record,
        **({"text": text} if text else {}),
    }
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

        chosen = [prompts[index] for index in cursor.peek(config.rollouts_per_update)]
        seeds = [derive_seed(work.seed, "rollout", cursor.position + row) for row in range(len(chosen))]
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
            with_values=True,
            budget=config.micro_batch_tokens,
            heartbeat=lambda: work.pause_point("scoring"),
        )
        cursor.advance(len(chosen))
        check_sampler(models, rollouts, views, config.temperature)

        mask = rollouts.mask
        kl = kl_per_token(views.logprobs, views.ref_logprobs, mask)
        if step == 1 and starts_at_reference:
            check_starts_at_reference(models, rollouts, views, config.temperature)
        scores = finish_scores(views.scores, rollouts.responses.ended, config.missing_eos_penalty)
        rewards = token_rewards(kl, scores, mask, controller.kl_coef)
        advantages, returns = estimate_advantages(rewards, views.values, mask, gamma=config.gamma, lam=config.lam)
        targets = Targets(whiten(advantages, mask) if config.whiten_advantages else advantages, returns)

        rates = [
            learning_rate_at(step, peak=peak, schedule=config.schedule, warmup=config.warmup_updates, total=total)
            for peak in (config.learning_rate, config.value_learning_rate)
        ]
        set_learning_rate(policy_optimizer, rates[0])
        set_learning_rate(value_optimizer, rates[1])
        trained = optimise(
            models, rollouts, views, targets, policy_optimizer, value_optimizer, text, step, config, work
        )
        average.update()

        metrics = {
            "objective/kl": float(kl.sum(dim=1).mean()),
            "objective/kl_coef": controller.kl_coef,
            "objective/score": float(views.scores.mean()),
            "objective/reward": float(rewards.sum(dim=1).mean()),
            "objective/entropy": views.entropy,
            "value/explained_variance": explained_variance(views.values, returns, mask),
            "response/length": float(rollouts.responses.lengths.float().mean()),
            "response/eos_rate": float(rollouts.responses.ended.float().mean()),
            "lr": rates[0],
            "lr/value": rates[1],
            **trained,
            "tokens_per_second": int(rollouts.lengths.sum()) / (time.perf_counter() - began),
        }
        controller.update(metrics["objective/kl"], len(chosen))
        last = step if too_far(metrics, config) else total
        if held_out and due(step, config.eval_every, last):
            metrics |= validate(models, average, held_out, config, work)
        if config.sample_every and due(step, config.sample_every, last):
            show_samples(models, average, shown, step, config, work)
        record.note(step, metrics)
        yield StepMetrics(step, metrics)

    with average.in_place():
        work.publish_model(models.policy, models.tokenizer, record.result())


def too_far(metrics: dict[str, float], config: OnPolicyConfig) -> bool:
    """Whether the policy is further from the reference than the run may take it."""
    return config.max_kl > 0 and metrics.get("objective/kl", 0.0) > config.max_kl


class Targets(NamedTuple):
    """What the rollouts of an update teach. Both (B, R), 0 on padding."""

    advantages: Tensor
    """Of the policy; whitened over the update."""

    returns: Tensor
    """Of the value model."""


def optimise(
    models: Models,
    rollouts: Rollouts,
    views: Views,
    targets: Targets,
    policy_optimizer: torch.optim.Optimizer,
    value_optimizer: torch.optim.Optimizer,
    text: PretrainingText | None,
    step: int,
    config: PPOConfig,
    work: Workspace,
) -> dict[str, float]:
    """The optimiser steps of one update; returns their metrics, means over the minibatches that were looked at."""
    count = len(rollouts.ids)
    policy_learns = step > config.value_warmup_updates
    seen: list[dict[str, float]] = []
    taken = 0
    for epoch in range(config.ppo_epochs):
        order = np.random.default_rng([work.seed, step, epoch]).permutation(count).tolist()
        for start in range(0, count, config.minibatch_size):
            rows = order[start : start + config.minibatch_size]
            policy_optimizer.zero_grad()
            value_optimizer.zero_grad()
            found = minibatch_gradients(models, rollouts, views, targets, rows, policy_learns, config, work)
            if not seen:
                check_first_minibatch(found, models, rollouts, views, config)
            seen.append(found)
            if config.max_approx_kl and found["policy/approx_kl"] > config.max_approx_kl:
                return summary(seen, taken)
            if config.max_ratio and found["policy/ratio"] > config.max_ratio:
                continue
            if policy_learns:
                if text:
                    found |= text.add_gradient()
                found["grad_norm"] = clip_gradients(models.policy.parameters(), config.max_grad_norm)
                policy_optimizer.step()
            found["grad_norm/value"] = clip_gradients(models.value.parameters(), config.max_grad_norm)
            value_optimizer.step()
            taken += 1
    return summary(seen, taken)


MINIBATCH = (
    "loss/policy",
    "loss/value",
    "policy/approx_kl",
    "policy/clip_fraction",
    "policy/ratio",
    "policy/ratio_error",
)


def minibatch_gradients(
    models: Models,
    rollouts: Rollouts,
    views: Views,
    targets: Targets,
    rows: Sequence[int],
    policy_learns: bool,
    config: PPOConfig,
    work: Workspace,
) -> dict[str, float]:
    """Add the gradients of both clipped losses over `rows`; returns the minibatch's means (ratio_max: its largest)."""
    token_count = int(rollouts.responses.lengths[list(rows)].sum())
    sums: list[Tensor] = []
    ratio_max: list[Tensor] = []
    for part in rollouts.passes(rows, config.micro_batch_tokens, models.device):
        work.progress("training")
        old_logprobs, advantages, old_values, returns = (
            whole[part.rows][part.mask].to(models.device)
            for whole in (views.logprobs, targets.advantages, views.values, targets.returns)
        )
        with torch.set_grad_enabled(policy_learns):
            logprobs, _ = response_logprobs(models.policy, part, config.temperature, models.numerics)
            of_policy = policy_loss(
                logprobs, old_logprobs, advantages, cliprange=config.cliprange, token_count=token_count
            )
        if policy_learns:
            of_policy.loss.backward()
        values = response_values(models.value, part, models.numerics)
        of_value = value_loss(values, old_values, returns, cliprange=config.cliprange_value, token_count=token_count)
        of_value.loss.backward()
        losses = torch.stack([of_policy.loss.detach(), of_value.loss.detach()])
        counted = (of_policy.approx_kl, of_policy.clipped, of_policy.ratio, of_policy.ratio_error)
        sums.append(torch.cat([losses, torch.stack([*counted]) / token_count]))
        ratio_max.append(of_policy.ratio_max)
    means = torch.stack(sums).sum(dim=0).tolist()  # one wait for the device a minibatch
    return dict(zip(MINIBATCH, means, strict=True)) | {"policy/ratio_max": float(torch.stack(ratio_max).max())}


def summary(seen: Sequence[dict[str, float]], taken: int) -> dict[str, float]:
    """Metrics of an update from those of its minibatches: means, the largest ratio, and the steps taken."""
    names = dict.fromkeys(
        name for found in seen for name in found if name not in ("policy/ratio", "policy/ratio_error")
    )
    metrics = {name: float(np.mean([found[name] for found in seen if name in found])) for name in names}
    metrics["policy/ratio_max"] = max(found["policy/ratio_max"] for found in seen)
    metrics["policy/steps"] = float(taken)
    return metrics


# Checks that the numbers are what PPO takes them for


def tolerance(numerics: Numerics) -> float:
    """How far a log-probability may differ, on average, between two forwards of one model in other batches (nats)."""
    if numerics.dtype == "bfloat16":
        return 0.1
    return 1e-3 if numerics.matmul == "highest" else 2e-2  # TF32, and a CPU's bfloat16 products, keep 3 digits


def check_first_minibatch(
    found: dict[str, float], models: Models, rollouts: Rollouts, views: Views, config: OnPolicyConfig
) -> None:
    """Before the first optimiser step of an update the ratio is 1 everywhere and nothing is clipped (item 13)."""
    allowed = tolerance(models.numerics)
    if found["policy/ratio_error"] > allowed or found["policy/clip_fraction"] > allowed:
        now = torch.zeros_like(views.logprobs)
        with torch.no_grad():
            for part in rollouts.passes(range(len(rollouts.ids)), config.micro_batch_tokens, models.device):
                logprobs, _ = response_logprobs(models.policy, part, config.temperature, models.numerics)
                now[part.rows] = spread(logprobs, part.mask)
        suspects = {"The pass that trains": now, "The pass of the old log-probabilities": views.logprobs}
        raise NumericsError(
            f"the policy's probabilities changed before the first optimiser step: the ratio is off 1 by"
            f" {found['policy/ratio_error']:.3g} on average, {found['policy/clip_fraction']:.1%} clipped."
            f" {likely_cause(models.policy, rollouts, suspects, config.temperature, models.numerics)}"
        )


def check_sampler(models: Models, rollouts: Rollouts, views: Views, temperature: float) -> None:
    """The sampler's log-probabilities are those of the training forward: both see the same positions and padding."""
    gap = float(masked_mean((rollouts.responses.logprobs - views.logprobs).abs(), rollouts.mask))
    if not gap <= tolerance(models.numerics):
        suspects = {"Sampling": rollouts.responses.logprobs, "The pass of the old log-probabilities": views.logprobs}
        raise NumericsError(
            f"sampling and training disagree: log-probabilities of the sampled tokens differ by {gap:.3g} nats on"
            f" average. {likely_cause(models.policy, rollouts, suspects, temperature, models.numerics)}"
        )


def check_starts_at_reference(models: Models, rollouts: Rollouts, views: Views, temperature: float) -> None:
    """Where policy and reference start as the same weights, the first KL is 0 at every token."""
    gap = float(masked_mean((views.logprobs - views.ref_logprobs).abs(), rollouts.mask))
    if not gap <= tolerance(models.numerics):
        suspects = {"The reference": views.ref_logprobs, "The pass of the old log-probabilities": views.logprobs}
        raise NumericsError(
            f"policy and reference have the same weights, yet differ by {gap:.3g} nats a token."
            f" {likely_cause(models.policy, rollouts, suspects, temperature, models.numerics)}"
        )


# Held-out prompts


def validate(
    models: Models, average: MovingAverage, held_out: Sequence[Prompt], config: OnPolicyConfig, work: Workspace
) -> dict[str, float]:
    """Score answers to the held-out prompts, by draws that are the same each time, of the weights to be published."""
    rollouts, views = answer(models, average, held_out, config, work)
    kl = kl_per_token(views.logprobs, views.ref_logprobs, rollouts.mask)
    return {
        "validation/score": float(views.scores.mean()),
        "validation/kl": float(kl.sum(dim=1).mean()),
        "validation/length": float(rollouts.responses.lengths.float().mean()),
        "validation/eos_rate": float(rollouts.responses.ended.float().mean()),
        "validation/entropy": views.entropy,
    }


def show_samples(
    models: Models, average: MovingAverage, shown: Sequence[Prompt], step: int, config: OnPolicyConfig, work: Workspace
) -> None:
    """Show how a few prompts are answered now; the same prompts and draws each time, so that change is learning."""
    if not shown:
        return
    rollouts, views = answer(models, average, shown, config, work)
    for row, prompt in enumerate(shown):
        work.sample(
            step,
            prompt.messages,
            decode_response(models.tokenizer, rollouts.responses.tokens(row)),
            score=float(views.scores[row]),
            tokens=int(rollouts.responses.lengths[row]),
            ended=bool(rollouts.responses.ended[row]),
        )


def answer(
    models: Models, average: MovingAverage, prompts: Sequence[Prompt], config: OnPolicyConfig, work: Workspace
) -> tuple[Rollouts, Views]:
    """Answers of the weights to be published, with scores and log-probabilities; training does not notice."""
    heartbeat: Callable[[], None] = lambda: work.progress("validating")  # noqa: E731
    with average.in_place():
        rollouts = sample_rollouts(
            models,
            prompts,
            [derive_seed(work.seed, "validation", row) for row in range(len(prompts))],
            Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature),
            batch_tokens=config.generation_batch_tokens,
            heartbeat=heartbeat,
        )
        views = view_rollouts(
            models,
            rollouts,
            config.temperature,
            with_values=False,
            budget=config.micro_batch_tokens,
            heartbeat=heartbeat,
        )
    return rollouts, views
