"""One measurement of our side: a stage from a run.json, as `python -m training.rlhf` runs it, or the sampler.

One run in a process, so that memory is a run's. Its first step warms up and is left out, as the peer's is; then all
others of one pass over the rows are timed: tokens that their rows hold, over seconds.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

# as in __main__ of the core; read when torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from transformers import PreTrainedTokenizerFast

from benchmarks.training.assets import read_rows
from benchmarks.training.process import PeakMemory, child_main
from training.rlhf.config import Numerics, numerics_from_dict
from training.rlhf.data import epoch_batches
from training.rlhf.generate import Decoding, generate
from training.rlhf.model import load_policy
from training.rlhf.numerics import apply_numerics, autocast, settled
from training.rlhf.sft import encode_demonstration
from training.rlhf.tokens import encode_prompt, load_tokenizer
from training.rlhf.workspace import Workspace

SEED = 1
QUIET = {"eval_every": 0, "checkpoint_every_seconds": 0, "schedule": "constant"}


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    if spec["stage"] != "generate":  # its imports are not to be counted
        importlib.import_module(f"training.rlhf.{spec['stage']}")
    memory = PeakMemory(spec["device"])
    numerics = {"device": spec["device"], "threads": spec["threads"], **spec["mode"].get("numerics", {})}
    stages = {"sft": supervised, "reward": rankings, "ppo": ppo, "generate": generation}
    record = stages[spec["stage"]](spec, numerics)
    return {**record, "peak_mib": memory.mib(), "versions": {"torch": torch.__version__}}


def supervised(spec: dict[str, Any], numerics: dict[str, Any]) -> dict[str, Any]:
    """Real tokens a second of SFT over one pass."""
    config = {**QUIET, "batch_size": spec["batch"], "epochs": 1, **spec["mode"].get("config", {})}
    inputs = {"policy": spec["policy"], "train": spec["rows"]}
    stamps = run_stage("sft", config, inputs, spec, numerics)
    tokenizer = load_tokenizer(spec["policy"])
    counts = [len(encode_demonstration(row, tokenizer).ids) for row in read_rows(Path(spec["rows"]))]
    batches = epoch_batches(counts, spec["batch"], SEED, epoch=0)
    rate = rate_of(stamps, [sum(counts[row] for row in batch) for batch in batches])
    return {"rate": rate, "seconds": sum(counts) / rate, "tokens": sum(counts), "rows": len(counts)}


def rankings(spec: dict[str, Any], numerics: dict[str, Any]) -> dict[str, Any]:
    """Rankings a second of the reward model over one pass."""
    config = {**QUIET, "batch_size": spec["batch"], "epochs": 1, **spec["mode"].get("config", {})}
    inputs = {"policy": spec["policy"], "train": spec["rows"]}
    stamps = run_stage("reward", config, inputs, spec, numerics)
    rows = read_rows(Path(spec["rows"]))
    counts = token_counts(spec["policy"], answers_of(rows))
    whole, rest = divmod(len(rows), spec["batch"])
    rate = rate_of(stamps, [spec["batch"]] * whole + [rest] * bool(rest))
    return {"rate": rate, "seconds": len(rows) / rate, "tokens": sum(counts), "rows": len(counts)}


def ppo(spec: dict[str, Any], numerics: dict[str, Any]) -> dict[str, Any]:
    """Episodes a second over the updates behind the first."""
    config = {
        **QUIET,
        "total_updates": spec["updates"],
        "rollouts_per_update": spec["episodes"],
        "minibatch_size": spec["episodes"],
        "ppo_epochs": spec["epochs"],
        "max_new_tokens": spec["new_tokens"],
        "temperature": spec["temperature"],
        "sample_every": 0,
        "sample_count": 0,
        **spec["mode"].get("config", {}),
    }
    inputs = {
        "policy": spec["policy"],
        "reference": spec["policy"],
        "reward_model": spec["reward_model"],
        "train": spec["rows"],
    }
    stamps = run_stage("ppo", config, inputs, spec, numerics)
    rate = rate_of(stamps, [spec["episodes"]] * spec["updates"])
    return {"rate": rate, "seconds": spec["episodes"] / rate}


def rate_of(stamps: list[float], amounts: list[int]) -> float:
    """What was done a second, given what each step did; the first step is left out where there are others."""
    first = min(1, len(amounts) - 1)
    return sum(amounts[first:]) / (stamps[-1] - stamps[first])


def generation(spec: dict[str, Any], numerics: dict[str, Any]) -> dict[str, Any]:
    """New tokens a second of the sampler, at each batch size, and with answers of uneven lengths at the last."""
    settings = settled(numerics_from_dict(numerics))
    apply_numerics(settings, seed=0)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(spec["policy"])
    prompts = [encode_prompt(tokenizer, row["prompt"]) for row in read_rows(Path(spec["rows"]))]
    rates = {}
    even, uneven = load_policy(spec["policy"], settings), load_policy(spec["uneven"], settings)
    for batch in spec["batches"]:
        decode(even, prompts[:batch], 4, -1, settings, spec)  # warms up
        rates[f"batch {batch}"] = decode(even, prompts[:batch], spec["new_tokens"], -1, settings, spec)
    most = max(spec["batches"])
    end = tokenizer.eos_token_id
    rates[f"batch {most} uneven"] = decode(uneven, prompts[:most], spec["uneven_tokens"], end, settings, spec)
    return {"rates": rates, "seconds": most * spec["new_tokens"] / rates[f"batch {most}"]}


def decode(
    model: Any, prompts: list[list[int]], room: int, eos: int, settings: Numerics, spec: dict[str, Any]
) -> float:
    """New tokens a second; an `eos` of -1 is never drawn, so that every answer has `room` tokens."""
    decoding = Decoding(max_new_tokens=room, temperature=spec["temperature"])
    wait_for_device(spec)
    began = time.perf_counter()
    with autocast(settings):
        answers = generate(
            model,
            prompts,
            list(range(len(prompts))),
            decoding,
            eos_token_id=eos,
            pad_token_id=0,
            batch_tokens=1_000_000,
        )
    wait_for_device(spec)
    return int(answers.lengths.sum()) / (time.perf_counter() - began)


def wait_for_device(spec: dict[str, Any]) -> None:
    if spec["device"] == "cuda":
        torch.cuda.synchronize()


def run_stage(
    stage: str, config: dict[str, Any], inputs: dict[str, str], spec: dict[str, Any], numerics: dict[str, Any]
) -> list[float]:
    """The clock at the start of one run's training, and at the end of each step."""
    output = Path(spec["scratch"]) / f"ours-{os.getpid()}-{stage}"
    run = {
        "stage": stage,
        "seed": SEED,
        "config": config,
        "inputs": {name: {"path": path, "sha256": ""} for name, path in inputs.items()},
        "output": str(output),
        "numerics": numerics,
    }
    work = Workspace.open(run)
    apply_numerics(work.numerics, work.seed)
    stamps = []
    steps = importlib.import_module(f"training.rlhf.{stage}").run(work.config, work)
    for done in steps:
        work.metrics(done.step, done.metrics)
        stamps.append(time.time())
        if done.step == work.total_steps:
            break  # what follows is writing the model, which is not training
    steps.close()
    events = [json.loads(line) for line in (output / "events.jsonl").read_text().splitlines()]
    started = next(event["time"] for event in events if event["event"] == "started")
    shutil.rmtree(output)
    return [started, *stamps]


def answers_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each answer of some rankings as a row of its own, behind its prompt."""
    return [
        {"prompt": row["prompt"], "completion": [{"role": "assistant", "content": answer["content"]}]}
        for row in rows
        for answer in row["completions"]
    ]


def token_counts(folder: str, rows: list[dict[str, Any]]) -> list[int]:
    """Tokens of each demonstration as the chat template writes it."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    texts = [tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False) for row in rows]
    return [len(tokenizer(text.rstrip(), add_special_tokens=False)["input_ids"]) for text in texts]


if __name__ == "__main__":
    child_main(measure)
