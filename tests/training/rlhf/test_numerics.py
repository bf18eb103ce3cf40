"""What `auto` means on this machine is decided when a run is opened, and recorded as decided."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.rlhf.checkpoint import numerics_of, take_snapshot, write_checkpoint
from training.rlhf.config import Numerics
from training.rlhf.numerics import apply_numerics, medium_keeps_float32, multiplies_bfloat16, settled
from training.rlhf.workspace import Workspace


def test_dtype_auto_is_decided_before_anything_is_computed(tmp_path: Path) -> None:
    run = {
        "stage": "sft",
        "output": str(tmp_path / "out"),
        "inputs": {},
        "numerics": {"device": "cpu"},
    }
    able = multiplies_bfloat16(torch.device("cpu"))
    work = Workspace.open(run)
    assert work.numerics.dtype == work.provenance({})["numerics"]["dtype"] == ("bfloat16" if able else "float32")
    assert settled(Numerics(dtype="bfloat16")).dtype == "bfloat16"
    assert settled(Numerics(dtype="float32")).dtype == "float32"


@pytest.mark.parametrize(("began_in", "matmul"), [("bfloat16", "highest"), ("float32", "medium")])
def test_a_resumed_run_keeps_the_precision_that_it_was_begun_in(tmp_path: Path, began_in: str, matmul: str) -> None:
    """Another machine would decide otherwise, and one run would be computed in two precisions."""
    snapshot = take_snapshot({}, 3, {"dtype": began_in, "matmul": matmul})
    saved = write_checkpoint(tmp_path, snapshot)
    run = {"stage": "sft", "output": str(tmp_path / "out"), "inputs": {}, "resume": {"path": str(saved.path)}}
    work = Workspace.open({**run, "numerics": {"device": "cpu"}})
    assert (work.numerics.dtype, work.numerics.matmul) == (began_in, matmul)
    asked = Workspace.open({**run, "numerics": {"device": "cpu", "dtype": "float32", "matmul": "highest"}})
    assert (asked.numerics.dtype, asked.numerics.matmul) == ("float32", "highest")


def test_a_checkpoint_of_before_leaves_it_to_the_machine(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"version": 2, "step": 1, "state": {}}')
    assert numerics_of(tmp_path) == numerics_of(tmp_path / "nowhere") == {}


def test_a_cpu_that_says_it_multiplies_bfloat16_does() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if flags:
        assert multiplies_bfloat16(torch.device("cpu")) == ("avx512_bf16" in flags or "amx_tile" in flags)


def test_float32_means_float32_whatever_the_cpu_makes_of_medium() -> None:
    """With AMX, oneDNN's medium rounds the operands of a float32 product to bfloat16: a tenth, and nobody is told."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    numerics = Numerics(device="cpu", threads=1, dtype="float32")
    decided = settled(numerics).matmul
    assert decided == ("medium" if medium_keeps_float32() else "highest")
    if "amx_tile" in flags:
        assert decided == "highest"
    before = torch.get_float32_matmul_precision()
    try:
        apply_numerics(numerics, seed=1)
        left, right = torch.randn(64, 256), torch.randn(32, 256)
        product = torch.nn.functional.linear(left, right)
    finally:
        torch.set_float32_matmul_precision(before)
    assert (product - torch.nn.functional.linear(left.double(), right.double())).abs().max() < 1e-3


def test_a_precision_that_was_asked_for_is_taken() -> None:
    assert settled(Numerics(device="cpu", matmul="medium")).matmul == "medium"
