"""Several processes, one to a GPU, started by torchrun: one run, of whose batches each does a share.

    torchrun --nproc-per-node 4 -m training.rlhf sft --config run.json

Every rank reads the same rows, draws the same batches and holds the same weights. Losses are divided by what the whole
batch counts (tokens, rankings), so the sum of the ranks' gradients is the gradient of one process, to rounding, however
unequal the shares are: no row is dropped to make them equal, and a rank without a row still takes part. Rank 0 alone
writes; validation is computed by each rank for itself. SFT and reward models can be trained so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import nn

from training.rlhf.config import ConfigError, Numerics
from training.rlhf.numerics import device_of

STAGES = ("sft", "reward")
BUCKET = 2**24  # numbers that are summed in one message


def join(stage: str, numerics: Numerics) -> None:
    """Take part in torchrun's group, where it started this process. Raises ConfigError for a stage that runs alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    if stage not in STAGES:
        raise ConfigError(f"the stage {stage} runs in one process; torchrun is for {' and '.join(STAGES)}")
    on_gpu = device_of(numerics).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo")


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def share(costs: Sequence[int]) -> list[int]:
    """Indices of this rank's elements of a batch, in their order; together the ranks have each once.

    The costliest first, to whichever rank has the least to do: every rank comes to the same division.
    """
    loads = [0] * ranks()
    mine = []
    for index in sorted(range(len(costs)), key=lambda index: (-costs[index], index)):
        least = loads.index(min(loads))
        loads[least] += costs[index]
        if least == rank():
            mine.append(index)
    return sorted(mine)


def sum_gradients(weights: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over the ranks; one that no rank has stays None."""
    if ranks() == 1:
        return
    weights = [weight for weight in weights if weight.requires_grad]
    device = weights[0].device
    present = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.int32, device=device)
    dist.all_reduce(present, op=dist.ReduceOp.MAX)
    wanted = [weight for weight, there in zip(weights, present.tolist(), strict=True) if there]
    for bucket in buckets(wanted):
        flat = torch.cat(
            [(torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten() for weight in bucket]
        )
        dist.all_reduce(flat)
        for weight, summed in zip(bucket, flat.split([weight.numel() for weight in bucket]), strict=True):
            weight.grad = summed.view_as(weight)


def buckets(weights: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The weights in their order, in groups of at most `BUCKET` numbers where a single one has no more."""
    found: list[list[nn.Parameter]] = []
    room = 0
    for weight in weights:
        if not found or weight.numel() > room:
            found.append([])
            room = BUCKET
        found[-1].append(weight)
        room -= weight.numel()
    return found


def total(values: Sequence[float], numerics: Numerics) -> list[float]:
    """Each number summed over the ranks."""
    if ranks() == 1:
        return list(values)
    summed = torch.tensor(values, dtype=torch.float64, device=device_of(numerics))
    dist.all_reduce(summed)
    return [float(value) for value in summed.tolist()]


def any_of(flag: bool, numerics: Numerics) -> bool:
    """Whether it is true on some rank; all ranks wait here for each other."""
    return total([float(flag)], numerics)[0] > 0
