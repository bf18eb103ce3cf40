"""Answers of a policy to prompts, K to each, for people to rank.

Each answer has a seed of its own, made of the run's seed, the prompt's id and the answer's index, so that it can be
drawn again. Two answers of a prompt that read the same teach nothing when ranked: the later one is drawn anew, a
bounded number of times.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.rlhf.config import SampleConfig
from training.rlhf.errors import DataError
from training.rlhf.generate import Decoding, derive_seed, generate
from training.rlhf.model import fit_to_tokenizer, load_policy
from training.rlhf.numerics import autocast
from training.rlhf.rollouts import Prompt, read_prompts
from training.rlhf.tokens import context_limit, decode_response, load_tokenizer
from training.rlhf.workspace import StepMetrics, Workspace

Answer = dict[str, Any]  # one line of responses.jsonl


class Collected:
    """The answers so far, by batch: what a stopped run goes on from."""

    def __init__(self) -> None:
        self.batches: list[list[Answer]] = []

    @property
    def answers(self) -> list[Answer]:
        return [answer for batch in self.batches for answer in batch]

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.batches = state_dict["batches"]


def run(config: SampleConfig, work: Workspace) -> Iterator[StepMetrics]:
    """Answer the rows of `prompts` with `policy`; a step is a batch of prompts."""
    tokenizer = load_tokenizer(work.input("policy"))
    policy = load_policy(work.input("policy"), work.numerics)
    fit_to_tokenizer(policy, tokenizer)
    limit = context_limit(policy.config, config.context_length)
    prompts = read_prompts(work, "prompts", tokenizer, limit, config.max_new_tokens, unique=False)
    if not prompts:
        raise DataError("no prompt is left to answer; the data events say why each was left out")
    batches = prompt_batches(prompts, config)
    collected = Collected()
    start = work.resume({"collected": collected}, total_steps=len(batches))

    for step in range(start + 1, len(batches) + 1):
        began = time.perf_counter()
        batch = [prompts[index] for index in batches[step - 1]]
        answers = answer_batch(policy, tokenizer, batch, config, work)
        collected.batches.append(answers)
        show_samples(step, answers, len(collected.answers) - len(answers), config, work)
        yield StepMetrics(
            step,
            {
                **measures(collected.answers),
                "tokens_per_second": sum(answer["tokens"] for answer in answers) / (time.perf_counter() - began),
            },
        )

    place = {prompt.id: index for index, prompt in enumerate(prompts)}
    answers = sorted(collected.answers, key=lambda answer: (place[answer["prompt_id"]], answer["index"]))
    lines = [json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers]
    work.publish_file("responses.jsonl", "".join(lines), {"responses": float(len(answers)), **measures(answers)})


def prompt_batches(prompts: Sequence[Prompt], config: SampleConfig) -> list[list[int]]:
    """Prompts of like length together, so many that all their answers fit `batch_tokens`; longest first."""
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index].ids), index))
    batches: list[list[int]] = []
    at = 0
    while at < len(order):
        longest = len(prompts[order[at]].ids) + config.max_new_tokens
        room = max(1, config.batch_tokens // (longest * config.samples_per_prompt))
        batches.append(order[at : at + room])
        at += room
    return batches


def answer_batch(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    config: SampleConfig,
    work: Workspace,
) -> list[Answer]:
    """K answers to each prompt, prompt by prompt; those that repeat an earlier one of their prompt are drawn anew."""
    wanted = [(row, index) for row in range(len(prompts)) for index in range(config.samples_per_prompt)]
    answers: dict[tuple[int, int], Answer] = {}
    for attempt in range(config.retries + 1):
        missing = [key for key in wanted if key not in answers or key in repeats(answers)]
        if not missing:
            break
        drawn = draw(policy, tokenizer, [(prompts[row], index) for row, index in missing], attempt, config, work)
        answers.update(zip(missing, drawn, strict=True))
    return [answers[key] for key in wanted]


def draw(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    places: Sequence[tuple[Prompt, int]],
    attempt: int,
    config: SampleConfig,
    work: Workspace,
) -> list[Answer]:
    """One answer for each (prompt, index)."""
    # By what is asked, not by the row's id, which is made anew with each import of the same prompts.
    seeds = [derive_seed(work.seed, "sample", index, attempt, *prompt.ids) for prompt, index in places]
    decoding = Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature, top_p=config.top_p)
    with autocast(work.numerics):
        responses = generate(
            policy,
            [prompt.ids for prompt, _ in places],
            seeds,
            decoding,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            batch_tokens=config.batch_tokens,
            heartbeat=lambda: work.pause_point("generating"),
        )
    return [
        {
            "prompt_id": prompt.id,
            "prompt": prompt.messages,
            "index": index,
            "text": decode_response(tokenizer, responses.tokens(row)),
            "tokens": int(responses.lengths[row]),
            "ended": bool(responses.ended[row]),
            "logprob": float(responses.logprobs[row].sum()),
            "seed": seeds[row],
            "decoding": {
                "temperature": config.temperature,
                "top_p": config.top_p,
                "max_new_tokens": config.max_new_tokens,
            },
        }
        for row, (prompt, index) in enumerate(places)
    ]


def repeats(answers: Mapping[tuple[int, int], Answer]) -> set[tuple[int, int]]:
    """The places (prompt, index) whose text an earlier index of the same prompt has already."""
    seen: set[tuple[int, str]] = set()
    found = set()
    for (row, index), answer in sorted(answers.items(), key=lambda item: item[0]):
        text = (row, answer["text"].strip())
        if text in seen:
            found.add((row, index))
        seen.add(text)
    return found


def measures(answers: Sequence[Answer]) -> dict[str, float]:
    """Means over answers, and how many of them repeat another one of their prompt."""
    distinct = {(answer["prompt_id"], answer["text"].strip()) for answer in answers}
    return {
        "response/length": sum(answer["tokens"] for answer in answers) / len(answers),
        "response/eos_rate": sum(answer["ended"] for answer in answers) / len(answers),
        "response/duplicates": float(len(answers) - len(distinct)),
    }


def show_samples(step: int, answers: Sequence[Answer], before: int, config: SampleConfig, work: Workspace) -> None:
    """Show the first answer to the first `sample_count` prompts; `before` answers were drawn in earlier batches."""
    left = max(0, config.sample_count - before // config.samples_per_prompt)
    for answer in answers[:: config.samples_per_prompt][:left]:
        work.sample(step, answer["prompt"], answer["text"], tokens=answer["tokens"], ended=answer["ended"])
