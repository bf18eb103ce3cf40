"""A reward model from rankings: InstructGPT (arXiv:2203.02155) section 3.5, equation 1, and appendix C.2.

A ranking of K answers is one element of a batch. Each answer is forwarded once, and all of its pairs are trained in one
step: as separate pairs each answer would be seen K - 1 times, and the model overfits within one pass. The score of an
answer is read at its EOS, which is there even where sampling was cut off. Several people's rankings of one prompt are
several elements. At the end scores are shifted so that demonstrations score 0 on average: then 0, and the weight
of the KL penalty, mean the same from one reward model to the next.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from training.rlhf import parallel
from training.rlhf.adapters import Trained, prepare_training
from training.rlhf.config import RankingsConfig, RewardConfig
from training.rlhf.data import BatchCursor, Row, due, encode_rows, fill_rows, micro_batches, read_rows, required
from training.rlhf.data import total_steps as count_steps
from training.rlhf.errors import DataError, RowError
from training.rlhf.flat import lay_shared, row_tokens
from training.rlhf.losses import Pairs, plackett_luce_loss, ranked_pairs, ranking_loss
from training.rlhf.measures import Judged, agreement, agreement_by_part, flat, pair_accuracy, reliability_of
from training.rlhf.model import RewardModel, fit_to_tokenizer, reward_model_from_policy
from training.rlhf.numerics import autocast
from training.rlhf.optim import clip_gradients, learning_rate_at, make_optimizer, set_learning_rate
from training.rlhf.record import Record
from training.rlhf.tokens import context_limit, encode_completion, load_tokenizer
from training.rlhf.workspace import StepMetrics, Workspace

RATINGS = (1.0, 7.0)  # the scale of ratings whose row does not tell its own


class RankedAnswers(NamedTuple):
    """One ranking, encoded; only ranked answers are in it."""

    sequences: list[list[int]]
    """K sequences of prompt and answer, each ending in EOS."""

    ranks: list[float]
    """(K,), 1 is best, equal is tied."""

    pairs: list[tuple[int, int, bool]]
    """(better, worse, tied) that are trained on."""

    margins: list[float]
    """What the better one of each pair must win by."""

    id: str = ""
    """Of the row."""

    prompt: str = ""
    """A name of its prompt: rankings of one prompt have the same."""

    category: str = ""

    weight: float = 1.0
    """How much it counts: the row's weight times its labeler's; above 0."""

    prompt_length: int = 0
    """Tokens of the prompt, with which each sequence begins."""

    @property
    def longest(self) -> int:
        return max(len(sequence) for sequence in self.sequences)


def run(config: RewardConfig, work: Workspace) -> Iterator[StepMetrics]:
    """Train a reward model on the rankings of `train`, starting from the trunk of `policy`; `validation` and
    `demonstrations`, by which scores are centred, are optional."""
    tokenizer = load_tokenizer(work.input("policy"))
    model = reward_model_from_policy(work.input("policy"), work.numerics, work.seed)
    model.shift = 0.0
    fit_to_tokenizer(model.network, tokenizer)
    prepare_training(model, config, work.numerics, work.seed, folder=work.input("policy"))
    limit = context_limit(model.network.config, config.context_length)
    train = read_rankings(work, "train", tokenizer, limit, config)
    validation = read_rankings(work, "validation", tokenizer, limit, config)[: config.eval_rows]
    demonstrations = read_answers(work, "demonstrations", tokenizer, limit)
    if not train:
        raise DataError("no ranking is left to train on; the data events say why each was left out")

    optimizer = make_optimizer(model, config)
    cursor = BatchCursor([ranking.longest for ranking in train], config.batch_size, work.seed)
    total = count_steps(cursor.batches_per_epoch, config.epochs, config.max_steps)
    trained = Trained(model)
    record = Record(trained, watch="accuracy/validation", higher=True)
    state = {"model": trained, "optimizer": optimizer, "cursor": cursor, "record": record}
    start = work.resume(state, total_steps=total)

    weights = list(model.parameters())
    score = functools.partial(score_group, model, tokenizer, work=work)
    judged: list[Judged] = []
    for step in range(start + 1, total + 1):
        began = time.perf_counter()
        batch = [train[index] for index in next(cursor)]
        loss_sum, right, untied = 0.0, 0.0, 0
        optimizer.zero_grad()
        mine = [batch[index] for index in parallel.share([sum(map(len, ranking.sequences)) for ranking in batch])]
        for group in split_batch(mine, config.micro_batch_tokens):
            scores = score_group(model, tokenizer, group, work)
            loss = group_loss(scores, group, config) / total_weight(batch)
            loss.backward()
            loss_sum += float(loss.detach())
            for ranking, values in zip(group, per_ranking(group, scores), strict=True):
                correct, count = pair_accuracy(values, ranking.ranks)
                right, untied = right + correct, untied + count
        parallel.sum_gradients(weights)
        loss_sum, right, pairs = parallel.total([loss_sum, right, untied], work.numerics)
        rate = learning_rate_at(
            step, peak=config.learning_rate, schedule=config.schedule, warmup=config.warmup_steps, total=total
        )
        set_learning_rate(optimizer, rate)
        norm = clip_gradients(weights, config.max_grad_norm)
        optimizer.step()

        tokens = sum(len(sequence) for ranking in batch for sequence in ranking.sequences)
        speed = tokens / (time.perf_counter() - began)
        metrics = {"loss/train": loss_sum, "lr": rate, "grad_norm": norm, "tokens_per_second": speed}
        if pairs:
            metrics["accuracy/train"] = right / pairs
        if validation and due(step, config.eval_every, total):
            measured, judged = measure(score, validation, config, work)
            metrics |= measured
        record.note(step, metrics)
        yield StepMetrics(step, metrics)

    report: dict[str, Any] = {}
    if validation:
        judged = judged or measure(score, validation, config, work)[1]  # resumed behind the last step
        record.note(total, flat("validation", agreement_by_part(judged)))
        report = {"agreement": agreement_by_part(judged), "calibration": reliability_of(judged)}
    if demonstrations:
        model.shift = mean_score(model, tokenizer, demonstrations, config.micro_batch_tokens, work)
    work.publish_model(model, tokenizer, {**record.result(), "reward_shift": model.shift}, report)


def read_rankings(
    work: Workspace, split: str, tokenizer: PreTrainedTokenizerBase, limit: int, config: RankingsConfig
) -> list[RankedAnswers]:
    """The rankings of an input that teach something; the others are counted, none is cut."""
    if split not in work.inputs:
        if split == "train":
            work.input(split)
        return []

    def encode(row: Row) -> RankedAnswers:
        work.progress("reading the rankings")
        return encode_ranking(row, tokenizer, limit, config, training=split == "train")

    kept, reasons = encode_rows(read_rows(work.inputs[split]), encode)
    work.data(split, len(kept), reasons)
    return kept


def encode_ranking(
    row: Row, tokenizer: PreTrainedTokenizerBase, limit: int, config: RankingsConfig, *, training: bool
) -> RankedAnswers:
    """One canonical ranking row. Raises RowError where it teaches nothing, or must not be trained on."""
    if training and row.get("purpose", "train") != "train":
        raise RowError("kept for evaluation")
    if row.get("counts") is False:
        raise RowError("does not count")
    answers, ranks = ranked_answers(row)
    sequences = []
    for prompt_ids, completion_ids in encode_answers(row, answers, tokenizer):
        if too_long := exceeds(len(prompt_ids), len(completion_ids), limit):
            raise RowError(too_long)
        sequences.append(prompt_ids + completion_ids)
    pairs = [pair for pair in ranked_pairs(ranks) if config.ties != "drop" or not pair[2]]
    if not pairs:
        raise RowError("no pair to learn from: all answers are tied")
    margins = [pair_margin(answers, ranks, pair, config, rating_scale(row)) for pair in pairs]
    return RankedAnswers(
        sequences,
        ranks,
        pairs,
        margins,
        id=str(row.get("id", "")),
        prompt=json.dumps(row["prompt"], sort_keys=True),
        category=category_of(row),
        weight=weight_of(row, config),
        prompt_length=len(prompt_ids),
    )


def encode_answers(
    row: Row, answers: Sequence[Row], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[list[int], list[int]]]:
    """Of each answer the ids of the prompt and its own, EOS included. Raises RowError."""
    prompt = required(row, "prompt", list)
    for answer in answers:
        yield encode_completion(tokenizer, prompt, answer["content"])


def exceeds(prompt_length: int, answer_length: int, limit: int) -> str:
    """Why an answer to a prompt does not fit in so many tokens; empty where it does."""
    if prompt_length >= limit:
        return "prompt longer than the context"
    return "an answer longer than the context" if prompt_length + answer_length > limit else ""


def category_of(row: Row) -> str:
    """The category of a row's prompt, if it tells one."""
    fields = row.get("prompt_fields")
    return str(row.get("category") or (fields.get("category") if isinstance(fields, dict) else "") or "")


