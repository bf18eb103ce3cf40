"""How our cost grows with model size, answers per ranking, length and batch: seconds and memory, and their exponents.

`manage.py bench training --scaling`. Each point is a process of its own. Time grows as size to the power of the
exponent, fitted over the points; on a GPU or a larger machine the exponents stay near these, the constants do not.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.training.assets import (
    Cutter,
    PreTrainedTokenizerFast,
    Shape,
    docstrings,
    random_model,
    write_rows,
)
from benchmarks.training.figures import Record, digits, exponent, median
from benchmarks.training.measuring import Bench, emit

SIZES = ((128, 4), (256, 4), (384, 6), (512, 8))  # hidden, layers
RANKED = (2, 4, 9, 16)
LENGTHS = (64, 128, 256, 512, 1024)
BATCHES = (1, 4, 16, 64)


@dataclass(frozen=True)
class Growth:
    """One axis: its points, each with the spec of a measurement, and the work that a rate is of."""

    over: str
    setting: str
    points: list[tuple[float, dict[str, Any]]]
    """(size, spec)"""
    per: str
    """What the seconds are for."""


def main(bench: Bench) -> int:
    emit({"bench": "training growth", "over": "machine", "setting": "", "points": [], **bench.machine})
    folder = bench.options.cache / "growth"
    shutil.rmtree(folder, ignore_errors=True)
    for growth in axes(bench, folder):
        points = [(size, measured(bench, spec)) for size, spec in growth.points]
        emit(grown(growth, points, bench.options.runs))
    shutil.rmtree(folder)
    return 0


def grown(growth: Growth, points: list[tuple[float, list[Record]]], runs: int) -> Record:
    """The line of an axis: seconds and peak memory at each point, and the exponents."""
    rows = [
        {
            "size": size,
            "seconds": digits(median([record["seconds"] for record in records]), 3),
            "peak_mib": digits(median([record["peak_mib"] for record in records]), 3),
        }
        for size, records in points
    ]
    sizes = [row["size"] for row in rows]
    return {
        "bench": "training growth",
        "over": growth.over,
        "setting": growth.setting,
        "per": growth.per,
        "points": rows,
        "time_exponent": digits(exponent(sizes, [row["seconds"] for row in rows]), 3),
        "memory_exponent": digits(exponent(sizes, [row["peak_mib"] for row in rows]), 3),
        "runs": runs,
    }


def measured(bench: Bench, spec: dict[str, Any]) -> list[Record]:
    return [bench.child(bench.ours_python, "ours", {"mode": {}, **spec}) for _ in range(bench.options.runs)]


def axes(bench: Bench, folder: Path) -> Iterator[Growth]:
    """The four axes; their rows have one length each, so that nothing else changes along an axis."""
    ground = bench.ground("tiny")
    maker = Maker(ground, folder)
    few = 2 if bench.options.quick else None
    yield Growth(
        "parameters",
        "SFT, 2,048 tokens a step",
        [maker.sft(shape, length=128, rows=48, batch=16) for shape in SIZES[:few]],
        "pass over 6,144 tokens",
    )
    yield Growth(
        "answers K",
        "reward model (1.8M parameters), 16 rankings, 128 tokens an answer",
        [maker.rankings(k) for k in RANKED[:few]],
        "pass over 16 rankings",
    )
    yield Growth(
        "length",
        "SFT (1.8M parameters), one sequence a step",
        [maker.sft((192, 4), length=length, rows=8, batch=1, over_length=True) for length in LENGTHS[:few]],
        "pass over 8 sequences",
    )
    yield Growth(
        "batch",
        "generation (1.8M parameters), 64 new tokens each",
        [(batch, maker.generate(ground / "tiny", batch)) for batch in BATCHES[:few]],
        "64 tokens for each row of the batch",
    )


class Maker:
    """Makes the models and rows of the points in a folder that is removed afterwards."""

    def __init__(self, ground: Path, folder: Path) -> None:
        self.ground, self.folder = ground, folder
        self.folder.mkdir(parents=True)
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(ground / "tokenizer")
        self.cutter = Cutter(self.tokenizer, list(docstrings(300_000)), seed=6)

    def sft(
        self, shape: tuple[int, int], *, length: int, rows: int, batch: int, over_length: bool = False
    ) -> tuple[float, dict[str, Any]]:
        """SFT of a model of (hidden, layers) on `rows` of `length` tokens; the size: its parameters, or the length."""
        policy, parameters = self.policy(shape)
        path = self.folder / f"sft_{length}_{rows}.jsonl"
        made = [
            {"prompt": self.said("user", 12), "completion": self.said("assistant", length - 24)} for _ in range(rows)
        ]
        write_rows(path, made)
        spec = {"stage": "sft", "policy": policy, "batch": batch}
        return (length if over_length else parameters), spec | {"rows": str(path)}

    def rankings(self, k: int) -> tuple[float, dict[str, Any]]:
        policy, _ = self.policy((192, 4))
        made = [
            {
                "prompt": self.said("user", 40),
                "completions": [{"content": self.said("assistant", 76)[0]["content"]} for _ in range(k)],
                "ranks": list(range(1, k + 1)),
            }
            for _ in range(16)
        ]
        path = self.folder / f"rankings_{k}.jsonl"
        write_rows(path, made)
        return k, {"stage": "reward", "policy": policy, "batch": 8, "rows": str(path)}

    def generate(self, models: Path, batch: int) -> dict[str, Any]:
        return {
            "stage": "generate",
            "policy": str(models / "policy"),
            "uneven": str(models / "uneven"),
            "rows": str(self.ground / "prompts.jsonl"),
            "batches": [batch],
            "new_tokens": 64,
            "uneven_tokens": 8,
            "temperature": 1.0,
        }

    def policy(self, shape: tuple[int, int]) -> tuple[str, int]:
        """(folder, parameters without embeddings) of a model of (hidden, layers)."""
        hidden, layers = shape
        folder = self.folder / f"model_{hidden}_{layers}"
        model = random_model(Shape(hidden, layers, hidden // 64, 32 * round(hidden * 8 / 3 / 32)))
        if not folder.exists():
            model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        return str(folder), model.num_parameters(exclude_embeddings=True)

    def said(self, role: str, tokens: int) -> list[dict[str, str]]:
        return [{"role": role, "content": self.cutter.text(self.cutter.piece((tokens, tokens, tokens)))}]
