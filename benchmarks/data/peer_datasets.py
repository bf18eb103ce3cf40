"""Hugging Face `datasets` on the same file: what reading it into a dataset takes, and writing that dataset out.

python -m benchmarks.data.peer_datasets '{"step": "load", ...}', in an environment that has it. It keeps rows as they
are: no check, no tables, no people; so it shows what reading and writing the bytes take at least.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

from benchmarks.training.process import child_main, resident

WRITERS = {"jsonl": "to_json", "csv": "to_csv", "parquet": "to_parquet"}


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    datasets = importlib.import_module("datasets")  # of the peer's environment
    datasets.disable_progress_bars()
    began = time.perf_counter()
    rows = datasets.load_dataset(spec["loader"], data_files=spec["path"], split="train", cache_dir=spec["cache"])
    if spec["step"] == "export":  # it lies in the cache since "load"
        target = Path(spec["target"])
        began = time.perf_counter()
        getattr(rows, WRITERS[spec["container"]])(str(target))
        seconds = time.perf_counter() - began
        size = target.stat().st_size
        target.unlink()
    else:
        seconds, size = time.perf_counter() - began, Path(spec["path"]).stat().st_size
    return {
        "rows": len(rows),
        "seconds": round(seconds, 3),
        "peak_mb": round(resident("VmHWM"), 1),
        "file_mb": round(size / 2**20, 1),
        "version": datasets.__version__,
    }


if __name__ == "__main__":
    child_main(measure)
