"""Measures of a finished model on held-out rows, written to report.json.

policy + validation_text             perplexity
policy + prompts                     length of answers, share that end by themselves
   ... + reference                   KL to the reference, in nats a response
   ... + reward_model                mean score of the answers; best-of-n where there are several to a prompt
   ... + reward_model + opponent     win rate against the opponent's answers, by the reward model
reward_model + rankings              accuracy, Kendall's tau, calibration error (also by K and category), mean margin

Each has a 95 % interval over prompts (`name/low`, `name/high`); perplexity's is over stretches of the text. Beside the
measures the report holds what they are made of, one row a ranking and one an answer, so that whoever reads it can
compare two models on the same rows.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.rlhf.config import EvaluateConfig, RewardConfig
from training.rlhf.data import pad_right, read_rows
from training.rlhf.errors import DataError
from training.rlhf.generate import Decoding, derive_seed, generate
from training.rlhf.measures import (
    Interval,
    agreement_by_part,
    best_of_n,
    best_of_n_kl,
    flat,
    mean_interval,
    ratio_interval,
    reliability_of,
    share_interval,
    win_rate,
)
from training.rlhf.model import fit_to_tokenizer, load_policy, load_reward_model
from training.rlhf.numerics import autocast
from training.rlhf.pretrain import encode_corpus, mean_cross_entropy, perplexity, windows
from training.rlhf.record import Record
from training.rlhf.reward import measure, read_rankings, score_group
from training.rlhf.rollouts import Prompt, Rollouts, read_prompts, response_logprobs, response_scores
from training.rlhf.tokens import check_same_tokens, context_limit, load_tokenizer
from training.rlhf.workspace import StepMetrics, Workspace

Measures = dict[str, float]
STRETCHES = 50  # into which a text is cut for the interval of its perplexity


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
    tokenizer, policy = open_policy(work, "policy")
    length = context_limit(policy.config, config.context_length)
    documents = encode_corpus(tokenizer, read_rows(work.input("validation_text")), work, "validation_text")
    pieces = [piece for piece in windows(documents, tokenizer, length - 1) if len(piece) > 1]
    if not pieces:
        raise DataError("the input validation_text is too short; it takes two tokens at least")
    size = math.ceil(len(pieces) / STRETCHES)
    stretches = [pieces[at : at + size] for at in range(0, len(pieces), size)]
    counts = [sum(len(piece) - 1 for piece in stretch) for stretch in stretches]
    means = [mean_cross_entropy(policy, part, tokenizer, config.micro_batch_tokens, work) for part in stretches]
    loss = ratio_interval([mean * count for mean, count in zip(means, counts, strict=True)], counts)
    exact = Interval(*(perplexity(value) for value in loss))
    return {"loss/validation": loss.value, **exact.metrics("perplexity/validation")}


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
    score = functools.partial(score_group, model, tokenizer, work=work)
    metrics, judged = measure(score, rankings, settings, work)
    metrics.pop("loss/validation")  # of pairs; beside a perplexity it would be taken for the loss of tokens
    rows.kinds["rankings"] = [
        {"id": ranking.id, "category": one.category, "ranks": list(one.ranks), "scores": list(one.scores)}
        for ranking, one in zip(rankings, judged, strict=True)
    ]
    parts = rows.kinds["agreement"] = agreement_by_part(judged)
    rows.kinds["calibration"] = reliability_of(judged)
    return metrics | flat("validation", parts)


class Answered(NamedTuple):
    """A policy's answers to prompts, N to each, prompt by prompt."""

    rollouts: Rollouts
    rows: list[dict[str, Any]]
    """One an answer: prompt_id, index, tokens, ended."""


@torch.no_grad()
def measure_answers(config: EvaluateConfig, work: Workspace, rows: Rows) -> Measures:
    """How the policy answers: how long, ended or not, how far from the reference, how good to the reward model."""
    tokenizer, policy = open_policy(work, "policy")
    limit = context_limit(policy.config, config.context_length)
    prompts = read_prompts(work, "prompts", tokenizer, limit, config.max_new_tokens)
    if not prompts:
        raise DataError("no prompt is left to answer; the data events say why each was left out")
    answered = answer(policy, tokenizer, prompts, "evaluate", config, work)
    rows.kinds["answers"] = answered.rows
    metrics = {
        **over_prompts(answered.rows, "tokens").metrics("response/length"),
        **over_prompts(answered.rows, "ended").metrics("response/eos_rate"),
    }
    if "reference" in work.inputs:
        compare_with_reference(answered, policy, tokenizer, config, work)
        metrics |= over_prompts(answered.rows, "kl").metrics("objective/kl")
    if "reward_model" in work.inputs:
        score_answers(answered, tokenizer, config, work)
        metrics |= over_prompts(answered.rows, "score").metrics("objective/score")
        rows.kinds["best_of_n"] = best = best_of_each(answered.rows)
        if len(best) > 1:
            metrics[f"objective/score/best_of_{len(best)}"] = best[-1]["score"]
    if {"reward_model", "opponent"} <= set(work.inputs):
        del policy
        same_tokens(work, "opponent")
        _, opponent = open_policy(work, "opponent")
        theirs = answer(opponent, tokenizer, prompts, "opponent", config, work)
        score_answers(theirs, tokenizer, config, work)
        rows.kinds["opponent_answers"] = theirs.rows
        metrics |= over_prompts(theirs.rows, "score").metrics("opponent/score")
        metrics |= wins(answered.rows, theirs.rows).metrics("win_rate")
    return metrics