def weight_of(row: Row, config: RankingsConfig) -> float:
    """How much a ranking counts: its `weight`, if it has one, times its labeler's in the config. Raises RowError."""
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
        raise RowError("a weight that is not a number of 0 or more")
    weight = float(weight) * config.weight_of(str(row.get("labeler", "")))
    if not weight:
        raise RowError("a ranking or a labeler of weight 0")
    return weight


def ranked_answers(row: Row) -> tuple[list[dict[str, Any]], list[float]]:
    """The answers of a row that are ranked, and their ranks; `ranks` is a list in the order of the completions, or an
    object by completion id. Raises RowError for fewer than two."""
    completions = required(row, "completions", list)
    ranks = row.get("ranks")
    if isinstance(ranks, dict):
        ranks = [ranks.get(str(answer.get("id"))) for answer in completions]
    if not isinstance(ranks, list) or len(ranks) != len(completions):
        raise RowError("ranks that do not fit the completions")
    ranked = [(answer, rank) for answer, rank in zip(completions, ranks, strict=True) if rank is not None]
    if len(ranked) < 2:
        raise RowError("fewer than two ranked answers")
    for answer, rank in ranked:
        if isinstance(rank, bool) or not isinstance(rank, (int, float)):
            raise RowError("a rank that is not a number")
        if not isinstance(answer, dict) or not isinstance(answer.get("content"), str):
            raise RowError("an answer without content")
    return [answer for answer, _ in ranked], [float(rank) for _, rank in ranked]


