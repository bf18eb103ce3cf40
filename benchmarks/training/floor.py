"""The floor under a stage: bare forward and backward of the passes that it cannot do without, and nothing else.

As many tokens as the rows hold, in sequences of one length (their mean), so that there is no padding; through
transformers' own model class; no data, no optimiser, no metrics. SFT: one pass each, the head on the share of tokens
that are learned. Rankings: each answer once, behind its prompt. PPO: policy, reference, value and reward model look
once, then policy and value are trained on in each epoch; sampling is added as our sampler takes it, since that has a
line of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as functional
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from benchmarks.training import ours
from benchmarks.training.assets import read_rows
from benchmarks.training.process import PeakMemory, child_main
from training.rlhf.config import Numerics, numerics_from_dict
from training.rlhf.numerics import apply_numerics, autocast, settled

PASS_TOKENS = 2048  # in one pass: enough to fill the cores, little enough for their caches


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    memory = PeakMemory(spec["device"])
    numerics = {"device": spec["device"], "threads": spec["threads"], **spec["mode"].get("numerics", {})}
    settings = settled(numerics_from_dict(numerics))
    apply_numerics(settings, seed=0)
    rate = {"sft": supervised, "reward": rankings, "ppo": ppo}[spec["stage"]](spec, settings)
    return {"rate": rate, "peak_mib": memory.mib(), "versions": {"torch": torch.__version__}}


def supervised(spec: dict[str, Any], settings: Numerics) -> float:
    rows = read_rows(Path(spec["rows"]))
    lengths = ours.token_counts(spec["policy"], rows)
    prompts = ours.token_counts(spec["policy"], [{**row, "completion": []} for row in rows])
    model = AutoModelForCausalLM.from_pretrained(spec["policy"], dtype=torch.float32).to(spec["device"])
    share = 1 - sum(prompts) / sum(lengths)
    return sum(lengths) / seconds_of(lengths, lambda ids: policy_pass(model, ids, share, settings), spec)


def rankings(spec: dict[str, Any], settings: Numerics) -> float:
    rows = read_rows(Path(spec["rows"]))
    lengths = ours.token_counts(spec["policy"], ours.answers_of(rows))
    model = scorer(spec["policy"], spec)
    return len(rows) / seconds_of(lengths, lambda ids: score_pass(model, ids, settings), spec)


def ppo(spec: dict[str, Any], settings: Numerics) -> float:
    """Episodes a second."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(spec["policy"])
    prompts = [ours.encode_prompt(tokenizer, row["prompt"]) for row in read_rows(Path(spec["rows"]))][
        : spec["episodes"]
    ]
    policy = AutoModelForCausalLM.from_pretrained(spec["policy"], dtype=torch.float32).to(spec["device"]).eval()
    value = scorer(spec["reward_model"], spec)
    lengths = [len(prompt) + spec["new_tokens"] for prompt in prompts]
    share = spec["new_tokens"] / mean(lengths)
    ours.decode(policy, prompts[:8], 4, -1, settings, spec)
    sampling = len(prompts) * spec["new_tokens"] / ours.decode(policy, prompts, spec["new_tokens"], -1, settings, spec)

    def look(ids: torch.Tensor) -> None:
        with torch.no_grad():
            for _ in range(2):
                policy_loss(policy, ids, share, settings)
                score_loss(value, ids, settings)

    def train(ids: torch.Tensor) -> None:
        policy_pass(policy, ids, share, settings)
        score_pass(value, ids, settings)

    looking, training = (seconds_of(lengths, work, spec) for work in (look, train))
    return len(prompts) / (sampling + looking + spec["epochs"] * training)


def seconds_of(lengths: list[int], work: Callable[[torch.Tensor], None], spec: dict[str, Any]) -> float:
    """Seconds of `work` over as many tokens as `lengths` add up to; measured on passes until `seconds` are through."""
    length = round(mean(lengths))
    ids = torch.randint(3, 8000, (max(1, PASS_TOKENS // length), length), device=spec["device"])
    work(ids)
    passes = 0
    ours.wait_for_device(spec)
    began = time.perf_counter()
    while passes < 2 or time.perf_counter() - began < spec["seconds"]:
        work(ids)
        passes += 1
    ours.wait_for_device(spec)
    return (time.perf_counter() - began) * sum(lengths) / (passes * ids.numel())


def policy_loss(model: Any, ids: torch.Tensor, share: float, settings: Numerics) -> torch.Tensor:
    """Mean cross-entropy (nats) of the last `share` of the tokens of each sequence; the head runs on these alone."""
    learned = max(1, round(share * ids.shape[1]))
    with autocast(settings):
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=learned).logits
    return functional.cross_entropy(logits.float().flatten(0, 1), ids[:, -learned:].flatten())


def score_loss(model: Any, ids: torch.Tensor, settings: Numerics) -> torch.Tensor:
    with autocast(settings):
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return model.score(hidden.float()).mean()


def policy_pass(model: Any, ids: torch.Tensor, share: float, settings: Numerics) -> None:
    policy_loss(model, ids, share, settings).backward()
    model.zero_grad(set_to_none=True)


def score_pass(model: Any, ids: torch.Tensor, settings: Numerics) -> None:
    score_loss(model, ids, settings).backward()
    model.zero_grad(set_to_none=True)


def scorer(folder: str, spec: dict[str, Any]) -> Any:
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    return model.to(spec["device"]).eval()


if __name__ == "__main__":
    child_main(measure)
