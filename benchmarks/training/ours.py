"""One measurement of our side: a stage from a run.json, as `python -m training.rlhf` runs it, or the sampler.

A short run warms the process up; then a whole pass over the rows is timed, from the stage's `started` event to its last
step: tokens that all rows hold, over seconds.
"""

from __future__ import annotations

import gc
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
from training.rlhf.generate import Decoding, generate
from training.rlhf.model import load_policy
from training.rlhf.numerics import apply_numerics, autocast, settled
from training.rlhf.tokens import encode_prompt
from training.rlhf.workspace import Workspace

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
    run_stage("sft", config, inputs | {"train": spec["warm_rows"]}, spec, numerics)
    seconds, _ = run_stage("sft", config, inputs, spec, numerics)
    counts = token_counts(spec["policy"], read_rows(Path(spec["rows"])))
    return {"rate": sum(counts) / seconds, "seconds": seconds, "tokens": sum(counts), "rows": len(counts)}


def rankings(spec: dict[str, Any], numerics: dict[str, Any]) -> dict[str, Any]:
    """Rankings a second of the reward model over one pass."""
    config = {**QUIET, "batch_size": spec["batch"], "epochs": 1, **spec["mode"].get("config", {})}
    inputs = {"policy": spec["policy"], "train": spec["rows"]}
    run_stage("reward", config, inputs | {"train": spec["warm_rows"]}, spec, numerics)
    seconds, _ = run_stage("reward", config, inputs, spec, numerics)
    rows = read_rows(Path(spec["rows"]))
    counts = token_counts(spec["policy"], answers_of(rows))
    return {"rate": len(rows) / seconds, "seconds": seconds, "tokens": sum(counts), "rows": len(counts)}


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
    _, stamps = run_stage("ppo", config, inputs, spec, numerics)
    seconds = stamps[-1] - stamps[0]
    return {"rate": spec["episodes"] * (len(stamps) - 1) / seconds, "seconds": seconds}


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
) -> tuple[float, list[float]]:
    """(seconds from the start of training to the last step, the clock at each step) of one run."""
    output = Path(spec["scratch"]) / f"ours-{os.getpid()}-{stage}"
    run = {
        "stage": stage,
        "seed": 1,
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
    gc.collect()  # a core ends with its run; here the next one begins, beside a model that lives in cycles
    return stamps[-1] - started, stamps


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