def pair_margin(
    answers: Sequence[Row],
    ranks: Sequence[float],
    pair: tuple[int, int, bool],
    config: RankingsConfig,
    scale: tuple[float, float] = RATINGS,
) -> float:
    """What the better answer must win by: in proportion to the gap of ranks, or of overall ratings where there are
    any; the widest possible gap gives `margin_scale`."""
    better, worse, tied = pair
    if tied or config.margin == "none":
        return 0.0
    if config.margin == "ranks":
        return config.margin_scale * (ranks[worse] - ranks[better]) / (max(ranks) - min(ranks))
    low, high = scale
    gap = overall_rating(answers[better], (low + high) / 2) - overall_rating(answers[worse], (low + high) / 2)
    return config.margin_scale * max(gap, 0.0) / (high - low)


def rating_scale(row: Row) -> tuple[float, float]:
    """The lowest and the highest rating that could be given; 1 and 7 where the row does not tell. Raises RowError."""
    scale = row.get("rating_scale")
    if scale is None:
        return RATINGS
    found = (scale.get("minimum"), scale.get("maximum")) if isinstance(scale, dict) else (None, None)
    low, high = (value if isinstance(value, int) and not isinstance(value, bool) else None for value in found)
    if low is None or high is None or low >= high:
        raise RowError("a rating scale that is none")
    return float(low), float(high)


def overall_rating(answer: Row, middle: float = 4.0) -> float:
    """The rating of an answer: a number, or the entry `overall` of its ratings; the middle, if it has none."""
    ratings = answer.get("ratings")
    value = ratings.get("overall") if isinstance(ratings, dict) else ratings
    return float(value) if isinstance(value, (int, float)) else middle


def read_answers(work: Workspace, split: str, tokenizer: PreTrainedTokenizerBase, limit: int) -> list[list[int]]:
    """Demonstrations as sequences to score."""
    if split not in work.inputs:
        return []

    def encode(row: Row) -> list[int]:
        work.progress("reading the demonstrations")
        prompt, completion = required(row, "prompt", list), required(row, "completion", list)
        prompt_ids, completion_ids = encode_completion(tokenizer, [*prompt, *completion[:-1]], completion[-1:])
        ids = prompt_ids + completion_ids
        if len(ids) > limit:
            raise RowError("longer than the context")
        return ids

    kept, reasons = encode_rows(read_rows(work.inputs[split]), encode)
    work.data(split, len(kept), reasons)
    return kept


def split_batch(batch: Sequence[RankedAnswers], budget: int) -> list[list[RankedAnswers]]:
    """The batch in passes of whole rankings, of at most `budget` tokens where a single ranking fits in it."""
    rows = fill_rows([row_tokens(ranking.sequences) for ranking in batch], budget)
    return [[batch[index] for index in row] for row in rows]


def score_group(
    model: RewardModel, tokenizer: PreTrainedTokenizerBase, group: Sequence[RankedAnswers], work: Workspace
) -> torch.Tensor:
    """Scores (S,) of all answers of some rankings: each answer is forwarded once, and what the answers of a ranking
    begin with once for all of them."""
    return score_sets(model, tokenizer, [ranking.sequences for ranking in group], work)


def score_sequences(
    model: RewardModel, tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Sequence[int]], work: Workspace
) -> torch.Tensor:
    """Scores (S,) of sequences that end in EOS and have nothing in common."""
    return score_sets(model, tokenizer, [[ids] for ids in sequences], work)


def score_sets(
    model: RewardModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: Sequence[Sequence[Sequence[int]]],
    work: Workspace,
) -> torch.Tensor:
    """Scores (S,) of sets of sequences that end in EOS; those of a set may begin with one prompt."""
    row = lay_shared(sets, model.network.device, pad_id=tokenizer.pad_token_id)
    with autocast(work.numerics):
        return model.score_row(row)


