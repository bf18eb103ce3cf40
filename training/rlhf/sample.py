"""Answers to prompts, K to each, for people to rank; of one policy, or of several mixed.

Each answer has a seed of its own, made of the run's seed, the prompt's id and the answer's index, so that it can be
drawn again. Two answers of a prompt that read the same teach nothing when ranked, whichever policy wrote them: the
later one is drawn anew, a bounded number of times. Policies answer one after the other; one is in memory at a time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from training.rlhf.config import POLICIES, ConfigError, SampleConfig
from training.rlhf.errors import DataError
from training.rlhf.generate import Decoding, derive_seed, generate
from training.rlhf.model import fit_to_tokenizer, load_policy
from training.rlhf.numerics import autocast
from training.rlhf.rollouts import Prompt, read_prompts
from training.rlhf.tokens import check_same_tokens, context_limit, decode_response, load_tokenizer
from training.rlhf.workspace import StepMetrics, Workspace

Answer = dict[str, Any]  # one line of responses.jsonl


@dataclass(frozen=True)
class Place:
    """One answer that is wanted."""

    prompt: Prompt
    index: int
    """0..K-1 among the answers to its prompt."""

    temperature: float


class Batch(NamedTuple):
    """Answers that one policy draws together."""

    policy: str
    places: list[Place]
    """Prompt by prompt."""


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
    """Answer the rows of `prompts` with `policy`, and with `policy_2` to `policy_4` where they are given; a step is a
    batch of prompts of one policy."""
    names = [name for name in POLICIES if name == "policy" or name in work.inputs]
    tokenizer = load_tokenizer(work.input("policy"))
    for name in names[1:]:
        check_same_tokens(tokenizer, load_tokenizer(work.input(name)), "policy", name.replace("_", " "))
    configs = [AutoConfig.from_pretrained(work.input(name), local_files_only=True) for name in names]
    limit = min(context_limit(each, config.context_length) for each in configs)
    prompts = read_prompts(work, "prompts", tokenizer, limit, config.max_new_tokens, unique=False)
    if not prompts:
        raise DataError("no prompt is left to answer; the data events say why each was left out")
    batches = plan(prompts, names, config, work.seed)
    collected = Collected()
    start = work.resume({"collected": collected}, total_steps=len(batches))

    policy: PreTrainedModel | None = None
    loaded = ""
    for step in range(start + 1, len(batches) + 1):
        began = time.perf_counter()
        batch = batches[step - 1]
        if policy is None or loaded != batch.policy:
            policy = None  # the one before makes room first
            policy, loaded = load_policy(work.input(batch.policy), work.numerics), batch.policy
            fit_to_tokenizer(policy, tokenizer)
        answers = answer_batch(policy, tokenizer, batch, collected.answers, config, work)
        show_samples(step, answers, collected.answers, config, work)
        collected.batches.append(answers)
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


# Who answers what


def plan(prompts: Sequence[Prompt], names: Sequence[str], config: SampleConfig, seed: int) -> list[Batch]:
    """All answers that are wanted, policy by policy; prompts of like length together, so many that their answers fit
    `batch_tokens`, longest first. Raises ConfigError for a mix or temperatures that do not fit the policies."""
    shares = {prompt.id: shares_of(prompt.id, len(names), config, seed) for prompt in prompts}
    temperatures = temperatures_of(len(names), config)
    order = sorted(prompts, key=lambda prompt: -len(prompt.ids))
    batches: list[Batch] = []
    for number, name in enumerate(names):
        asked = [prompt for prompt in order if shares[prompt.id][number]]
        most = max((shares[prompt.id][number] for prompt in asked), default=1)
        at = 0
        while at < len(asked):
            longest = len(asked[at].ids) + config.max_new_tokens
            room = max(1, config.batch_tokens // (longest * most))
            places = [
                Place(
                    prompt,
                    sum(shares[prompt.id][:number]) + turn,
                    temperatures[number][turn % len(temperatures[number])],
                )
                for prompt in asked[at : at + room]
                for turn in range(shares[prompt.id][number])
            ]
            batches.append(Batch(name, places))
            at += room
    return batches


def shares_of(prompt_id: str, count: int, config: SampleConfig, seed: int) -> list[int]:
    """How many of a prompt's K answers each of `count` policies gives: by the mix, or evenly; what is left over goes to
    policies that take turns over prompts."""
    if config.mix.strip():
        shares = config.shares()
        if len(shares) != count:
            raise ConfigError(f"mix has {len(shares)} numbers, and there are {count} policies; give one for each")
        return shares
    first = derive_seed(seed, "mix", prompt_id) % count
    extra = {(first + turn) % count for turn in range(config.samples_per_prompt % count)}
    return [config.samples_per_prompt // count + (number in extra) for number in range(count)]


def temperatures_of(count: int, config: SampleConfig) -> list[list[float]]:
    """The temperatures that each policy's answers to a prompt take in turn."""
    lists = config.temperature_lists() or [[config.temperature]]
    if len(lists) not in (1, count):
        raise ConfigError(
            f"temperatures has {len(lists)} lists, and there are {count} policies; give one, or one for each"
        )
    return lists * count if len(lists) == 1 else lists


