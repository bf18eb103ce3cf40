"""A run that is stopped and resumed ends in the same bytes as one that was left alone."""

import json
import shutil
import signal
import subprocess
import time

import pytest

from tests.training.rlhf import world
from training.rlhf.workspace import Workspace

TINY = {"vocab_size": 300, "hidden_size": 32, "layers": 2, "heads": 2, "context_length": 32, "batch_size": 2}
SETTINGS = {
    "pretrain": {**TINY, "max_steps": 6, "eval_every": 2, "warmup_steps": 2, "sample_every": 3},
    "sft": {"batch_size": 4, "epochs": 2, "max_steps": 6, "learning_rate": 1e-3, "eval_every": 2, "publish": "best",
            "sample_every": 3, "sample_count": 1, "max_new_tokens": 4, "micro_batch_tokens": 200},
    "reward": {"batch_size": 3, "epochs": 2, "max_steps": 6, "learning_rate": 1e-3, "eval_every": 2, "ties": "margin"},
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The inputs of each stage."""
    folder = tmp_path_factory.mktemp("inputs")
    corpus = [{"text": text} for text in world.texts(60)] + [{"messages": world.user("hi") + world.assistant("ho")}]
    files = {
        "corpus": world.write(folder / "corpus.jsonl", corpus),
        "held_out": world.write(folder / "held_out.jsonl", [{"text": text} for text in world.texts(6)]),
        "demonstrations": world.write(folder / "demonstrations.jsonl", world.demonstrations(14)),
        "rankings": world.write(folder / "rankings.jsonl", world.rankings(11)),
    }
    base = world.make_base(folder / "base")
    return {
        "pretrain": {"train": files["corpus"], "validation": files["held_out"]},
        "sft": {"train": files["demonstrations"], "validation": files["demonstrations"], "policy": base},
        "reward": {
            "train": files["rankings"],
            "validation": files["rankings"],
            "demonstrations": files["demonstrations"],
            "policy": base,
        },
    }


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """Each stage run once without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    for stage, config in SETTINGS.items():
        assert world.run_here(world.run_json(stage, inputs[stage], folder / stage, config)) == 0
    return folder


def run_until(run, stop_at, monkeypatch):
    """Run, with a request to stop that arrives while step `stop_at` reports its metrics."""
    plain = Workspace.metrics

    def metrics(self, step, values):
        plain(self, step, values)
        if step == stop_at:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "metrics", metrics)
        return world.run_here(run)


@pytest.mark.parametrize("stage", SETTINGS)
@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_stopped_at_any_step_and_resumed_it_ends_in_the_same_bytes(
    stage, stop_at, inputs, whole, tmp_path, monkeypatch
):
    first, second = tmp_path / "first", tmp_path / "second"
    run = world.run_json(stage, inputs[stage], first, SETTINGS[stage])
    assert run_until(run, stop_at, monkeypatch) == 75
    assert world.events(first)[-1]["event"] == "stopped"
    checkpoint = world.events(first, "checkpoint")[-1]  # a best one may have been saved before
    assert checkpoint["step"] == stop_at

    shutil.move(first, tmp_path / "moved")  # another host may have it elsewhere
    given = {"path": str(tmp_path / "moved" / checkpoint["path"]), "sha256": checkpoint["sha256"]}
    assert world.run_here({**run, "output": str(second), "resume": given}) == 0

    assert world.events(second, "started")[0]["resumed_from"] == stop_at
    assert all(step > stop_at for step, _ in world.steps(second)), "metrics are not told twice"
    assert [*world.steps(tmp_path / "moved"), *world.steps(second)] == list(world.steps(whole / stage))
    assert world.weights(second) == world.weights(whole / stage)
    assert (second / "model" / "plackett.json").read_bytes() == (whole / stage / "model" / "plackett.json").read_bytes()
    finished = [world.events(folder, "finished")[0] for folder in (second, whole / stage)]
    assert finished[0]["result"] == finished[1]["result"]
    assert finished[0]["sha256"] == finished[1]["sha256"]