def group_pairs(group: Sequence[RankedAnswers], device: torch.device) -> Pairs:
    """The pairs of some rankings as indices into their scores, end to end."""
    rows: list[tuple[int, int, bool, float, float]] = []
    start = 0
    for ranking in group:
        for (better, worse, tied), margin in zip(ranking.pairs, ranking.margins, strict=True):
            rows.append((start + better, start + worse, tied, margin, ranking.weight / len(ranking.pairs)))
        start += len(ranking.sequences)
    first, second, tied_, margins, weights = zip(*rows, strict=True)
    return Pairs(
        torch.tensor(first, device=device),
        torch.tensor(second, device=device),
        torch.tensor(tied_, device=device),
        torch.tensor(margins, dtype=torch.float32, device=device),
        torch.tensor(weights, dtype=torch.float32, device=device),
    )


def group_loss(scores: torch.Tensor, group: Sequence[RankedAnswers], config: RankingsConfig) -> torch.Tensor:
    """The sum over rankings of weight x loss; scores (S,) are those of their answers, end to end."""
    if config.loss == "pairs":
        return ranking_loss(scores, group_pairs(group, scores.device), ties=config.ties, tie_margin=config.tie_margin)
    parts = scores.split([len(ranking.sequences) for ranking in group])
    losses = [
        ranking.weight * plackett_luce_loss(part, ranking.ranks, ties=config.ties)
        for ranking, part in zip(group, parts, strict=True)
    ]
    return torch.stack(losses).sum()


def total_weight(batch: Sequence[RankedAnswers]) -> float:
    """What a batch's loss is divided by: weights move what is learned from whom, not how large a step is."""
    return math.fsum(ranking.weight for ranking in batch)


def per_ranking(group: Sequence[RankedAnswers], scores: torch.Tensor) -> list[list[float]]:
    """The flat scores (S,) as one list for each ranking."""
    sizes = [len(ranking.sequences) for ranking in group]
    return [part.tolist() for part in scores.detach().cpu().split(sizes)]


@torch.no_grad()
def measure(
    score: Callable[[Sequence[RankedAnswers]], torch.Tensor],
    rankings: Sequence[RankedAnswers],
    config: RankingsConfig,
    work: Workspace,
) -> tuple[dict[str, float], list[Judged]]:
    """On held-out rankings: the loss and `curves` of what `score` says of each; and that itself, in their order.

    `score` gives the scores (S,) of the answers of some rankings, end to end.
    """
    loss = 0.0
    places = {id(ranking): place for place, ranking in enumerate(rankings)}
    found: list[Judged | None] = [None] * len(rankings)
    for group in split_batch(rankings, config.micro_batch_tokens):
        work.progress("validating")
        scores = score(group)
        loss += float(group_loss(scores, group, config))
        for ranking, values in zip(group, per_ranking(group, scores), strict=True):
            found[places[id(ranking)]] = Judged(values, ranking.ranks, ranking.prompt, ranking.category)
    judged = [one for one in found if one is not None]
    return {"loss/validation": loss / total_weight(rankings), **curves(judged)}, judged


def curves(judged: Sequence[Judged]) -> dict[str, float]:
    """Measures that are drawn as training goes on: accuracy over pairs that are not tied (also by K), mean margin of
    better over worse, mean Kendall tau-b, calibration error. What has no data is left out."""
    whole = agreement(judged)
    metrics = {
        f"{name}/validation": whole[name] for name in ("accuracy", "kendall_tau", "calibration_error") if name in whole
    }
    margins = [
        one.scores[better] - one.scores[worse]
        for one in judged
        for better, worse, tied in ranked_pairs(one.ranks)
        if not tied
    ]
    if margins:
        metrics["margin/validation"] = sum(margins) / len(margins)
    for size in sorted({len(one.scores) for one in judged}):
        part = agreement([one for one in judged if len(one.scores) == size])
        if "accuracy" in part:
            metrics[f"accuracy/validation/k{size}"] = part["accuracy"]
    return metrics


@torch.no_grad()
def mean_score(
    model: RewardModel,
    tokenizer: PreTrainedTokenizerBase,
    sequences: Sequence[Sequence[int]],
    budget: int,
    work: Workspace,
) -> float:
    """The mean score of sequences that end in EOS."""
    total = 0.0
    lengths = [len(sequence) for sequence in sequences]
    for group in micro_batches(range(len(sequences)), [1] * len(sequences), lengths, budget):
        work.progress("scoring the demonstrations")
        scores = score_sequences(model, tokenizer, [sequences[index] for index in group], work)
        total += float(scores.double().sum())
    return total / len(sequences)
