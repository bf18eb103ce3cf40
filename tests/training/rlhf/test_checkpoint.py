"""Exact state in and out, no pickle, folders whole or absent."""

import math
import random

import numpy as np
import pytest
import torch

from training.rlhf.checkpoint import (
    CheckpointError,
    fresh_folder,
    load_state,
    publish_folder,
    save_state,
    sha256_of,
    size_of,
)


class Holder:
    def __init__(self, value=None):
        self.value = value

    def state_dict(self):
        return self.value

    def load_state_dict(self, state_dict):
        self.value = state_dict


def test_values_come_back_bit_for_bit(tmp_path):
    value = {
        "numbers": [0.1, 1 / 3, math.pi, -0.0, math.inf, 5e-324, 2**70],
        "pair": (1, "zwei", None, True),
        3: {"tensor": torch.randn(3, 4).t(), "whole": torch.arange(5), "empty": torch.zeros(0)},
        "half": torch.randn(4).bfloat16(),
    }
    save_state(tmp_path, {"it": Holder(value)}, step=7)
    back = Holder()
    assert load_state(tmp_path, {"it": back}) == 7
    assert back.value["numbers"] == value["numbers"]
    assert math.copysign(1, back.value["numbers"][3]) == -1
    assert back.value["pair"] == value["pair"]
    assert torch.equal(back.value[3]["tensor"], value[3]["tensor"])
    assert torch.equal(back.value["half"], value["half"])
    assert back.value[3]["empty"].shape == (0,)
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", "state.safetensors"}


def test_model_and_optimizer_go_on_exactly(tmp_path):
    def make():
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 4)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()

    model, optimizer = make()
    step(model, optimizer)
    save_state(tmp_path, {"model": model, "optimizer": optimizer}, 1)
    step(model, optimizer)
    other, other_optimizer = make()
    load_state(tmp_path, {"model": other, "optimizer": other_optimizer})
    step(other, other_optimizer)
    assert torch.equal(model.weight, other.weight)


def test_random_generators_go_on_exactly(tmp_path):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    save_state(tmp_path, {}, 0)
    wanted = draw()
    draw()
    load_state(tmp_path, {})
    assert draw() == wanted


def test_tied_weights_are_stored_once(tmp_path):
    weight = torch.zeros(1000)
    save_state(tmp_path, {"it": Holder({"a": weight, "b": weight})}, 0)
    assert (tmp_path / "state.safetensors").stat().st_size < 4000 + 12_000  # one copy, and the generators' states


def test_something_else_is_refused(tmp_path):
    with pytest.raises(TypeError, match="cannot hold a set"):
        save_state(tmp_path, {"it": Holder({1, 2})}, 0)
    save_state(tmp_path, {"it": Holder(1)}, 0)
    with pytest.raises(CheckpointError, match=r"holds \['it', 'random'\], this stage needs \['other'\]"):
        load_state(tmp_path, {"other": Holder()})
    (tmp_path / "state.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(tmp_path, {"it": Holder()})


def test_the_hash_of_a_folder_is_that_of_its_sorted_list(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_bytes(b"two")
    (tmp_path / "a.txt").write_bytes(b"one")
    import hashlib

    one, two = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()
    wanted = hashlib.sha256(f"{one}  a.txt\n{two}  b/c.txt\n".encode()).hexdigest()
    assert sha256_of(tmp_path) == wanted
    assert size_of(tmp_path) == 6


def test_publishing_replaces_what_was_there(tmp_path):
    for text in ("old", "new"):
        aside = fresh_folder(tmp_path / "it.tmp")
        (aside / "file").write_text(text)
        digest = publish_folder(aside, tmp_path / "it")
    assert (tmp_path / "it" / "file").read_text() == "new"
    assert digest == sha256_of(tmp_path / "it")
    assert not (tmp_path / "it.tmp").exists()
