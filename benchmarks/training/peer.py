"""One measurement of the peer: TRL's SFTTrainer, RewardTrainer or PPOTrainer, or transformers' own generate.

Runs in the peer's environment, so it imports nothing of ours but this folder. The first steps warm up and are left out;
then steps are timed until `seconds` have passed or the rows are through: real tokens (padding does not count) over
seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset  # type: ignore[import-untyped]
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    TrainerCallback,
)
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer
from trl.experimental.ppo import PPOConfig, PPOTrainer

from benchmarks.training.process import PeakMemory, child_main

SLOW_STEP_SECONDS = 20.0
SIDES = ("chosen", "rejected")


class Clock(TrainerCallback):
    """Counts real tokens and stamps each optimiser step; stops the trainer when it has measured long enough.

    The first step warms up and does not count, unless it alone takes so long that warming up is nothing beside it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.tokens = 0
        self.stamps: list[tuple[float, int]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.stamps.append((time.perf_counter(), 0))

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.stamps.append((time.perf_counter(), self.tokens))
        if (len(self.stamps) > 2 or self.slow) and self.measured_seconds() >= self.seconds:
            control.should_training_stop = True

    @property
    def slow(self) -> bool:
        return self.stamps[1][0] - self.stamps[0][0] > SLOW_STEP_SECONDS

    @property
    def first(self) -> int:
        """The stamp from which on is measured; a run of one step has no other."""
        return 0 if self.slow or len(self.stamps) == 2 else 1

    def steps(self) -> int:
        return len(self.stamps) - 1 - self.first

    def measured_seconds(self) -> float:
        return self.stamps[-1][0] - self.stamps[self.first][0]

    def measured_tokens(self) -> int:
        return self.stamps[-1][1] - self.stamps[self.first][1]

    def watch(self, model: Any) -> None:
        """Count at each forward of the model, not in the collator, which runs a batch ahead."""
        model.register_forward_pre_hook(self.see, with_kwargs=True)

    def see(self, model: Any, given: Any, named: dict[str, Any]) -> None:
        mask = named.get("attention_mask")
        self.tokens += int(mask.sum()) if mask is not None else named["input_ids"].numel()


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    memory = PeakMemory(spec["device"])
    torch.set_num_threads(spec["threads"])
    torch.set_float32_matmul_precision(spec["mode"].get("matmul", "highest"))  # highest is torch's own default
    record = {"sft": supervised, "reward": rankings, "ppo": ppo, "generate": generation}[spec["stage"]](spec)
    versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    return {**record, "peak_mib": memory.mib(), "versions": versions}


def arguments(spec: dict[str, Any]) -> dict[str, Any]:
    """What every trainer is given: where to write, the batch, silence; the mode's own settings over it."""
    return {
        "output_dir": spec["scratch"],
        "per_device_train_batch_size": spec["batch"],
        "num_train_epochs": 1,
        "use_cpu": spec["device"] == "cpu",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "seed": 1,
        "dataloader_pin_memory": spec["device"] == "cuda",
        **spec["mode"].get("arguments", {}),
    }


def supervised(spec: dict[str, Any]) -> dict[str, Any]:
    clock = Clock(spec["seconds"])
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(spec["policy"], dtype=torch.float32),
        args=SFTConfig(**arguments(spec)),
        train_dataset=Dataset.from_list(rows_of(spec["rows"])),
        processing_class=PreTrainedTokenizerFast.from_pretrained(spec["policy"]),
        callbacks=[clock],
    )
    clock.watch(trainer.model)
    trainer.train()
    return result(clock, clock.measured_tokens() / clock.measured_seconds())


