"""Measures of a finished model on held-out rows, written to report.json.

policy + validation_text          perplexity
policy + prompts                  length of answers, share that end by themselves
policy + prompts + reference      KL to the reference, in nats a response
policy + prompts + reward_model   mean score of the answers
reward_model + rankings           accuracy (also by K), mean margin, Kendall's tau

Beside the measures the report holds what they are made of, one row a ranking and one a prompt, so that whoever reads it
can compute an interval over prompts, or compare two models on the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

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


class Rows:
    """The rows of the report by kind ("rankings", "answers"), kept in checkpoints."""

    def __init__(self) -> None:
        self.kinds: dict[str, list[dict[str, Any]]] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"kinds": self.kinds}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.kinds = dict(state_dict["kinds"])


def run(config: EvaluateConfig, work: Workspace) -> Iterator[StepMetrics]:
    """Everything that the inputs allow, one step a kind of measure."""
    measures = possible_measures(work)
    record, rows = Record(torch.nn.Identity(), watch=""), Rows()
    start = work.resume({"record": record, "rows": rows}, total_steps=len(measures))
    for step in range(start + 1, len(measures) + 1):
        metrics = measures[step - 1](config, work, rows)
        record.note(step, metrics)
        yield StepMetrics(step, metrics)
    result = record.result()
    report = work.provenance(result) | rows.kinds
    work.publish_file("report.json", json.dumps(report, indent=2) + "\n", result)


def possible_measures(work: Workspace) -> list[Callable[[EvaluateConfig, Workspace, Rows], Measures]]:
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


def measure_text(config: EvaluateConfig, work: Workspace, rows: Rows) -> Measures:
    """Perplexity of the policy on text: exp of the mean cross-entropy in nats."""
    tokenizer = load_tokenizer(work.input("policy"))
    policy = load_policy(work.input("policy"), work.numerics)
    fit_to_tokenizer(policy, tokenizer)
    length = context_limit(policy.config, config.context_length)
    documents = encode_corpus(tokenizer, read_rows(work.input("validation_text")), work, "validation_text")
    pieces = windows(documents, tokenizer, length - 1)
    loss = mean_cross_entropy(policy, pieces, tokenizer, config.micro_batch_tokens, work)
    return {"loss/validation": loss, "perplexity/validation": perplexity(loss)}


def measure_rankings(config: EvaluateConfig, work: Workspace, rows: Rows) -> Measures:
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
    found = rows.kinds["rankings"] = []
    metrics = measure(model, tokenizer, rankings, settings, work, found)
    metrics.pop("loss/validation")  # of pairs; beside a perplexity it would be taken for the loss of tokens
    return metrics


@torch.no_grad()
def measure_answers(config: EvaluateConfig, work: Workspace, rows: Rows) -> Measures:
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
    answers: list[dict[str, Any]] = [
        {"prompt_id": prompt.id, "tokens": int(length), "ended": bool(ended)}
        for prompt, length, ended in zip(prompts, responses.lengths, responses.ended, strict=True)
    ]
    rows.kinds["answers"] = answers
    passes = rollouts.passes(range(len(prompts)), config.micro_batch_tokens, policy.device)
    if "reference" in work.inputs:
        same_tokens(work, "reference")
        reference = load_policy(work.input("reference"), work.numerics)
        fit_to_tokenizer(reference, tokenizer)
        for part in passes:
            work.progress("comparing with the reference")
            mine, _ = response_logprobs(policy, part, config.temperature, work.numerics)
            theirs, _ = response_logprobs(reference, part, config.temperature, work.numerics)
            apart = (mine - theirs).double().cpu().split(part.mask.sum(dim=1).tolist())
            for row, values in zip(part.rows, apart, strict=True):
                answers[row]["kl"] = float(values.sum())
        metrics["objective/kl"] = sum(answer["kl"] for answer in answers) / len(answers)
    if "reward_model" in work.inputs:
        same_tokens(work, "reward_model")
        model = load_reward_model(work.input("reward_model"), work.numerics)
        fit_to_tokenizer(model.network, tokenizer)
        scored = rollouts.scored_ids(tokenizer.eos_token_id)
        for part in passes:
            work.progress("scoring")
            width = part.ids.shape[1]
            with autocast(work.numerics):
                scores = model.score(scored[part.rows, :width].to(policy.device), rollouts.lengths[part.rows])
            for row, score in zip(part.rows, scores.double().tolist(), strict=True):
                answers[row]["score"] = score
        metrics["objective/score"] = sum(answer["score"] for answer in answers) / len(answers)
    return metrics


def same_tokens(work: Workspace, name: str) -> None:
    """Raise DataError where a model was trained on other tokens than the policy."""
    policy: Path = work.input("policy")
    check_same_tokens(load_tokenizer(policy), load_tokenizer(work.input(name)), "policy", name.replace("_", " "))
