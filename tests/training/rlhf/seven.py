"""Tiny models of the seven families in float64, without files: for tests that compare states and gradients closely."""

from __future__ import annotations

from typing import Any

import torch
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
    Qwen2Config,
    Qwen3Config,
)

from tests.training.rlhf.tiny import widen

SEVEN = ("gpt2", "llama", "qwen2", "qwen3", "gemma2", "gemma3", "mistral")
WINDOW = 6
VOCABULARY = 61


def small_config(family: str, **more: Any) -> PreTrainedConfig:
    """Grouped heads, windows shorter than the texts, caps low enough to bite."""
    common = {"vocab_size": VOCABULARY, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1, **more}
    if family == "gpt2":
        return GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=96, **common)
    common |= {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    common |= {"intermediate_size": 24, "max_position_embeddings": 96}
    mixed = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
    match family:
        case "llama":
            return LlamaConfig(**common)
        case "qwen2":
            return Qwen2Config(**common)
        case "qwen3":
            return Qwen3Config(head_dim=8, use_sliding_window=True, **mixed, **common)
        case "mistral":
            return MistralConfig(sliding_window=WINDOW, **common)
        case "gemma3":
            return Gemma3TextConfig(head_dim=8, query_pre_attn_scalar=16, **mixed, **common)
        case "gemma2":
            caps = {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0, "query_pre_attn_scalar": 16}
            return Gemma2Config(head_dim=8, **caps, **mixed, **common)
    raise ValueError(family)


def small_policy(family: str) -> PreTrainedModel:
    """Weights wide enough that what a token attends to matters."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(small_config(family))
    widen(model, 0.3)
    return model.double().eval()


def small_reward_network(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(small_config(family, num_labels=1))
    widen(model, 0.3)
    return model.double().eval()


def tokens(count: int, seed: int) -> list[int]:
    """Ids that are neither pad nor EOS."""
    drawn: list[int] = torch.randint(2, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return drawn


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
