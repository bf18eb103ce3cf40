"""On one GPU: the same comparison on Qwen2-shaped models of 0.5B and 1.5B in bfloat16, with MFU and memory bandwidth.

`manage.py bench training --device cuda`. MFU is 6 operations a parameter and trained token, and 6 x layers x hidden x
length for causal attention, over the peak of the card's bfloat16; generation's share is the weights read at each step
over the card's bandwidth. A card that is not in the table prints the absolute figures alone.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.training.assets import SHAPES, Shape
from benchmarks.training.cases import Case, Comparison, Mode, generation, ppo, rankings, supervised
from benchmarks.training.figures import Record, digits, median
from benchmarks.training.measuring import Bench, Measured, emit, report

# dense bfloat16 TFLOP/s and GB/s, from the makers' data sheets
CARDS = {
    "H200": (989, 4800),
    "H100": (989, 3350),
    "A100": (312, 2039),
    "L40S": (362, 864),
    "L4": (121, 300),
    "4090": (165, 1008),
    "3090": (71, 936),
}
MFU_AIM = 0.45
OURS: dict[str, Mode] = {"default": {}}  # which is bfloat16 on a GPU
WHOLE_STEP_ROWS = 32  # a GPU wants more in a step than a CPU


def main(bench: Bench) -> int:
    emit({"bench": "training", **bench.machine})
    card = next((figures for name, figures in CARDS.items() if name in bench.machine["device"]), None)
    failed = False
    for size in ("0.5b", "1.5b"):
        for case in on_gpu(size, bench.options.quick, bench.options.only.split(",")):
            measured = bench.measure(case)
            for found in [*report(case, measured), *shares(case, measured, SHAPES[size], card)]:
                emit(found)
                failed = failed or "error" in found
    return 1 if failed else 0


def on_gpu(size: str, quick: bool, only: list[str]) -> list[Case]:
    """The CPU's cases with larger models and batches, bfloat16 on both sides; the aims are those for a GPU."""
    made = {
        "sft": [supervised(True, "high")],
        "rm": [rankings(k, True, "high") for k in (4, 9)],
        "ppo": [ppo(True, "high", quick)],
        "generate": [generation(True, quick)],
    }
    return [for_gpu(case, size) for stage in only for case in made[stage]]


def for_gpu(case: Case, size: str) -> Case:
    last = case.comparisons[-1]
    aim = 3.0 if case.spec["stage"] == "ppo" else None
    against_best = Comparison(last.setting, "default", last.theirs, aim)
    larger = {"size": size} | ({"batch": WHOLE_STEP_ROWS} if case.spec["stage"] == "sft" else {})
    return replace(
        case,
        bench=f"{case.bench}, {size}",
        spec=case.spec | larger,
        comparisons=(against_best,),
        ours=OURS,
        theirs={name: case.theirs[name] for name in last.theirs},
        rates=dict.fromkeys(case.rates, 3.0),
    )


def shares(case: Case, measured: Measured, shape: Shape, card: tuple[int, int] | None) -> list[Record]:
    """MFU of a training stage, or generation's share of the bandwidth at batch 1."""
    records = [record for record in measured["ours", "default"] if "error" not in record]
    if not records or card is None:
        return []
    if case.spec["stage"] == "generate":
        steps = median([record["rates"]["batch 1"] for record in records])
        share, name = steps * 2 * parameters(shape) / (card[1] * 1e9), "share of bandwidth, batch 1"
        return [{"bench": case.bench, "setting": name, "share": digits(share, 3), "unit": "of the card's"}]
    if "tokens" not in records[0]:
        return []
    rate = median([record["tokens"] / record["seconds"] for record in records])
    length = median([record["tokens"] / record["rows"] for record in records])
    used = rate * operations_per_token(shape, length, head=case.spec["stage"] == "sft")
    share = used / (card[0] * 1e12)
    return [
        {
            "bench": case.bench,
            "setting": "MFU",
            "share": digits(share, 3),
            "aim": MFU_AIM,
            "met": share >= MFU_AIM,
            "unit": "of the card's",
        }
    ]


def parameters(shape: Shape, *, head: bool = True) -> int:
    """Weights that a token is multiplied with; tied embeddings count once, as the head."""
    wide = shape.hidden * (shape.kv_heads or shape.heads) // shape.heads
    layer = 2 * shape.hidden**2 + 2 * shape.hidden * wide + 3 * shape.hidden * shape.feed_forward
    return shape.layers * layer + (shape.vocabulary * shape.hidden if head else 0)


def operations_per_token(shape: Shape, length: float, *, head: bool) -> float:
    """Forward and backward of one token in a sequence of `length`; causal attention sees half of it."""
    return 6 * parameters(shape, head=head) + 12 * shape.layers * shape.hidden * length / 2
