"""LoRA (arXiv:2106.09685): low-rank adapters, trained in place of the linear layers of a trunk, which stays frozen.

A layer with weight W gives x W^T + s (x A^T) B^T; A (r, in) and B (out, r) are trained, s = alpha / r. The layers are
peft's, and so is the format in which adapters are saved; peft is imported only where there is an adapter. A model has
one adapter at most, and it is always on: two models that share a trunk are two trees of modules over the same weights
(`twin`), so nothing is switched, and no model can be read with another's adapter or with none by accident.

What is published is merged, W + s B A, and opens like any other model; beside it lies `adapter/` with the hash of the
trunk that it belongs to. A reward model's head is trained in full.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from training.rlhf.config import ConfigError, FineTuningConfig, Numerics, TrainingConfig
from training.rlhf.model import RewardModel
from training.rlhf.quantise import check_quantisable, full_weight, is_quantised, quantise, unquantised

NAME = "trained"  # of the one adapter that a model may have, among peft's own names
FOLDER = "adapter"  # beside the merged weights
PREFIX = "base_model.model."  # of every name in peft's files


class Factors(NamedTuple):
    """What an adapter adds to the weight of a linear layer, up @ down, its scale included."""

    down: Tensor
    """(r, in)"""

    up: Tensor
    """(out, r)"""


Delta = dict[str, Factors]
"""By the name of the layer within the trunk."""


# Training


def prepare_training(
    model: nn.Module,
    config: TrainingConfig,
    numerics: Numerics,
    seed: int,
    *,
    folder: Path | None = None,
    start: Mapping[str, Factors] | None = None,
) -> None:
    """Make `model` (a policy or a reward model) ready to be trained as the config says.

    With a rank, its trunk is frozen and gets an adapter, which adds nothing yet, or what `start` says; of the rest a
    reward model's head is trained. Call it when the model is otherwise complete; `folder` is where it came from. Raises
    ConfigError for layers that are not there.
    """
    network = network_of(model)
    if isinstance(config, FineTuningConfig) and config.lora_rank:
        start = dict(start or {})
        if config.quantise_base and not is_quantised(network):
            start = quantise_beneath(network, folder, numerics)
        given = max((len(factors.down) for factors in start.values()), default=0)
        names = sorted({*target_names(network, config.lora_targets), *start})
        add_adapter(
            network, names, rank=max(config.lora_rank, given), scale=config.lora_scale, dropout=config.lora_dropout
        )
        set_adapter(network, start, seed)
        for name, weight in network.named_parameters():
            weight.requires_grad_("lora_" in name or name.startswith("score."))
    if config.gradient_checkpointing:
        recompute_layers(network)


def quantise_beneath(network: PreTrainedModel, folder: Path | None, numerics: Numerics) -> Delta:
    """Quantise a trunk without the adapter that was merged into it, which is returned: 4 bits would drown it.

    What is left is the trunk that the adapter was trained on, to rounding, and so it is in 4 bits.
    """
    check_quantisable(numerics)
    adapter = read_adapter(folder, network) if folder else None
    delta = adapter.delta if adapter else {}
    with torch.no_grad():
        for name, factors in delta.items():
            layer = network.base_model.get_submodule(name)
            layer.weight -= weight_of(factors, layer).to(layer.weight.device)
    quantise(network, numerics)
    return delta


class Trained:
    """The weights of a model that are trained: its part of a checkpoint. All of them where there is no adapter."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def state_dict(self) -> dict[str, Tensor]:
        if not has_adapter(network_of(self.model)):
            return dict(self.model.state_dict())
        return {name: weight.detach() for name, weight in self.model.named_parameters() if weight.requires_grad}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        wanted = self.state_dict()
        if wanted.keys() != state_dict.keys():
            apart = sorted(wanted.keys() ^ state_dict.keys())
            raise ValueError(f"it trains other weights, {apart[0]} for one")
        self.model.load_state_dict(dict(state_dict), strict=False)


def recompute_layers(network: PreTrainedModel) -> None:
    """Keep only what goes into each layer of the trunk; the rest is computed again on the way back.

    Only where gradients are recorded: sampling and validation are as they were, key-value cache included.
    """
    layers = [module for module in network.base_model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        layer.forward = functools.partial(_recomputed, layer)


def _recomputed(layer: nn.Module, *inputs: Any, **named: Any) -> Any:
    forward = functools.partial(type(layer).forward, layer)
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, **named)


# The layers


def network_of(model: nn.Module) -> PreTrainedModel:
    """The transformers model in a policy or a reward model."""
    network = model.network if isinstance(model, RewardModel) else model
    assert isinstance(network, PreTrainedModel)
    return network


