"""A small world for the tests of pretraining, SFT and reward models: rows, models of three families, runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from training.rlhf.__main__ import run_stage

ROOT = Path(__file__).resolve().parents[3]
FAMILIES = ("llama", "gpt2", "qwen2")
COLOURS = ("red", "blue", "green", "white")
THINGS = ("door", "boat", "lamp", "house", "tree")


def byte_tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of 256 bytes and EOS, as a plain base model has it: no pad token, and a template only if given."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(alphabet)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>", clean_up_tokenization_spaces=False)
    tokenizer.chat_template = template
    return tokenizer


def make_base(folder: Path, family: str = "llama", context: int = 96, dropout: float = 0.0) -> Path:
    """A base model with random weights and the byte tokenizer, as somebody else would have saved it."""
    torch.manual_seed(0)
    common = {"vocab_size": 257, "eos_token_id": 256, "bos_token_id": None, "tie_word_embeddings": True}
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"max_position_embeddings": context, "attention_dropout": dropout}
    if family == "gpt2":
        parts = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": context}
        rates = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
        model = GPT2LMHeadModel(GPT2Config(**parts, **rates, **common))
    elif family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=1, **shape, **common))
    else:
        model = LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, **shape, **common))
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def texts(count: int) -> list[str]:
    return [f"The {THINGS[i % 5]} is {COLOURS[i % 4]}, says {'Ann' if i % 3 else 'Bo'} {i}." for i in range(count)]


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def demonstrations(count: int) -> list[dict[str, Any]]:
    rows = []
    for i in range(count):
        thing, colour = THINGS[i % 5], COLOURS[i % 4]
        completion = f"The {thing} is {colour}." + " Yes." * (i % 3)
        rows.append({"id": f"d{i}", "prompt": user(f"Which {thing}{i}?"), "completion": assistant(completion)})
    return rows


def rankings(count: int) -> list[dict[str, Any]]:
    """Answers that say a colour are better than those that do not; K goes from 2 to 4, some answers tie."""
    rows = []
    for i in range(count):
        thing = THINGS[i % 5]
        contents = [f"The {thing} is {COLOURS[i % 4]}.", "no idea", "no", "hm"][: 2 + i % 3]
        ranks = [1, 2, 2, 3][: len(contents)]
        completions = [{"id": f"r{i}-{j}", "content": content} for j, content in enumerate(contents)]
        rows.append({"id": f"k{i}", "prompt": user(f"Which {thing}?"), "completions": completions, "ranks": ranks})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def run_json(
    stage: str, inputs: dict[str, Path], output: Path, config: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    given = {name: {"path": str(path), "sha256": ""} for name, path in inputs.items()}
    numerics = {"device": "cpu", "threads": 1, "dtype": "float32"}
    run = {"version": 1, "stage": stage, "seed": 7, "config": config or {}, "inputs": given}
    return {**run, "resume": None, "output": str(output), "numerics": numerics, **more}


def run_here(run: dict[str, Any]) -> int:
    """Run a stage in this process; returns its exit code."""
    return run_stage(run)


def start_process(run: dict[str, Any], **options: Any) -> subprocess.Popen[bytes]:
    """Run a stage as a researcher does, as a process of its own."""
    path = Path(run["output"]).parent / f"{Path(run['output']).name}.json"
    path.write_text(json.dumps(run))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("environment", {})}
    command = [sys.executable, "-m", "training.rlhf", run["stage"], "--config", str(path)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, **options)


def events(output: Path, kind: str | None = None) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (output / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if kind is None or line["event"] == kind]


def steps(output: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """(step, metrics) of a run, without those that depend on the clock."""
    for event in events(output, "metrics"):
        yield event["step"], {name: value for name, value in event["metrics"].items() if name != "tokens_per_second"}


def weights(output: Path) -> bytes:
    return (output / "model" / "model.safetensors").read_bytes()
