"""PPO's models with adapters, on as few trunks as there are: one base in memory where they come from one.

A published model knows its own trunk by a hash, and by its `adapter/` the one that it was trained on. Where two models
know a trunk in common, the one is the other plus low-rank factors, and needs no trunk of its own: the policy and the
reward model that were both trained on the SFT model, say, or a policy and the SFT model that it was trained from.
Whatever cannot be written so gets its own trunk, and the run's log says so.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.rlhf.adapters import (
    Delta,
    add_adapter,
    difference,
    plain_weights,
    prepare_training,
    quantise_beneath,
    read_adapter,
    set_adapter,
    trunk_sha256,
    twin,
    weight_of,
)
from training.rlhf.config import FineTuningConfig
from training.rlhf.errors import ModelError
from training.rlhf.model import RewardModel, fit_to_tokenizer, load_policy, load_reward_model
from training.rlhf.numerics import device_of
from training.rlhf.workspace import Workspace

ROUNDING = 1e-4  # of a weight's largest number; how far a merged weight may be from base and adapter


class Roles(NamedTuple):
    """PPO's models, each with an adapter of its own where it differs from its trunk."""

    policy: PreTrainedModel
    reference: PreTrainedModel
    reward_model: RewardModel
    value: RewardModel


@dataclass
class Trunk:
    """Frozen weights that models stand on; loaded once."""

    network: PreTrainedModel
    """Without heads, without adapter."""

    head: nn.Parameter | None
    """Of the language model that it was loaded with, where that is not tied to the embeddings."""

    origins: dict[str, Delta]
    """{hash of a trunk: how far this one is from it}; its own hash, at nothing."""

    roles: list[str]


class Trunks:
    """The trunks that have been loaded so far."""

    def __init__(self, work: Workspace, tokenizer: PreTrainedTokenizerBase, config: FineTuningConfig) -> None:
        self.work, self.tokenizer, self.config = work, tokenizer, config
        self.loaded: list[Trunk] = []

    def policy(self, name: str, *, trained: bool) -> PreTrainedModel:
        """The causal language model of the input `name`."""
        network = load_policy(self.work.input(name), dataclasses.replace(self.work.numerics, device="cpu"))
        delta = self._place(network, name)
        return self._with_adapter(network, delta, trained=trained)

    def reward_and_value(self, name: str) -> tuple[RewardModel, RewardModel]:
        """The reward model of the input `name`, and a value model that starts from it (InstructGPT, section 3.5)."""
        model = load_reward_model(self.work.input(name), dataclasses.replace(self.work.numerics, device="cpu"))
        delta = self._place(model.network, name)
        value = twin(model.network)
        for part, weight in list(value.score.named_parameters()):
            setattr(value.score, part, nn.Parameter(weight.detach().clone()))
        return (
            RewardModel(self._with_adapter(model.network, delta, trained=False)),
            RewardModel(self._with_adapter(value, delta, trained=True)),
        )

    def note(self) -> None:
        """Say in the run's log who stands on which trunk."""
        shared = [" and ".join(trunk.roles).replace("_", " ") for trunk in self.loaded]
        if len(shared) == 1:
            self.work.note(f"One trunk in memory, with adapters for {shared[0]} and value model.")
        else:
            self.work.note(
                f"{len(shared)} trunks in memory, as these models were not trained by adapters on one: "
                + "; ".join(shared)
                + "."
            )

    def _place(self, network: PreTrainedModel, name: str) -> Delta:
        """Put a model that was just loaded on a trunk that is there, or make its trunk one; returns what it adds."""
        self.work.progress("loading the models")
        fit_to_tokenizer(network, self.tokenizer)
        folder, own = self.work.input(name), trunk_sha256(network)
        adapter = read_adapter(folder, network)
        origins: dict[str, Delta] = {own: {}} | ({adapter.base_sha256: adapter.delta} if adapter else {})
        device = device_of(self.work.numerics)
        for trunk in self.loaded:
            delta = apart(origins, trunk.origins)
            if delta is not None:
                if not self.config.quantise_base:
                    check_sum(network, trunk.network, delta, folder)
                stand_on(network, trunk)
                network.to(device).requires_grad_(False)
                trunk.roles.append(name)
                return delta
        network.to(device).requires_grad_(False)
        given: Delta = {}
        if self.config.quantise_base:
            given = quantise_beneath(network, folder, self.work.numerics)
            origins = {sha256: difference(delta, given) for sha256, delta in origins.items()}
            origins[adapter.base_sha256 if adapter else own] = {}
            origins[trunk_sha256(network)] = {}
        head = network.get_output_embeddings()
        untied = head is not None and head.weight is not network.get_input_embeddings().weight
        self.loaded.append(Trunk(twin(network.base_model), head.weight if untied else None, origins, [name]))
        return given

    def _with_adapter(self, network: PreTrainedModel, delta: Delta, *, trained: bool) -> PreTrainedModel:
        if trained:
            prepare_training(network, self.config, self.work.numerics, self.work.seed, start=delta)
        elif delta:
            add_adapter(network, sorted(delta), rank=max(len(factors.down) for factors in delta.values()), scale=1.0)
            set_adapter(network, delta, seed=0)
            network.requires_grad_(False)
        return network.eval()


def load_roles(work: Workspace, tokenizer: PreTrainedTokenizerBase, config: FineTuningConfig) -> Roles:
    """The models of a PPO run with adapters, from the inputs `policy`, `reference` and `reward_model`."""
    trunks = Trunks(work, tokenizer, config)
    reference = trunks.policy("reference", trained=False)
    policy = trunks.policy("policy", trained=True)
    reward_model, value = trunks.reward_and_value("reward_model")
    trunks.note()
    return Roles(policy, reference, reward_model, value)


def apart(origins: dict[str, Delta], others: dict[str, Delta]) -> Delta | None:
    """How far a model is from a trunk, where both know how far they are from some trunk; None where they do not."""
    for sha256, delta in origins.items():
        if sha256 in others:
            return difference(delta, others[sha256])
    return None


def stand_on(network: PreTrainedModel, trunk: Trunk) -> None:
    """Replace the trunk of a model by one that is loaded already; its head stays, or is shared where it is the same."""
    head = network.get_output_embeddings()
    tied = head is not None and head.weight is network.get_input_embeddings().weight
    setattr(network, network.base_model_prefix, twin(trunk.network))
    if tied:
        head.weight = network.get_input_embeddings().weight
    elif head is not None and trunk.head is not None and torch.equal(head.weight, trunk.head.cpu()):
        head.weight = trunk.head


def check_sum(network: PreTrainedModel, trunk: PreTrainedModel, delta: Delta, folder: Path) -> None:
    """Raise ModelError unless the trunk plus `delta` is what the model's own weights say, to rounding."""
    own = dict(plain_weights(network, with_adapter=False))
    for name, weight in plain_weights(trunk, with_adapter=False):
        layer = name.removesuffix(".weight")
        wanted = weight.cpu()
        if layer in delta and layer != name:
            wanted = wanted + weight_of(delta[layer], trunk.get_submodule(layer))
        if own[name].shape != wanted.shape or not close(own[name], wanted):
            raise ModelError(
                f"{folder} has an adapter that does not belong to its weights ({name}); delete its adapter/"
            )


def close(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= ROUNDING * max(float(other.abs().max()), 1e-6)
