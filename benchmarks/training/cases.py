"""What is measured against what: each stage's settings, the modes of both sides, and the ratios aimed at.

A mode is what a person could set: our run.json's numerics and config, TRL's arguments. `default` is what nobody set;
`best` lists what was found to be fast (the fastest of them on this machine is the one that counts). bfloat16 takes part
only where this machine multiplies faster in it: elsewhere it is emulated, and both sides are faster in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Mode = dict[str, Any]

TEMPERATURE = 0.7
BATCHES = (1, 16, 64)


@dataclass(frozen=True)
class Comparison:
    """One line of the report: our mode against the fastest of some of the peer's."""

    setting: str
    ours: str
    theirs: tuple[str, ...]
    aim: float | None


@dataclass(frozen=True)
class Case:
    """A stage on some rows: what each side is told, its modes by name, and what is compared."""

    bench: str
    unit: str
    spec: dict[str, Any]
    ours: Mapping[str, Mode]
    theirs: Mapping[str, Mode]
    comparisons: tuple[Comparison, ...]
    rates: Mapping[str, float] = field(default_factory=dict)
    """Where a measurement gives several rates (generation): the aim of each."""


def cases(bfloat16_pays: bool, medium_pays: bool, quick: bool) -> dict[str, list[Case]]:
    """The cases of each stage, for a machine that is fast in what is said here."""
    matmul = "medium" if medium_pays else "highest"
    return {
        "sft": [supervised(bfloat16_pays, matmul)],
        "rm": [rankings(k, bfloat16_pays, matmul) for k in (4, 9)],
        "ppo": [ppo(bfloat16_pays, matmul, quick)],
        "generate": [generation(bfloat16_pays, quick)],
    }


def ours(bfloat16: bool) -> dict[str, Mode]:
    """Our default takes the precision that is fast on this machine; where that is bfloat16, float32 beside it."""
    return {"default": {}} | ({"float32": {"numerics": {"dtype": "float32"}}} if bfloat16 else {})


def supervised(bfloat16: bool, matmul: str) -> Case:
    plain = {"gradient_checkpointing": False, "bf16": bfloat16}
    packed = {"packing": True, "max_length": 512, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}
    theirs: dict[str, Mode] = {
        **defaults(bfloat16),
        "packing 512": {"arguments": plain | packed, "matmul": matmul},
        "grouped by length": {"arguments": plain | {"train_sampling_strategy": "group_by_length"}, "matmul": matmul},
    }
    return Case(
        "SFT",
        "tokens/s",
        {"stage": "sft", "size": "base", "rows": "demonstrations", "batch": 8},
        {"default": {}},
        theirs,
        (
            *against_defaults(bfloat16, 4.0),
            Comparison("default, TRL's best", "default", ("packing 512", "grouped by length"), 1.6),
        ),
    )


def defaults(bfloat16: bool) -> dict[str, Mode]:
    """TRL's default, which is bfloat16 autocast on any machine; where that is emulated, the same in float32 too."""
    return {"default": {}} | ({} if bfloat16 else {"default but float32": {"arguments": {"bf16": False}}})


def against_defaults(bfloat16: bool, aim: float) -> tuple[Comparison, ...]:
    if bfloat16:
        return (Comparison("default, TRL's default", "default", ("default",), aim),)
    return (
        Comparison("default, TRL's default (bfloat16, emulated on this CPU)", "default", ("default",), aim),
        Comparison("default, TRL's default but float32", "default", ("default but float32",), aim),
    )


def rankings(k: int, bfloat16: bool, matmul: str) -> Case:
    grouped = {
        "gradient_checkpointing": False,
        "bf16": bfloat16,
        "train_sampling_strategy": "group_by_length",
        "remove_unused_columns": False,
    }
    aims = {4: (8.0, 4.5), 9: (14.0, 9.0)}[k]
    return Case(
        f"RM K={k}",
        "rankings/s",
        {"stage": "reward", "size": "base", "rows": f"rankings_k{k}", "batch": 8},
        {"default": {}},
        defaults(bfloat16) | {"grouped by length": {"arguments": grouped, "lengths": True, "matmul": matmul}},
        (
            *against_defaults(bfloat16, aims[0]),
            Comparison("default, TRL's best", "default", ("grouped by length",), aims[1]),
        ),
    )


def ppo(bfloat16: bool, matmul: str, quick: bool) -> Case:
    float32 = "float32" if bfloat16 else "default"
    larger = {"gradient_checkpointing": False, "per_device_train_batch_size": 16}
    theirs: dict[str, Mode] = {"default": {}, "float32": {"arguments": larger, "matmul": matmul}}
    comparisons = [
        Comparison("default, TRL's default", "default", ("default",), 3.0),
        Comparison("float32 and a separate value model on both sides", float32, ("float32",), 1.5),
    ]
    if bfloat16:
        theirs["bfloat16 weights"] = {"arguments": larger, "weights": "bfloat16"}
        comparisons.append(Comparison("default, TRL's best (bfloat16 weights)", "default", ("bfloat16 weights",), None))
    episodes = 16 if quick else 32
    spec = {
        "stage": "ppo",
        "size": "tiny",
        "rows": "prompts",
        "batch": 8,
        "episodes": episodes,
        "epochs": 4,
        "new_tokens": 64,
        "updates": 2 if quick else 4,
        "temperature": TEMPERATURE,
    }
    return Case(f"PPO, {episodes} episodes x 4 epochs", "episodes/s", spec, ours(bfloat16), theirs, tuple(comparisons))


def generation(bfloat16: bool, quick: bool) -> Case:
    batches = BATCHES[:2] if quick else BATCHES
    spec = {
        "stage": "generate",
        "size": "base",
        "rows": "prompts",
        "batches": batches,
        "new_tokens": 16 if quick else 64,
        "uneven_tokens": 32 if quick else 128,
        "temperature": TEMPERATURE,
    }
    theirs: dict[str, Mode] = {"default": {}}
    comparisons = [Comparison("float32", "float32" if bfloat16 else "default", ("default",), None)]
    if bfloat16:
        theirs["bfloat16 weights"] = {"weights": "bfloat16"}
        comparisons.append(Comparison("bfloat16", "default", ("bfloat16 weights",), None))
    aims = {f"batch {batch}": aim for batch, aim in zip(BATCHES, (1.3, 1.4, 1.5), strict=True) if batch in batches}
    return Case(
        "generate",
        "tokens/s",
        spec,
        ours(bfloat16),
        theirs,
        tuple(comparisons),
        aims | {f"batch {max(batches)} uneven": 2.0},
    )
