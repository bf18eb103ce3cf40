"""What this machine is, for the record, and which precision is its fast one: measured, not looked up.

python -m benchmarks.training.machine '{"threads": 2, "device": "cpu"}'
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.training.process import child_main
from training.rlhf.numerics import medium_keeps_float32

SHAPE = (2048, 384, 1120)  # a product of the base model: tokens, hidden, feed-forward
PRODUCTS = (("float32 highest", torch.float32, "highest"), ("float32 medium", torch.float32, "medium"))


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(spec["threads"])
    products = {name: gflops(dtype, matmul, spec["device"]) for name, dtype, matmul in PRODUCTS}
    products["bfloat16"] = gflops(torch.bfloat16, "highest", spec["device"])
    keeps_digits = spec["device"] == "cuda" or medium_keeps_float32()  # else it is bfloat16 under another name
    return {
        "device": torch.cuda.get_device_name() if spec["device"] == "cuda" else processor(),
        "cores": os.cpu_count(),
        "threads": spec["threads"],
        "capability": "" if spec["device"] == "cuda" else torch.backends.cpu.get_cpu_capability(),
        "gflops": {name: round(value, 1) for name, value in products.items()},
        "bfloat16_pays": products["bfloat16"] > 1.2 * max(products["float32 highest"], products["float32 medium"]),
        "medium_pays": keeps_digits and products["float32 medium"] > 1.2 * products["float32 highest"],
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def gflops(dtype: torch.dtype, matmul: str, device: str) -> float:
    """The best of three: what the machine can do when nobody disturbs it."""
    torch.set_float32_matmul_precision(matmul)
    rows, inner, columns = SHAPE
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(columns, inner, device=device).to(dtype)
    seconds = min(clocked(lambda: torch.nn.functional.linear(left, right), device) for _ in range(3))
    return 2 * rows * inner * columns / seconds / 1e9


def clocked(work: Callable[[], Any], device: str, times: int = 3) -> float:
    work()
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - began) / times


def processor() -> str:
    """The processor's name and the extensions that decide speed here."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    named = {name.strip(): value.strip() for name, value in fields.items()}
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    flags = [flag for flag in wanted if flag in named.get("flags", "").split()]
    return f"{named.get('model name', platform.machine())} ({', '.join(flags)})"


if __name__ == "__main__":
    child_main(measure)
