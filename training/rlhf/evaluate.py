"""Measures of a finished model on held-out rows, written to report.json.

policy + validation_text          perplexity
policy + prompts                  length of answers, share that end by themselves
policy + prompts + reference      KL to the reference, in nats a response
policy + prompts + reward_model   mean score of the answers
reward_model + rankings           accuracy (also by K), mean margin, Kendall's tau
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from training.rlhf.config import EvaluateConfig, RewardConfig
from training.rlhf.data import pad_right, read_rows
from training.rlhf.errors import DataError
from training.rlhf.generate import Decoding, derive_seed, generate
from training.rlhf.model import fit_to_tokenizer, load_policy, load_reward_model
from training.rlhf.numerics import autocast
from training.rlhf.pretrain import encode_corpus, mean_cross_entropy, perplexity, windows
from training.rlhf.record import Record
from training.rlhf.reward import measure, read_rankings
from training.rlhf.rollouts import Rollouts, read_prompts, response_logprobs
from training.rlhf.tokens import check_same_tokens, context_limit, load_tokenizer
from training.rlhf.workspace import StepMetrics, Workspace

Measures = dict[str, float]


def run(config: EvaluateConfig, work: Workspace) -> Iterator[StepMetrics]:
    """Everything that the inputs allow, one step a kind of measure."""
    measures = possible_measures(work)
    record = Record(torch.nn.Identity(), watch="")
    start = work.resume({"record": record}, total_steps=len(measures))
    for step in range(start + 1, len(measures) + 1):
        metrics = measures[step - 1](config, work)
        record.note(step, metrics)
        yield StepMetrics(step, metrics)
    result = record.result()
    work.publish_file("report.json", json.dumps(work.provenance(result), indent=2) + "\n", result)


def possible_measures(work: Workspace) -> list[Callable[[EvaluateConfig, Workspace], Measures]]:
    """What can be measured with these inputs. Raises DataError if nothing can."""
    given = set(work.inputs)
    candidates = [
        ({"policy", "validation_text"}, measure_text),
        ({"reward_model", "rankings"}, measure_rankings),
        ({"policy", "prompts"}, measure_answers),
    ]
    chosen = [function for needed, function in candidates if needed <= given]
    if not chosen:
        raise DataError(
            "there is nothing to measure:"
            " give a policy with validation_text or prompts, or a reward_model with rankings"
        )
    return chosen


def measure_text(config: EvaluateConfig, work: Workspace) -> Measures:
    """Perplexity of the policy on text: exp of the mean cross-entropy in nats."""
    tokenizer = load_tokenizer(work.input("policy"))
    policy = load_policy(work.input("policy"), work.numerics)
    fit_to_tokenizer(policy, tokenizer)
    length = context_limit(policy.config, config.context_length)
    documents = encode_corpus(tokenizer, read_rows(work.input("validation_text")), work, "validation_text")
    pieces = windows(documents, tokenizer, length - 1)
    loss = mean_cross_entropy(policy, pieces, tokenizer, config.micro_batch_tokens, work)
    return {"loss/validation": loss, "perplexity/validation": perplexity(loss)}


def measure_rankings(config: EvaluateConfig, work: Workspace) -> Measures:
    """How far the reward model agrees with rankings that it was not trained on."""
    folder = work.input("reward_model")
    tokenizer = load_tokenizer(folder)
    model = load_reward_model(folder, work.numerics)
    fit_to_tokenizer(model.network, tokenizer)
    limit = context_limit(model.network.config, config.context_length)
    settings = RewardConfig(micro_batch_tokens=config.micro_batch_tokens)
    rankings = read_rankings(work, "rankings", tokenizer, limit, settings)
    if not rankings:
        raise DataError("no ranking is left to measure on; the data events say why each was left out")
    metrics = measure(model, tokenizer, rankings, settings, work)
    metrics.pop("loss/validation")  # of pairs; beside a perplexity it would be taken for the loss of tokens
    return metrics


@torch.no_grad()
def measure_answers(config: EvaluateConfig, work: Workspace) -> Measures:
    """One answer to each prompt: how long, ended or not, how far from the reference, how good to the reward model."""
    tokenizer = load_tokenizer(work.input("policy"))
    policy = load_policy(work.input("policy"), work.numerics)
    fit_to_tokenizer(policy, tokenizer)
    limit = context_limit(policy.config, config.context_length)
    prompts = read_prompts(work, "prompts", tokenizer, limit, config.max_new_tokens)
    if not prompts:
        raise DataError("no prompt is left to answer; the data events say why each was left out")
    with autocast(work.numerics):
        responses = generate(
            policy,
            [prompt.ids for prompt in prompts],
            [derive_seed(work.seed, "evaluate", prompt.id) for prompt in prompts],
            Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            heartbeat=lambda: work.progress("answering"),
        )
    whole = [prompt.ids + responses.tokens(row) for row, prompt in enumerate(prompts)]
    ids, _ = pad_right(whole, tokenizer.pad_token_id)
    rollouts = Rollouts(ids, torch.tensor([len(prompt.ids) for prompt in prompts]), responses)
    metrics = {
        "response/length": float(responses.lengths.float().mean()),
        "response/eos_rate": float(responses.ended.float().mean()),
    }
    passes = rollouts.passes(range(len(prompts)), config.micro_batch_tokens, policy.device)
    if "reference" in work.inputs:
        same_tokens(work, "reference")
        reference = load_policy(work.input("reference"), work.numerics)
        fit_to_tokenizer(reference, tokenizer)
        kl = 0.0
        for part in passes:
            work.progress("comparing with the reference")
            mine, _ = response_logprobs(policy, part, config.temperature, work.numerics)
            theirs, _ = response_logprobs(reference, part, config.temperature, work.numerics)
            kl += float((mine - theirs).double().sum())
        metrics["objective/kl"] = kl / len(prompts)
    if "reward_model" in work.inputs:
        same_tokens(work, "reward_model")
        model = load_reward_model(work.input("reward_model"), work.numerics)
        fit_to_tokenizer(model.network, tokenizer)
        scored, total = rollouts.scored_ids(tokenizer.eos_token_id), 0.0
        for part in passes:
            work.progress("scoring")
            width = part.ids.shape[1]
            with autocast(work.numerics):
                scores = model.score(scored[part.rows, :width].to(policy.device), rollouts.lengths[part.rows])
            total += float(scores.double().sum())
        metrics["objective/score"] = total / len(prompts)
    return metrics


def same_tokens(work: Workspace, name: str) -> None:
    """Raise DataError where a model was trained on other tokens than the policy."""
    policy: Path = work.input("policy")
    check_same_tokens(load_tokenizer(policy), load_tokenizer(work.input(name)), "policy", name.replace("_", " "))