def linear_names(network: PreTrainedModel) -> list[str]:
    """The linear layers of the trunk; heads and embeddings are none of it."""
    return [name for name, module in network.base_model.named_modules() if isinstance(module, (nn.Linear, Conv1D))]


def target_names(network: PreTrainedModel, targets: str) -> list[str]:
    """The linear layers that a setting names: all, or the last parts of names with commas between."""
    names = linear_names(network)
    wanted = {part.strip() for part in targets.split(",") if part.strip()}
    known = {name.rpartition(".")[2] for name in names}
    if wanted == {"all"}:
        return names
    if wanted - known:
        raise ConfigError(
            "%(name)s must be among this model's linear layers (%(known)s), got %(value)r",
            name="lora_targets",
            known=", ".join(sorted(known)),
            value=", ".join(sorted(wanted - known)),
        )
    return [name for name in names if name.rpartition(".")[2] in wanted]


def add_adapter(network: PreTrainedModel, names: list[str], *, rank: int, scale: float, dropout: float = 0.0) -> None:
    """Put an adapter on the named layers of the trunk."""
    from peft import LoraConfig, inject_adapter_in_model

    conv = any(isinstance(module, Conv1D) for module in network.base_model.modules())
    config = LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=names, fan_in_fan_out=conv)
    inject_adapter_in_model(config, network.base_model, NAME)
    for _, layer in adapter_layers(network):
        layer.lora_dropout[NAME] = TrainingDropout(dropout)


class TrainingDropout(nn.Dropout):
    """Dropout where gradients are recorded: models stay in evaluation mode here, in training too."""

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.dropout(inputs, self.p, training=torch.is_grad_enabled()) if self.p else inputs


