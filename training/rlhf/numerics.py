"""The numerics of a run put into force: device, threads, determinism, precision.

On a CPU the same input, seed and numerics give the same bits on the same machine and torch version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import random
from collections.abc import Iterator

import numpy as np
import torch

from training.rlhf.config import ConfigError, Numerics


def apply_numerics(numerics: Numerics, seed: int) -> torch.device:
    """Fix threads, precision, determinism and the global random generators; returns the device to compute on.

    Every draw that matters takes a generator of its own, seeded from the run's seed; the global ones are seeded too, so
    that a draw inside a library is repeatable as well.
    """
    device = device_of(numerics)
    torch.set_num_threads(numerics.threads or usable_cores())
    torch.set_float32_matmul_precision(settled(numerics).matmul)
    # cuBLAS is deterministic only with a fixed workspace, which it reads from the environment at its first use
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    torch.utils.deterministic.fill_uninitialized_memory = False  # no operator used here reads it; filling costs 4 %
    torch.backends.cudnn.benchmark = False
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return device


def usable_cores() -> int:
    """Cores that this process may use; macOS knows no affinity and has all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_of(numerics: Numerics) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here. Raises ConfigError where there is no GPU."""
    if numerics.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but torch finds no GPU here; set it to auto or cpu")
    if numerics.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(numerics.device)


def settled(numerics: Numerics) -> Numerics:
    """The numerics with each `auto` of dtype and matmul decided for this machine, as a run records them."""
    device = device_of(numerics)
    dtype, matmul = numerics.dtype, numerics.matmul
    if dtype == "auto":
        dtype = "bfloat16" if multiplies_bfloat16(device) else "float32"
    if matmul == "auto":
        matmul = "medium" if device.type == "cuda" or medium_keeps_float32() else "highest"
    return dataclasses.replace(numerics, dtype=dtype, matmul=matmul)


@functools.cache
def medium_keeps_float32() -> bool:
    """Whether this CPU's `medium` products are as exact as float32 ones, found by multiplying.

    oneDNN may round their operands to bfloat16, and does where the CPU has AMX: the error of a product of 256 unit
    normals is then about 0.1, and otherwise 1e-4 or less.
    """
    left, right = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        product = torch.nn.functional.linear(left, right)
    finally:
        torch.set_float32_matmul_precision(before)
    exact = torch.nn.functional.linear(left.double(), right.double())
    return bool((product - exact).abs().max() < 1e-2)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 ones here: elsewhere a CPU emulates them, many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(check() for check in checks if check is not None)


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """In it float32 products are float32 through and through: for comparing two ways to compute one thing."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def autocast(numerics: Numerics) -> contextlib.AbstractContextManager[object]:
    """The context in which forward passes run: bfloat16 products over float32 weights, or nothing."""
    if numerics.dtype == "bfloat16":
        return torch.autocast(device_of(numerics).type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