def open_policy(work: Workspace, name: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """The tokenizer and the policy of an input."""
    tokenizer = load_tokenizer(work.input(name))
    policy = load_policy(work.input(name), work.numerics)
    fit_to_tokenizer(policy, tokenizer)
    return tokenizer, policy


def answer(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    purpose: str,
    config: EvaluateConfig,
    work: Workspace,
) -> Answered:
    """`samples_per_prompt` answers to each prompt; `purpose` keeps the draws of two policies independent."""
    places = [(prompt, index) for prompt in prompts for index in range(config.samples_per_prompt)]
    with autocast(work.numerics):
        responses = generate(
            policy,
            [prompt.ids for prompt, _ in places],
            [derive_seed(work.seed, purpose, index, *prompt.ids) for prompt, index in places],
            Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            heartbeat=lambda: work.progress("answering"),
        )
    whole = [prompt.ids + responses.tokens(row) for row, (prompt, _) in enumerate(places)]
    ids, _ = pad_right(whole, tokenizer.pad_token_id)
    rows = [
        {"prompt_id": prompt.id, "index": index, "tokens": int(length), "ended": bool(ended)}
        for (prompt, index), length, ended in zip(places, responses.lengths, responses.ended, strict=True)
    ]
    return Answered(Rollouts(ids, torch.tensor([len(prompt.ids) for prompt, _ in places]), responses), rows)


def compare_with_reference(
    answered: Answered,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: EvaluateConfig,
    work: Workspace,
) -> None:
    """Give each answer its `kl`: the sum of log pi - log pi_ref over its tokens, nats."""
    same_tokens(work, "reference")
    _, reference = open_policy(work, "reference")
    for part in answered.rollouts.passes(range(len(answered.rows)), config.micro_batch_tokens, policy.device):
        work.progress("comparing with the reference")
        mine, _ = response_logprobs(policy, part, config.temperature, work.numerics)
        theirs, _ = response_logprobs(reference, part, config.temperature, work.numerics)
        apart = (mine - theirs).double().cpu().split(part.mask.sum(dim=1).tolist())
        for row, values in zip(part.rows, apart, strict=True):
            answered.rows[row]["kl"] = float(values.sum())


def score_answers(
    answered: Answered, tokenizer: PreTrainedTokenizerBase, config: EvaluateConfig, work: Workspace
) -> None:
    """Give each answer its `score`."""
    same_tokens(work, "reward_model")
    model = load_reward_model(work.input("reward_model"), work.numerics)
    fit_to_tokenizer(model.network, tokenizer)
    rollouts, device = answered.rollouts, model.network.device
    for part in rollouts.passes(range(len(answered.rows)), config.micro_batch_tokens, device):
        work.progress("scoring")
        scores = response_scores(model, part, tokenizer.eos_token_id, work.numerics)
        for row, value in zip(part.rows, scores.double().tolist(), strict=True):
            answered.rows[row]["score"] = value


def by_prompt(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, list[float]]:
    """The values of a column, prompt by prompt."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["prompt_id"], []).append(float(row[column]))
    return found


def over_prompts(rows: Sequence[Mapping[str, Any]], column: str) -> Interval:
    """The mean of a column, with an interval over prompts."""
    return mean_interval([math.fsum(values) / len(values) for values in by_prompt(rows, column).values()])


def best_of_each(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The expected best score of n answers, n from 1 to as many as each prompt has, and the most KL that it costs."""
    scores = list(by_prompt(rows, "score").values())
    found = []
    for n in range(1, min(len(values) for values in scores) + 1):
        best = mean_interval([best_of_n(values, n) for values in scores])
        found.append({"n": float(n), "kl": best_of_n_kl(n), "score": best.value, "low": best.low, "high": best.high})
    return found


def wins(mine: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> Interval:
    """How often an answer of mine scores above one of theirs to the same prompt; an interval over prompts."""
    own, other = by_prompt(mine, "score"), by_prompt(theirs, "score")
    return share_interval([win_rate(own[prompt], other[prompt]) for prompt in own], [1] * len(own))


def same_tokens(work: Workspace, name: str) -> None:
    """Raise DataError where a model was trained on other tokens than the policy."""
    policy: Path = work.input("policy")
    check_same_tokens(load_tokenizer(policy), load_tokenizer(work.input(name)), "policy", name.replace("_", " "))
