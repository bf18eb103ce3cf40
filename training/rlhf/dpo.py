"""DPO: a policy straight from rankings, without a reward model or sampling (Rafailov et al. 2023, arXiv:2305.18290).

A cheap baseline for PPO on the same labels. An answer's implicit reward is beta * (log pi - log pi_ref), summed over
its tokens; the loss is the reward model's own (equation 7 is that with this reward in place of the score). So ties,
margins, labeler weights and Plackett-Luce (appendix A.3) mean the same here. As there, a ranking of K answers is one
element of a batch, each answer is forwarded once, and all of its pairs are trained in one step.

The reference never changes, so what it says of each answer is computed once, before the first step, and the model is
dropped; it comes back only to measure how far the policy has moved, on answers to held-out prompts.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.rlhf.adapters import Trained, prepare_training, same_weights
from training.rlhf.config import DPOConfig, Numerics
from training.rlhf.data import BatchCursor, due, pad_right, read_rows, required
from training.rlhf.data import total_steps as count_steps
from training.rlhf.errors import DataError, NumericsError, RowError
from training.rlhf.flat import hidden_states, lay_shared
from training.rlhf.generate import Decoding, derive_seed, generate
from training.rlhf.linear import policy_logprobs
from training.rlhf.measures import Judged, agreement_by_part, flat, pair_accuracy, reliability_of
from training.rlhf.model import fit_to_tokenizer, load_policy
from training.rlhf.numerics import autocast
from training.rlhf.optim import clip_gradients, learning_rate_at, make_optimizer, set_learning_rate
from training.rlhf.record import Record
from training.rlhf.reward import (
    RankedAnswers,
    group_loss,
    measure,
    per_ranking,
    read_rankings,
    split_batch,
    total_weight,
)
from training.rlhf.rollouts import Prompt, Rollouts, response_logprobs
from training.rlhf.tokens import check_same_tokens, context_limit, decode_response, encode_prompt, load_tokenizer
from training.rlhf.workspace import StepMetrics, Workspace


class References:
    """What the reference says of each answer: log-probabilities in nats, by ranking. Kept in checkpoints."""

    def __init__(self) -> None:
        self.train: list[list[float]] = []
        self.validation: list[list[float]] = []
        self.is_start = False
        """Whether the policy starts as the reference, weight for weight."""

    def state_dict(self) -> dict[str, Any]:
        return {"train": self.train, "validation": self.validation, "is_start": self.is_start}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.train, self.validation = list(state_dict["train"]), list(state_dict["validation"])
        self.is_start = bool(state_dict["is_start"])


def run(config: DPOConfig, work: Workspace) -> Iterator[StepMetrics]:
    """Train `policy` on the rankings of `train`, close to `reference`; `validation` is optional."""
    tokenizer = load_tokenizer(work.input("policy"))
    check_same_tokens(tokenizer, load_tokenizer(work.input("reference")), "policy", "reference")
    policy = load_policy(work.input("policy"), work.numerics)
    fit_to_tokenizer(policy, tokenizer)
    limit = context_limit(policy.config, config.context_length)
    train = read_rankings(work, "train", tokenizer, limit, config)
    validation = read_rankings(work, "validation", tokenizer, limit, config)[: config.eval_rows]
    prompts = read_validation_prompts(work, tokenizer, limit, config)
    if not train:
        raise DataError("no ranking is left to train on; the data events say why each was left out")

    references = References()
    reference = None if work.checkpoint else open_reference(work, tokenizer)
    references.is_start = reference is not None and same_weights(policy, reference)
    prepare_training(policy, config, work.numerics, work.seed, folder=work.input("policy"))
    if reference is not None:
        # the same weights are asked in the form in which they are trained, in 4 bits perhaps
        source = policy if references.is_start else reference
        references.train = sequence_logprobs(source, tokenizer, train, config, work)
        references.validation = sequence_logprobs(source, tokenizer, validation, config, work)
        del reference, source
    trained = Trained(policy)
    optimizer = make_optimizer(policy, config)
    cursor = BatchCursor([ranking.longest for ranking in train], config.batch_size, work.seed)
    total = count_steps(cursor.batches_per_epoch, config.epochs, config.max_steps)
    record = Record(trained, watch="loss/validation", keep_weights=config.publish == "best")
    state = {"model": trained, "optimizer": optimizer, "cursor": cursor, "record": record, "references": references}
    start = work.resume(state, total_steps=total)

    log_reference = {id(ranking): values for ranking, values in zip(train, references.train, strict=True)}
    log_reference |= {id(ranking): values for ranking, values in zip(validation, references.validation, strict=True)}
    rewards_of = functools.partial(implicit_rewards, policy, tokenizer, log_reference, config, work)
    judged: list[Judged] = []

    def evaluate(step: int) -> dict[str, float]:
        measured, judged[:] = measure(rewards_of, validation, config, work)
        return measured | answer_prompts(policy, tokenizer, prompts, step, config, work)

    if validation and not work.checkpoint:
        baseline = evaluate(0)
        record.note(0, baseline)
        yield StepMetrics(0, baseline)

    for step in range(start + 1, total + 1):
        began = time.perf_counter()
        batch = [train[index] for index in next(cursor)]
        seen = Seen()
        optimizer.zero_grad()
        for group in split_batch(batch, config.micro_batch_tokens):
            rewards = rewards_of(group)
            loss = group_loss(rewards, group, config) / total_weight(batch)
            loss.backward()
            seen.add(float(loss.detach()), group, rewards, log_reference, config)
        if step == 1 and references.is_start and not config.lora_dropout:
            check_starts_at_reference(seen, work.numerics)
        rate = learning_rate_at(
            step, peak=config.learning_rate, schedule=config.schedule, warmup=config.warmup_steps, total=total
        )
        set_learning_rate(optimizer, rate)
        norm = clip_gradients(policy.parameters(), config.max_grad_norm)
        optimizer.step()

        tokens = sum(len(sequence) for ranking in batch for sequence in ranking.sequences)
        speed = tokens / (time.perf_counter() - began)
        metrics = {**seen.metrics(), "lr": rate, "grad_norm": norm, "tokens_per_second": speed}
        if validation and due(step, config.eval_every, total):
            metrics |= evaluate(step)
        record.note(step, metrics)
        yield StepMetrics(step, metrics)

    report: dict[str, Any] = {}
    if validation:
        if not judged:  # resumed behind the last step
            judged = measure(rewards_of, validation, config, work)[1]
        record.note(total, flat("validation", agreement_by_part(judged)))
        report = {"agreement": agreement_by_part(judged), "calibration": reliability_of(judged)}
    record.restore()
    work.publish_model(policy, tokenizer, record.result(), report)


class Seen:
    """What a batch showed, added up over its passes."""

    def __init__(self) -> None:
        self.loss = self.chosen = self.rejected = self.right = self.likely = 0.0
        self.pairs = self.answers = 0
        self.largest = 0.0
        """Largest implicit reward, either sign."""

    def add(
        self,
        loss: float,
        group: Sequence[RankedAnswers],
        rewards: torch.Tensor,
        log_reference: Mapping[int, Sequence[float]],
        config: DPOConfig,
    ) -> None:
        self.loss += loss
        self.largest = max(self.largest, float(rewards.detach().abs().max()))
        for ranking, values in zip(group, per_ranking(group, rewards), strict=True):
            correct, count = pair_accuracy(values, ranking.ranks)
            self.right, self.pairs = self.right + correct, self.pairs + count
            for better, worse, tied in ranking.pairs:
                if not tied:
                    self.chosen += values[better]
                    self.rejected += values[worse]
            best = ranking.ranks.index(min(ranking.ranks))
            self.likely += log_reference[id(ranking)][best] + values[best] / config.kl_coef
            self.answers += 1

    def metrics(self) -> dict[str, float]:
        """Means over pairs that are not tied; `logprobs/chosen` over rankings, of the best answer: it often falls."""
        found = {"loss/train": self.loss, "logprobs/chosen": self.likely / self.answers}
        if self.pairs:
            found |= {
                "rewards/chosen": self.chosen / self.pairs,
                "rewards/rejected": self.rejected / self.pairs,
                "rewards/margin": (self.chosen - self.rejected) / self.pairs,
                "accuracy/train": self.right / self.pairs,
            }
        return found


def implicit_rewards(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    log_reference: Mapping[int, Sequence[float]],
    config: DPOConfig,
    work: Workspace,
    group: Sequence[RankedAnswers],
) -> torch.Tensor:
    """beta * (log pi - log pi_ref) (S,) of all answers of some rankings, each forwarded once (section 4, equation 5).

    The part of equation 5 that depends on the prompt alone is the same for all answers to it, and left out.
    """
    logprobs = answer_logprobs(policy, tokenizer, group, work)
    reference = torch.tensor([value for ranking in group for value in log_reference[id(ranking)]])
    return config.kl_coef * (logprobs - reference.to(logprobs.device))


def answer_logprobs(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, group: Sequence[RankedAnswers], work: Workspace
) -> torch.Tensor:
    """log pi (S,), nats, of the answers of some rankings: the sum over an answer's tokens, its EOS included.

    Each answer is forwarded once, on a flat row, and what the answers of a ranking begin with once for all of them.
    """
    row = lay_shared([ranking.sequences for ranking in group], policy.device, pad_id=tokenizer.pad_token_id)
    answers = [(ids, ranking.prompt_length) for ranking in group for ids in ranking.sequences]
    counts = [[place >= start for place in range(len(ids))] for ids, start in answers]
    targets = [token for ids, start in answers for token in ids[start:]]
    with autocast(work.numerics):
        states = hidden_states(policy, row)[row.before(counts)]  # (N, D)
        logprobs, _ = policy_logprobs(policy, states, torch.tensor(targets, device=policy.device))
    return torch.stack([part.sum() for part in logprobs.split([len(ids) - start for ids, start in answers])])


@torch.no_grad()
def sequence_logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rankings: Sequence[RankedAnswers],
    config: DPOConfig,
    work: Workspace,
) -> list[list[float]]:
    """log pi of each answer, ranking by ranking; no gradient."""
    places = {id(ranking): place for place, ranking in enumerate(rankings)}
    found: list[list[float]] = [[] for _ in rankings]
    for group in split_batch(rankings, config.micro_batch_tokens):
        work.progress("comparing with the reference")
        values = per_ranking(group, answer_logprobs(model, tokenizer, group, work))
        for ranking, logprobs in zip(group, values, strict=True):
            found[places[id(ranking)]] = logprobs
    return found


def open_reference(work: Workspace, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    reference = load_policy(work.input("reference"), work.numerics).requires_grad_(False)
    fit_to_tokenizer(reference, tokenizer)
    return reference


def check_starts_at_reference(seen: Seen, numerics: Numerics) -> None:
    """Where the policy starts as the reference, no answer has become likelier before the first step: all rewards are 0.

    Raises NumericsError. Allowed is what a sum of some hundred log-probabilities may be off in other batches.
    """
    allowed = 1.0 if numerics.dtype == "bfloat16" else 1e-2
    if not seen.largest <= allowed:
        raise NumericsError(
            f"policy and reference have the same weights, yet an implicit reward is {seen.largest:.3g} before the first"
            " step. Usual causes: dropout that is still on; a model whose forward depends on chance or on the batch."
        )


# Held-out prompts


def read_validation_prompts(
    work: Workspace, tokenizer: PreTrainedTokenizerBase, limit: int, config: DPOConfig
) -> list[Prompt]:
    """The first prompts of the validation rankings, each once, that leave room for an answer."""
    found: dict[tuple[int, ...], Prompt] = {}
    for number, row in enumerate(read_rows(work.inputs["validation"]) if "validation" in work.inputs else []):
        if len(found) == config.answered_prompts:
            break
        try:
            messages = required(row, "prompt", list)
            ids = encode_prompt(tokenizer, messages)
        except RowError:
            continue
        if len(ids) + config.max_new_tokens <= limit:
            found.setdefault(tuple(ids), Prompt(str(row.get("id", number)), ids, messages))
    return list(found.values())


@torch.no_grad()
def answer_prompts(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    step: int,
    config: DPOConfig,
    work: Workspace,
) -> dict[str, float]:
    """Answer held-out prompts, by draws that are the same each time: how far from the reference (nats a response), how
    long, ended or not. Some are shown. Training does not notice."""
    if not prompts:
        return {}
    with autocast(work.numerics):
        responses = generate(
            policy,
            [prompt.ids for prompt in prompts],
            [derive_seed(work.seed, "validation", row) for row in range(len(prompts))],
            Decoding(max_new_tokens=config.max_new_tokens),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            heartbeat=lambda: work.progress("validating"),
        )
    whole = [prompt.ids + responses.tokens(row) for row, prompt in enumerate(prompts)]
    ids, _ = pad_right(whole, tokenizer.pad_token_id)
    rollouts = Rollouts(ids, torch.tensor([len(prompt.ids) for prompt in prompts]), responses)
    reference = open_reference(work, tokenizer)
    apart = 0.0
    for part in rollouts.passes(range(len(prompts)), config.micro_batch_tokens, policy.device):
        mine, _ = response_logprobs(policy, part, 1.0, work.numerics)
        theirs, _ = response_logprobs(reference, part, 1.0, work.numerics)
        apart += float((mine - theirs).double().sum())
    for row, prompt in enumerate(prompts[: config.sample_count]):
        text = decode_response(tokenizer, responses.tokens(row))
        length, ended = int(responses.lengths[row]), bool(responses.ended[row])
        work.sample(step, prompt.messages, text, tokens=length, ended=ended)
    return {
        "validation/kl": apart / len(prompts),
        "validation/length": float(responses.lengths.float().mean()),
        "validation/eos_rate": float(responses.ended.float().mean()),
    }
