"""Tiny models and worlds for the tests of generation, PPO and sampling: made on the spot, a few thousand weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

FAMILIES = ("llama", "gpt2", "qwen2")
ALL_FAMILIES = (*FAMILIES, "qwen3", "mistral", "gemma2", "gemma3")
WINDOW = 6  # tokens that the sliding layers of Mistral and Gemma see
WORDS = ["<pad>", "<eos>", "User:", "Assistant:", "System:", *"abcdefghijklmnopqrs"]
PAD, EOS = 0, 1
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }} "
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of 24 words, split at spaces."""
    raw = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="s"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<eos>", pad_token="<pad>", chat_template=TEMPLATE, padding_side="right"
    )
    return tokenizer


def tiny_config(family: str, **changes: Any) -> PreTrainedConfig:
    common = {"vocab_size": len(WORDS), "pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": EOS, **changes}
    if family == "gpt2":
        return GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=48, **common)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    shape |= {"num_key_value_heads": 1, "max_position_embeddings": 48}
    if family == "mistral":
        return MistralConfig(sliding_window=WINDOW, **shape, **common)
    if family in ("qwen3", "gemma2", "gemma3"):
        shape["head_dim"] = 8
    if family in ("gemma2", "gemma3"):
        shape |= {"sliding_window": WINDOW, "query_pre_attn_scalar": 8}
        shape |= {"layer_types": ["sliding_attention", "full_attention"]}
    if family == "gemma2":  # caps low enough that they bend
        return Gemma2Config(attn_logit_softcapping=2.0, final_logit_softcapping=3.0, **shape, **common)
    configs = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "gemma3": Gemma3TextConfig}
    return configs[family](**shape, **common)


def tiny_policy(family: str = "llama", seed: int = 0, spread: float = 0.4) -> PreTrainedModel:
    """A policy with weights wide enough that its distribution is far from flat."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family))
    widen(model, spread)
    return model.eval()


def tiny_reward_network(family: str = "llama", seed: int = 1, spread: float = 0.4) -> PreTrainedModel:
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family, num_labels=1))
    widen(model, spread)
    return model.eval()


def widen(model: PreTrainedModel, spread: float) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() >= 2:
                weight.normal_(0.0, spread)


def save_world(folder: Path, family: str = "llama", shift: float = 0.25) -> dict[str, Path]:
    """A policy, a reward model with a shift, and prompts, written as the stages read them."""
    tokenizer = tiny_tokenizer()
    policy, reward = tiny_policy(family), tiny_reward_network(family)
    reward.config.reward_shift = shift
    for name, model in {"policy": policy, "reward_model": reward}.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    letters = WORDS[5:]
    texts = [" ".join(letters[(i + j) % len(letters)] for j in range(1 + i % 5)) for i in range(40)]
    write_prompts(folder / "train.jsonl", texts[:30])
    write_prompts(folder / "validation.jsonl", texts[30:])
    return {
        "policy": folder / "policy",
        "reference": folder / "policy",
        "reward_model": folder / "reward_model",
        "train": folder / "train.jsonl",
        "validation": folder / "validation.jsonl",
    }


def write_prompts(path: Path, texts: list[str]) -> None:
    rows = [{"id": f"p{i}", "prompt": [{"role": "user", "content": text}]} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run_json(stage: str, inputs: dict[str, Path], output: Path, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "stage": stage,
        "seed": 7,
        "config": config,
        "inputs": {name: {"path": str(path), "sha256": ""} for name, path in inputs.items()},
        "resume": None,
        "output": str(output),
        "numerics": {"device": "cpu", "threads": 1, "dtype": "float32"},
        **more,
    }


def events(output: Path, kind: str | None = None) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (output / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if kind is None or line["event"] == kind]