def test_samples_are_the_same_and_do_not_disturb_training(inputs, whole, tmp_path):
    config = {**SETTINGS["sft"], "sample_every": 0}
    assert world.run_here(world.run_json("sft", inputs["sft"], tmp_path / "quiet", config)) == 0
    assert world.weights(tmp_path / "quiet") == world.weights(whole / "sft")


def test_another_process_gives_the_same_bytes_and_another_seed_others(inputs, whole, tmp_path):
    """Nothing hangs on the process: hash seeds, the order of a set, an import."""
    run = world.run_json("pretrain", inputs["pretrain"], tmp_path / "out", SETTINGS["pretrain"])
    process = world.start_process(run, environment={"PYTHONHASHSEED": "99"})
    assert process.wait() == 0, process.stderr.read().decode()
    assert world.weights(tmp_path / "out") == world.weights(whole / "pretrain")
    tokenizer = "model/tokenizer.json"
    assert (tmp_path / "out" / tokenizer).read_bytes() == (whole / "pretrain" / tokenizer).read_bytes()
    assert world.run_here({**run, "seed": 8, "output": str(tmp_path / "other")}) == 0
    assert world.weights(tmp_path / "other") != world.weights(whole / "pretrain")


def test_sigterm_to_the_process_saves_and_ends_with_75(inputs, tmp_path):
    config = {**SETTINGS["sft"], "max_steps": 100_000, "epochs": 1000, "eval_every": 0, "sample_every": 0}
    config["checkpoint_every_steps"] = 5
    output = tmp_path / "out"
    process = world.start_process(world.run_json("sft", inputs["sft"], output, config))
    wait_for(lambda: output.exists() and len(world.events(output, "checkpoint")) > 3, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75
    last = world.events(output)[-1]
    assert last["event"] == "stopped"
    assert world.events(output, "checkpoint")[-1]["step"] == last["step"]
    assert len(list((output / "checkpoints").iterdir())) == 2  # keep_checkpoints; no metric is the best here


def test_the_core_ends_when_whoever_started_it_is_gone(inputs, tmp_path):
    import os

    reader, writer = os.pipe()
    config = {**SETTINGS["sft"], "max_steps": 100_000, "epochs": 1000, "eval_every": 0, "sample_every": 0}
    output = tmp_path / "out"
    process = world.start_process(
        world.run_json("sft", inputs["sft"], output, config),
        environment={"PLACKETT_LIFELINE_FD": str(reader)},
        pass_fds=[reader],
    )
    os.close(reader)
    wait_for(lambda: output.exists() and world.events(output, "metrics"), process)
    os.close(writer)
    assert process.wait() == 1


def wait_for(condition, process: subprocess.Popen):
    while not condition():  # as long as it takes: the limit of each test ends one that hangs
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.05)


def test_a_damaged_or_foreign_checkpoint_is_refused_in_words(inputs, tmp_path, monkeypatch):
    run = world.run_json("sft", inputs["sft"], tmp_path / "first", SETTINGS["sft"])
    run_until(run, 2, monkeypatch)
    checkpoint = world.events(tmp_path / "first", "checkpoint")[-1]
    folder = tmp_path / "first" / checkpoint["path"]

    def failure(output, resume, stage="sft"):
        again = world.run_json(stage, inputs[stage], tmp_path / output, SETTINGS[stage], resume=resume)
        assert world.run_here(again) == 65
        return world.events(tmp_path / output, "failed")[0]

    wrong = {"path": str(folder), "sha256": "0" * 64}
    assert "its hash differs" in failure("a", wrong)["message"]
    good = {"path": str(folder), "sha256": checkpoint["sha256"]}
    assert "belongs to another model or config" in failure("b", good, stage="reward")["message"]
    (folder / "state.json").write_text(json.dumps({"version": 1})[:5])
    assert "cannot be read" in failure("c", {"path": str(folder), "sha256": ""})["message"]
    assert "is not at" in failure("d", {"path": str(tmp_path / "nowhere"), "sha256": ""})["message"]
