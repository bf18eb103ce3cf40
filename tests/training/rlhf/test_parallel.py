"""Two processes that share each batch end where one does."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.training.rlhf import world
from training.rlhf import parallel
from training.rlhf.config import ConfigError, Numerics

CPU = Numerics(device="cpu", threads=1, dtype="float32")
CONFIGS = {
    "sft": {"batch_size": 5, "max_steps": 4, "learning_rate": 1e-3, "eval_every": 2, "sample_every": 0},
    "reward": {"batch_size": 3, "max_steps": 4, "learning_rate": 1e-3, "eval_every": 2},
    "sft_with_adapters": {"batch_size": 1, "max_steps": 3, "learning_rate": 1e-2, "lora_rank": 2, "eval_every": 0},
}


def test_the_ranks_shares_are_the_batch_and_as_even_as_they_can_be(monkeypatch):
    costs = [9, 1, 5, 4, 4, 1]
    monkeypatch.setattr(parallel, "ranks", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        shares.append(parallel.share(costs))
    assert sorted(index for part in shares for index in part) == list(range(6))
    assert sorted(sum(costs[index] for index in part) for part in shares) == [7, 8, 9]


def test_buckets_hold_each_weight_once_in_order(monkeypatch):
    monkeypatch.setattr(parallel, "BUCKET", 10)
    weights = [torch.nn.Parameter(torch.zeros(size)) for size in (4, 6, 1, 30, 2)]
    assert [[len(weight) for weight in bucket] for bucket in parallel.buckets(weights)] == [[4, 6], [1], [30], [2]]


def test_a_stage_that_runs_alone_says_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="the stage ppo runs in one process; torchrun is for sft and reward"):
        parallel.join("ppo", CPU)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Each run by one process, and the same by two, which are given what torchrun would give them."""
    folder = tmp_path_factory.mktemp("parallel")
    base = world.make_base(folder / "base")
    demonstrations = world.write(folder / "demonstrations.jsonl", world.demonstrations(14))
    rankings = world.write(folder / "rankings.jsonl", world.rankings(11))
    for name, config in CONFIGS.items():
        stage = name.partition("_")[0]
        rows = demonstrations if stage == "sft" else rankings
        run = world.run_json(stage, {"train": rows, "validation": rows, "policy": base}, folder / "one" / name, config)
        run["numerics"]["dtype"] = "float32"
        assert world.run_here(run) == 0
        (folder / f"{name}.json").write_text(json.dumps({**run, "output": str(folder / "two" / name)}))
    code = (
        "import json, sys; from training.rlhf.__main__ import run_stage;"
        "sys.exit(sum(run_stage(json.load(open(path))) for path in sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *(str(folder / f"{name}.json") for name in CONFIGS)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command,
            cwd=world.ROOT,
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_end_in_the_weights_of_one(name, runs):
    """Also where a rank has nothing to do: a batch of one demonstration."""
    one, two = (load_file(runs / how / name / "model" / "model.safetensors") for how in ("one", "two"))
    base = load_file(runs / "base" / "model.safetensors")
    assert one.keys() == two.keys()
    for weight in one:
        torch.testing.assert_close(two[weight], one[weight], atol=2e-5, rtol=1e-4, msg=weight)
    moved = [weight for weight in base if not torch.equal(base[weight], two[weight][: len(base[weight])])]
    assert moved


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_tell_what_one_tells_once(name, runs):
    one, two = (list(world.steps(runs / how / name)) for how in ("one", "two"))
    assert [step for step, _ in two] == [step for step, _ in one]
    for (_, wanted), (_, found) in zip(one, two, strict=True):
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    assert len(world.events(runs / "two" / name, "finished")) == 1