def rankings(spec: dict[str, Any]) -> dict[str, Any]:
    """Rankings a second: pairs' tokens a second over the tokens of a ranking's pairs, whatever pairs were drawn."""
    clock = Clock(spec["seconds"])
    tokenizer = PreTrainedTokenizerFast.from_pretrained(spec["policy"])
    rows = rows_of(spec["pairs"])
    if spec["mode"].get("lengths"):  # RewardTrainer drops the column that group_by_length needs, unless told not to
        for row in rows:
            texts = [tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False) for side in SIDES]
            row["length"] = max(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])
    model = AutoModelForSequenceClassification.from_pretrained(spec["policy"], num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(**arguments(spec)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    a_ranking = (
        sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in trainer.train_dataset) / spec["rankings"]
    )
    clock.watch(trainer.model)
    trainer.train()
    return result(clock, clock.measured_tokens() / clock.measured_seconds() / a_ranking)


def ppo(spec: dict[str, Any]) -> dict[str, Any]:
    """Episodes a second over the updates behind the first."""
    clock = Clock(float("inf"))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(spec["policy"], padding_side="left")
    prompts = [
        tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True) for row in rows_of(spec["rows"])
    ]
    dtype = torch.bfloat16 if spec["mode"].get("weights") == "bfloat16" else torch.float32
    policies = [AutoModelForCausalLM.from_pretrained(spec["policy"], dtype=dtype) for _ in range(2)]
    scorers = [
        AutoModelForSequenceClassification.from_pretrained(spec["reward_model"], num_labels=1, dtype=dtype)
        for _ in range(2)
    ]
    settings = arguments(spec)
    settings |= {
        "gradient_accumulation_steps": spec["episodes"] // settings["per_device_train_batch_size"],
        "total_episodes": spec["episodes"] * spec["updates"],
        "num_ppo_epochs": spec["epochs"],
        "response_length": spec["new_tokens"],
        "temperature": spec["temperature"],
        "num_sample_generations": 0,
    }
    trainer = PPOTrainer(
        args=PPOConfig(**settings),
        processing_class=tokenizer,
        model=policies[0],
        ref_model=policies[1],
        reward_model=scorers[0],
        value_model=scorers[1],
        train_dataset=Dataset.from_list([{"input_ids": ids_of(prompt)} for prompt in prompts]),
        callbacks=[clock],
    )
    trainer.train()
    return result(clock, spec["episodes"] * clock.steps() / clock.measured_seconds())


def generation(spec: dict[str, Any]) -> dict[str, Any]:
    """New tokens a second of transformers' generate; what follows an answer's EOS does not count."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(spec["policy"], padding_side="left")
    dtype = torch.bfloat16 if spec["mode"].get("weights") == "bfloat16" else torch.float32
    prompts = [
        tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True) for row in rows_of(spec["rows"])
    ]
    prompts = [ids_of(prompt) for prompt in prompts]
    even, uneven = (
        AutoModelForCausalLM.from_pretrained(spec[name], dtype=dtype).to(spec["device"]).eval()
        for name in ("policy", "uneven")
    )
    rates = {}
    for batch in spec["batches"]:
        decode(even, tokenizer, prompts[:batch], 4, None, spec)  # warms up
        rates[f"batch {batch}"] = decode(even, tokenizer, prompts[:batch], spec["new_tokens"], None, spec)
    most, end = max(spec["batches"]), tokenizer.eos_token_id
    rates[f"batch {most} uneven"] = decode(uneven, tokenizer, prompts[:most], spec["uneven_tokens"], end, spec)
    return {"rates": rates}


def decode(
    model: Any, tokenizer: Any, prompts: list[list[int]], room: int, eos: int | None, spec: dict[str, Any]
) -> float:
    """New tokens a second; without an `eos` every answer has `room` tokens."""
    model.generation_config.eos_token_id = eos
    torch.manual_seed(1)
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(spec["device"])
    wait_for_device(spec)
    began = time.perf_counter()
    with torch.inference_mode():
        found = model.generate(
            **batch,
            max_new_tokens=room,
            do_sample=True,
            temperature=spec["temperature"],
            top_k=0,
            top_p=1.0,
            pad_token_id=tokenizer.pad_token_id,
        )
    wait_for_device(spec)
    seconds = time.perf_counter() - began
    answers = found[:, batch["input_ids"].shape[1] :]
    if eos is None:
        return int(answers.numel()) / seconds
    before_end = (answers == eos).int().cumsum(dim=1) - (answers == eos).int() == 0
    return int(before_end.sum()) / seconds


def wait_for_device(spec: dict[str, Any]) -> None:
    if spec["device"] == "cuda":
        torch.cuda.synchronize()


def ids_of(encoded: Any) -> list[int]:
    """The ids of what a chat template gave: a list, or in newer versions an object that holds one."""
    return list(encoded if isinstance(encoded, list) else encoded["input_ids"])


def rows_of(path: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in Path(path).read_text(encoding="utf-8").splitlines() if text]


def result(clock: Clock, rate: float) -> dict[str, Any]:
    return {"rate": rate, "seconds": clock.measured_seconds(), "steps": clock.steps()}


if __name__ == "__main__":
    print(f"trl {trl.__version__}, torch {torch.__version__}", file=sys.stderr)
    child_main(measure)