# Drawing them


def answer_batch(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Batch,
    before: Sequence[Answer],
    config: SampleConfig,
    work: Workspace,
) -> list[Answer]:
    """The answers of a batch, in its order; those that repeat one of their prompt are drawn anew. `before` are the
    answers of earlier batches, of other policies to the same prompts perhaps."""
    asked = {place.prompt.id for place in batch.places}
    taken = {(answer["prompt_id"], answer["text"].strip()) for answer in before if answer["prompt_id"] in asked}
    answers: dict[int, Answer] = {}
    for attempt in range(config.retries + 1):
        found = repeats(answers, taken)
        missing = [number for number in range(len(batch.places)) if number not in answers or number in found]
        if not missing:
            break
        drawn = draw(
            policy, tokenizer, batch.policy, [batch.places[number] for number in missing], attempt, config, work
        )
        answers.update(zip(missing, drawn, strict=True))
    return [answers[number] for number in range(len(batch.places))]


def draw(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    places: Sequence[Place],
    attempt: int,
    config: SampleConfig,
    work: Workspace,
) -> list[Answer]:
    """One answer for each place; places of one temperature are decoded together."""
    answers: dict[int, Answer] = {}
    for temperature in sorted({place.temperature for place in places}):
        chosen = [number for number, place in enumerate(places) if place.temperature == temperature]
        # By what is asked, not by the row's id, which is made anew with each import of the same prompts.
        seeds = [derive_seed(work.seed, "sample", places[n].index, attempt, *places[n].prompt.ids) for n in chosen]
        decoding = Decoding(max_new_tokens=config.max_new_tokens, temperature=temperature, top_p=config.top_p)
        with autocast(work.numerics):
            responses = generate(
                policy,
                [places[number].prompt.ids for number in chosen],
                seeds,
                decoding,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                batch_tokens=config.batch_tokens,
                heartbeat=lambda: work.pause_point("generating"),
            )
        for row, number in enumerate(chosen):
            answers[number] = {
                "prompt_id": places[number].prompt.id,
                "prompt": places[number].prompt.messages,
                "index": places[number].index,
                "policy": name,
                "text": decode_response(tokenizer, responses.tokens(row)),
                "tokens": int(responses.lengths[row]),
                "ended": bool(responses.ended[row]),
                "logprob": float(responses.logprobs[row].sum()),
                "seed": seeds[row],
                "decoding": {
                    "temperature": temperature,
                    "top_p": config.top_p,
                    "max_new_tokens": config.max_new_tokens,
                },
            }
    return [answers[number] for number in range(len(places))]


def repeats(answers: Mapping[int, Answer], taken: set[tuple[str, str]]) -> set[int]:
    """The numbers of answers whose text an earlier one of the same prompt has; `taken` holds (prompt id, text) of those
    that came before all of them."""
    seen = set(taken)
    found = set()
    for number, answer in sorted(answers.items()):
        text = (answer["prompt_id"], answer["text"].strip())
        if text in seen:
            found.add(number)
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


def show_samples(
    step: int, answers: Sequence[Answer], before: Sequence[Answer], config: SampleConfig, work: Workspace
) -> None:
    """Show the first answer to the first `sample_count` prompts that are answered."""
    known = {answer["prompt_id"] for answer in before}
    for answer in answers:
        if answer["prompt_id"] not in known and len(known) < config.sample_count:
            work.sample(step, answer["prompt"], answer["text"], tokens=answer["tokens"], ended=answer["ended"])
        known.add(answer["prompt_id"])
