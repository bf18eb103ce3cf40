"""What `auto` means on this machine is decided when a run is opened, and recorded as decided."""

from __future__ import annotations

from pathlib import Path

import torch

from training.rlhf.config import Numerics
from training.rlhf.numerics import multiplies_bfloat16, settled
from training.rlhf.workspace import Workspace


def test_dtype_auto_is_decided_before_anything_is_computed(tmp_path: Path) -> None:
    run = {
        "stage": "sft",
        "output": str(tmp_path / "out"),
        "inputs": {},
        "numerics": {"device": "cpu", "dtype": "auto"},
    }
    able = multiplies_bfloat16(torch.device("cpu"))
    work = Workspace.open(run)
    assert work.numerics.dtype == work.provenance({})["numerics"]["dtype"] == ("bfloat16" if able else "float32")
    assert settled(Numerics(dtype="bfloat16")).dtype == "bfloat16"
    assert settled(Numerics()).dtype == "float32"


def test_a_cpu_that_says_it_multiplies_bfloat16_does() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if flags:
        assert multiplies_bfloat16(torch.device("cpu")) == ("avx512_bf16" in flags or "amx_tile" in flags)