def set_adapter(network: PreTrainedModel, delta: Mapping[str, Factors], seed: int) -> None:
    """Make the adapter add `delta`, of its own rank or a lower one.

    What is left of the rank is as at the start of LoRA: A drawn uniformly, as a linear layer is, and B zero.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, layer in adapter_layers(network):
            down, up = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
            bound = 1 / math.sqrt(down.shape[1])
            down.copy_(torch.empty(down.shape).uniform_(-bound, bound, generator=generator))
            up.zero_()
            if name in delta:
                rank = len(delta[name].down)
                down[:rank] = delta[name].down
                up[:, :rank] = delta[name].up / layer.scaling[NAME]


def adapter_layers(network: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    """(name within the trunk, peft's layer) of each layer with an adapter."""
    for name, module in network.base_model.named_modules():
        if hasattr(module, "lora_A"):
            yield name, module


def has_adapter(network: PreTrainedModel) -> bool:
    return next(adapter_layers(network), None) is not None


def delta_of(network: PreTrainedModel) -> Delta:
    """What a model's adapter adds; its factors are copies."""
    return {
        name: Factors(
            layer.lora_A[NAME].weight.detach().clone(), layer.lora_B[NAME].weight.detach() * layer.scaling[NAME]
        )
        for name, layer in adapter_layers(network)
    }


def weight_of(factors: Factors, layer: nn.Module) -> Tensor:
    """What an adapter adds to a layer's weight, laid out as that is: GPT-2's is the other way round."""
    added = factors.up @ factors.down
    return added.T if isinstance(layer, Conv1D) else added


def difference(one: Mapping[str, Factors], other: Mapping[str, Factors]) -> Delta:
    """one - other; the ranks add up."""
    found = dict(one)
    for name, (down, up) in other.items():
        minus = Factors(down, -up)
        mine = found.get(name)
        found[name] = Factors(torch.cat([mine.down, down]), torch.cat([mine.up, -up], dim=1)) if mine else minus
    return found


# Weights without adapters


def twin(network: PreTrainedModel) -> PreTrainedModel:
    """A second model over the same weights: modules of its own, not one number more in memory."""
    shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    return copy.deepcopy(network, shared)


def merged(network: PreTrainedModel) -> PreTrainedModel:
    """The same function without adapters: weights W + s B A of its own where there was one, the others shared."""
    plain = twin(network)
    for name, layer in list(adapter_layers(plain)):
        linear = unquantised(layer.base_layer)
        linear.weight = nn.Parameter(merged_weight(layer), requires_grad=False)
        parent, _, leaf = name.rpartition(".")
        setattr(plain.base_model.get_submodule(parent), leaf, linear)
    return plain


def merged_weight(layer: Any) -> Tensor:
    """W + s B A of a layer with an adapter, laid out as W."""
    return full_weight(layer.base_layer.weight) + layer.get_delta_weight(NAME).detach()


def plain_weights(network: PreTrainedModel, *, with_adapter: bool) -> Iterator[tuple[str, Tensor]]:
    """(name, weight) of the trunk by the names that it has without an adapter, one at a time, merged or as it was."""
    layers = {f"{name}.base_layer.weight": layer for name, layer in adapter_layers(network)}
    for name, weight in network.base_model.named_parameters():
        if "lora_" in name:
            continue
        layer = layers.get(name) if with_adapter else None
        yield name.replace(".base_layer.", "."), full_weight(weight) if layer is None else merged_weight(layer)


def same_weights(one: PreTrainedModel, other: PreTrainedModel) -> bool:
    """Whether two models are the same function because their weights, adapters merged, are the same bits."""
    mine, theirs = (chain(plain_weights(network, with_adapter=True), head_weights(network)) for network in (one, other))
    for found, wanted in zip_longest(mine, theirs):  # one weight at a time: merged, they are new numbers
        if not found or not wanted or found[0] != wanted[0] or not torch.equal(found[1], wanted[1]):
            return False
    return True


def head_weights(network: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """(name, weight) of what is outside the trunk, and not tied to it."""
    inside = {id(weight) for weight in network.base_model.parameters()}
    return ((name, weight.detach()) for name, weight in network.named_parameters() if id(weight) not in inside)


def trunk_sha256(network: PreTrainedModel) -> str:
    """A hash of the trunk's weights, adapters left out: their names within the trunk, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, weight in sorted(plain_weights(network, with_adapter=False), key=lambda item: item[0]):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(memoryview(weight.cpu().contiguous().view(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


# Files


@dataclass(frozen=True)
class Adapter:
    """An adapter as it was published."""

    base_sha256: str
    """`trunk_sha256` of the trunk that it was trained on."""

    delta: Delta


def save_model(model: Any, folder: Path) -> None:
    """Write a finished model: as it is, or with its adapter merged, and the adapter in a folder of its own.

    `folder` opens with the auto classes of transformers; `folder`/adapter, on the trunk that it belongs to, with peft.
    """
    if not isinstance(model, nn.Module) or not has_adapter(network_of(model)):
        model.save_pretrained(folder)
        return
    network = network_of(model)
    merged(network).save_pretrained(folder)
    (folder / FOLDER).mkdir()
    save_adapter(network, folder / FOLDER)


def save_adapter(network: PreTrainedModel, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors as peft reads them, and base.json with the trunk's hash.

    A model that was trained on a trunk with a token more than its base had must be given that token first.
    """
    inner = f"{network.base_model_prefix}."
    layers = dict(adapter_layers(network))
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{PREFIX}{inner}{name}.lora_A.weight"] = layer.lora_A[NAME].weight
        tensors[f"{PREFIX}{inner}{name}.lora_B.weight"] = layer.lora_B[NAME].weight
    score = getattr(network, "score", None)
    for name, weight in score.named_parameters() if isinstance(score, nn.Module) else ():
        tensors[f"{PREFIX}score.{name}"] = weight
    save_file({name: weight.detach().cpu().contiguous() for name, weight in tensors.items()},
              folder / "adapter_model.safetensors", metadata={"format": "pt"})  # fmt: skip
    layer = next(iter(layers.values()))
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if score is not None else "CAUSAL_LM",
        "r": layer.r[NAME],
        "lora_alpha": layer.lora_alpha[NAME],
        "lora_dropout": layer.lora_dropout[NAME].p,
        "target_modules": [f"{inner}{name}" for name in sorted(layers)],
        "modules_to_save": ["score"] if score is not None else None,
        "fan_in_fan_out": layer.fan_in_fan_out,
        "bias": "none",
        "inference_mode": True,
        "base_model_name_or_path": None,
    }
    write_json(folder / "adapter_config.json", config)
    write_json(folder / "base.json", {"trunk_sha256": trunk_sha256(network)})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_adapter(folder: Path, network: PreTrainedModel) -> Adapter | None:
    """The adapter beside a model's merged weights, as this package wrote it; None where there is none."""
    folder = folder / FOLDER
    if not (folder / "base.json").is_file():
        return None
    base = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "adapter_model.safetensors")
    inner = f"{PREFIX}{network.base_model_prefix}."
    scale = config["lora_alpha"] / config["r"]
    delta = {}
    for name in tensors:
        layer = name.removesuffix(".lora_A.weight")
        if layer != name:
            factors = Factors(tensors[name], tensors[f"{layer}.lora_B.weight"] * scale)
            delta[layer.removeprefix(inner)] = factors
    return Adapter(str(base["trunk_sha256"]), delta)
