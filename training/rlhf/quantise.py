"""QLoRA's base (arXiv:2305.14314): the linear layers of a frozen trunk in 4 bits, by bitsandbytes, on a GPU.

A weight becomes NF4 codes in blocks of 64 with a scale each, the scales in 8 bits ("double quantisation"): 4.13 bits a
weight. Forward passes turn it back, so what the trunk computes is what its 4 bits say, and what is published is that
plus the adapter, in float32.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.rlhf.config import ConfigError, Numerics
from training.rlhf.numerics import device_of


def check_quantisable(numerics: Numerics) -> None:
    """Raise ConfigError, in words, where there is no GPU or no bitsandbytes."""
    if device_of(numerics).type != "cuda":
        raise ConfigError("quantise_base needs a GPU, and this run computes on the CPU; set it to false")
    if find_spec("bitsandbytes") is None:
        raise ConfigError("quantise_base needs bitsandbytes; install it: pip install -r requirements-gpu.txt")


def quantise(network: PreTrainedModel, numerics: Numerics) -> None:
    """Turn the linear layers of the trunk into 4 bits where they are; heads, embeddings and norms stay as they are."""
    import bitsandbytes

    trunk = network.base_model
    compute = torch.bfloat16 if numerics.dtype == "bfloat16" else torch.float32
    for name, layer in list(trunk.named_modules()):
        if type(layer) is not nn.Linear:
            continue
        device = layer.weight.device
        small = bitsandbytes.nn.Linear4bit(
            layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=compute, quant_type="nf4"
        )
        small.weight = bitsandbytes.nn.Params4bit(layer.weight.detach(), requires_grad=False, quant_type="nf4")
        small.bias = layer.bias
        parent, _, leaf = name.rpartition(".")
        setattr(trunk.get_submodule(parent), leaf, small.to(device))  # moving it is what quantises


def is_quantised(network: PreTrainedModel) -> bool:
    return any(getattr(weight, "quant_state", None) is not None for weight in network.base_model.parameters())


def full_weight(weight: Tensor) -> Tensor:
    """A weight as numbers: itself, or what its 4 bits say."""
    state: Any = getattr(weight, "quant_state", None)
    if state is None:
        return weight.detach()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.detach(), state).to(state.dtype)


def unquantised(layer: Any) -> Any:
    """A plain linear layer of the same shape and bias in place of one in 4 bits; another layer as it is."""
    if getattr(layer.weight, "quant_state", None) is None:
        return layer
    plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    plain.bias = layer.bias
    return plain
