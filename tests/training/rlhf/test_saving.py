"""Checkpoints beside training: the steps do not wait, nothing is said too early, and no result depends on when."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import threading

import pytest
import torch
from safetensors.torch import load_file

from tests.training.rlhf import world
from training.rlhf import checkpoint
from training.rlhf.checkpoint import Snapshot, sha256_of, write_checkpoint, write_tensors
from training.rlhf.config import ConfigError, config_from_dict
from training.rlhf.errors import NumericsError
from training.rlhf.watch import Watch
from training.rlhf.workspace import Workspace

TINY = {"vocab_size": 300, "hidden_size": 32, "layers": 1, "heads": 2, "context_length": 32, "batch_size": 2}
CONFIG = {**TINY, "max_steps": 8, "eval_every": 2, "checkpoint_every_seconds": 0, "best_checkpoint": "none"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    rows = [{"text": text} for text in world.texts(60)]
    return {
        "train": world.write(folder / "corpus.jsonl", rows),
        "validation": world.write(folder / "held_out.jsonl", rows[:6]),
    }


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """The run that saves nothing."""
    output = tmp_path_factory.mktemp("whole") / "out"
    assert world.run_here(world.run_json("pretrain", inputs, output, CONFIG)) == 0
    return output


def pretrain(inputs, output, expected=0, resume=None, **config):
    run = world.run_json("pretrain", inputs, output, {**CONFIG, **config}, resume=resume)
    assert world.run_here(run) == expected
    return output


def at_step(monkeypatch, actions):
    """Do something once a step has told its metrics."""
    plain = Workspace.metrics

    def metrics(self, step, values):
        plain(self, step, values)
        if step in actions:
            actions[step]()

    monkeypatch.setattr(Workspace, "metrics", metrics)


def names(output):
    return sorted(path.name for path in (output / "checkpoints").iterdir())


def test_the_steps_go_on_while_a_checkpoint_is_written_and_it_is_told_when_it_is_safe(
    inputs, whole, tmp_path, monkeypatch
):
    """The disk takes the checkpoint of step 2 only after step 5: what fell due meanwhile comes later."""
    disk, plain = threading.Event(), checkpoint.sync_tree

    def slow(folder):
        if folder.name == "step_00000002.tmp":
            assert disk.wait(60)
            assert not world.events(tmp_path / "out", "checkpoint"), "told before the disk had it"
        plain(folder)

    monkeypatch.setattr(checkpoint, "sync_tree", slow)
    at_step(monkeypatch, {5: disk.set})
    output = pretrain(inputs, tmp_path / "out", checkpoint_every_steps=2)
    told = [(event["event"], event.get("step")) for event in world.events(output)]
    assert told.index(("checkpoint", 2)) > told.index(("metrics", 5))
    assert ("checkpoint", 4) not in told
    assert world.weights(output) == world.weights(whole)
    first = world.events(output, "checkpoint")[0]
    if (output / first["path"]).exists():
        assert sha256_of(output / first["path"]) == first["sha256"]


def test_the_clock_decides_when_files_appear_and_nothing_else(inputs, whole, tmp_path):
    """A copy taken while training goes on is the state of its step: a run resumed from it ends in the same bytes."""
    output = pretrain(inputs, tmp_path / "out", checkpoint_every_seconds=1e-9, keep_checkpoints=100)
    assert world.weights(output) == world.weights(whole)
    assert list(world.steps(output)) == list(world.steps(whole))
    saved = world.events(output, "checkpoint")
    assert saved
    for event in saved:
        resume = {"path": str(output / event["path"]), "sha256": event["sha256"]}
        again = pretrain(inputs, tmp_path / f"from-{event['step']}", resume=resume, checkpoint_every_seconds=1e-9)
        assert world.weights(again) == world.weights(whole)


def test_the_newest_and_the_best_are_kept(inputs, tmp_path, monkeypatch):
    """The validation loss is made to be best at step 4; each checkpoint is waited for, so that none is left out."""
    losses = {2: 3.0, 4: 1.0, 6: 2.0}
    plain, saved = Workspace.metrics, Workspace.start_checkpoint

    def metrics(self, step, values):
        plain(self, step, values | ({"loss/validation": losses[step]} if step in losses else {}))

    def start(self, step):
        saved(self, step)
        self.saver.wait()

    monkeypatch.setattr(Workspace, "metrics", metrics)
    monkeypatch.setattr(Workspace, "start_checkpoint", start)
    output = pretrain(
        inputs, tmp_path / "out", checkpoint_every_steps=1, keep_checkpoints=1, best_checkpoint="auto", eval_every=0
    )
    assert names(output) == ["step_00000004", "step_00000007"]
    assert {event["step"]: event.get("value") for event in world.events(output, "checkpoint")}[4] == 1.0


def test_a_better_value_is_saved_when_it_appears(inputs, tmp_path):
    """With neither steps nor clock, an evaluation that is the best so far is reason enough."""
    output = pretrain(inputs, tmp_path / "out", best_checkpoint="lowest loss/validation", keep_checkpoints=1)
    assert {event["step"] for event in world.events(output, "checkpoint")} <= {2, 4, 6}
    assert world.events(output, "checkpoint")[0]["metric"] == "loss/validation"


def test_a_supervised_run_deletes_no_checkpoint_itself(inputs, tmp_path, monkeypatch):
    saved = Workspace.start_checkpoint

    def start(self, step):
        saved(self, step)
        self.saver.wait()

    monkeypatch.setattr(Workspace, "start_checkpoint", start)
    run = world.run_json("pretrain", inputs, tmp_path / "out", {**CONFIG, "checkpoint_every_steps": 2}, supervised=True)
    run["config"]["keep_checkpoints"] = 1
    assert world.run_here(run) == 0
    assert names(tmp_path / "out") == ["step_00000002", "step_00000004", "step_00000006"]


@contextlib.contextmanager
def small_disk(folder):
    """A file system of two megabytes, where we may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_older_checkpoint_and_says_so(inputs, whole, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk") as disk:

        def fill():
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as stream:
                while True:
                    stream.write(bytes(4096))
            (disk / "filler").open("r+b").truncate((disk / "filler").stat().st_size - 40_000)  # events still fit

        at_step(monkeypatch, {3: fill, 6: (disk / "filler").unlink})
        full_disk_run(inputs, whole, disk / "out")


def test_a_file_size_limit_is_as_good_as_a_full_disk(inputs, whole, tmp_path, monkeypatch):
    """What a quota does, for those who may not mount."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    at_step(
        monkeypatch,
        {
            3: lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1])),
            6: lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before),
        },
    )
    try:
        full_disk_run(inputs, whole, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full_disk_run(inputs, whole, output):
    """Steps 2 and 6 find room, step 4 does not."""
    with pytest.MonkeyPatch.context() as patch:
        saved = Workspace.start_checkpoint

        def start(self, step):
            saved(self, step)
            self.saver.wait()

        patch.setattr(Workspace, "start_checkpoint", start)
        pretrain(inputs, output, checkpoint_every_steps=2)
    assert [event["step"] for event in world.events(output, "checkpoint")] == [2, 6]
    [note] = world.events(output, "note")
    assert (note["level"], note["problem"]) == ("warning", "disk")
    assert "step 4 could not be written" in note["message"] and "the one at step 2 is kept" in note["message"]
    assert names(output) == ["step_00000002", "step_00000006"], "nothing half written is left"
    assert world.weights(output) == world.weights(whole)


def test_a_stop_that_cannot_save_fails_in_words_and_not_as_stopped(inputs, tmp_path, monkeypatch):
    import errno
    import signal

    def full(folder, snapshot):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(checkpoint, "write_snapshot", full)
    at_step(monkeypatch, {3: lambda: signal.raise_signal(signal.SIGTERM)})
    output = pretrain(inputs, tmp_path / "out", expected=74)
    [failed] = world.events(output, "failed")
    assert (failed["reason"], world.events(output, "stopped")) == ("disk", [])
    assert "the disk is full" in failed["message"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    good = Snapshot(1, {}, {"t0": torch.ones(3)})
    write_checkpoint(tmp_path, good)
    with pytest.raises(NumericsError, match="no longer finite at step 2"):
        write_checkpoint(tmp_path, Snapshot(2, {}, {"t0": torch.tensor([1.0, float("nan")])}))
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


def test_our_file_of_tensors_reads_back_through_the_library(tmp_path):
    tensors = {
        "half": torch.randn(3, 5).bfloat16(),
        "whole": torch.arange(7),
        "yes": torch.tensor([True, False, True]),
        "one": torch.tensor(3.5, dtype=torch.float64),
        "none": torch.zeros(0, 4),
        "bytes": torch.randint(0, 255, (9,), dtype=torch.uint8),
    }
    write_tensors(tmp_path / "t.safetensors", tensors)
    back = load_file(tmp_path / "t.safetensors")
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor), name


@pytest.mark.parametrize(("version", "words"), [(3, "reads up to 2: update Plackett"), (None, "format None")])
def test_a_format_that_this_code_does_not_know_is_refused_in_words(inputs, tmp_path, version, words):
    resume = saved_at_step(inputs, tmp_path, lambda content: content.update(version=version))
    output = pretrain(inputs, tmp_path / "again", expected=65, resume=resume, checkpoint_every_steps=2)
    assert words in world.events(output, "failed")[0]["message"]


def test_the_format_before_is_still_read(inputs, whole, tmp_path):
    def older(content):
        content["version"] = 1
        del content["state"]["watch"]

    output = pretrain(inputs, tmp_path / "again", resume=saved_at_step(inputs, tmp_path, older))
    assert world.weights(output) == world.weights(whole)


def saved_at_step(inputs, tmp_path, change):
    """A checkpoint whose state.json was changed, to resume from."""
    output = pretrain(inputs, tmp_path / "first", checkpoint_every_steps=2, keep_checkpoints=9)
    folder = tmp_path / "changed"
    shutil.copytree(output / world.events(output, "checkpoint")[0]["path"], folder)
    content = json.loads((folder / "state.json").read_text())
    change(content)
    (folder / "state.json").write_text(json.dumps(content))
    return {"path": str(folder), "sha256": sha256_of(folder)}


# What is watched


def test_an_exploding_loss_stops_the_run_and_keeps_the_last_checkpoint(inputs, tmp_path):
    output = pretrain(inputs, tmp_path / "out", expected=70, checkpoint_every_steps=2, max_loss_rise=0.01)
    [failed] = world.events(output, "failed")
    assert failed["reason"] == "numerics" and "the loss exploded" in failed["message"]
    assert "retry from the last checkpoint" in failed["message"]
    assert [step for step, _ in world.steps(output)][-1] == 3
    assert names(output) == ["step_00000002"]


def test_a_loss_that_rises_once_is_no_explosion():
    watch = Watch("sft", config_from_dict("sft", {}))
    for step, loss in enumerate([2.0, 2.0, 2.0, 90.0, 90.0, 2.0, 90.0, 90.0], 1):
        watch.look(step, {"loss/train": loss})
    with pytest.raises(NumericsError, match="90 at step 9, and 2 when the run began"):
        watch.look(9, {"loss/train": 90.0})


def test_a_loss_that_begins_near_nothing_may_rise_tenfold():
    watch = Watch("sft", config_from_dict("sft", {}))
    for step, loss in enumerate([0.01, 0.01, 0.01, 0.9, 0.9, 0.9, 0.9], 1):
        watch.look(step, {"loss/train": loss})


def test_a_kl_that_explodes_stops_ppo():
    watch = Watch("ppo", config_from_dict("ppo", {}))
    for step in (1, 2):
        watch.look(step, {"objective/kl": 400.0, "response/length": 100.0})
    with pytest.raises(NumericsError, match="4 nats a token at step 3; raise kl_coef"):
        watch.look(3, {"objective/kl": 400.0, "response/length": 100.0})
    never = Watch("ppo", config_from_dict("ppo", {"max_token_kl": 0}))
    for step in range(9):
        never.look(step, {"objective/kl": 1e6, "response/length": 1.0})


def test_what_was_watched_is_part_of_the_checkpoint():
    """Two bad steps before a stop and one after it are three."""
    before, after = (Watch("sft", config_from_dict("sft", {})) for _ in range(2))
    for step, loss in enumerate([2.0, 2.0, 2.0, 90.0, 90.0], 1):
        before.look(step, {"loss/train": loss})
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    with pytest.raises(NumericsError):
        after.look(6, {"loss/train": 90.0})


def test_the_metric_of_the_best_checkpoint_is_checked_in_words():
    assert Watch("reward", config_from_dict("reward", {})).best == ("accuracy/validation", "highest")
    asked = config_from_dict("ppo", {"best_checkpoint": "highest value/explained_variance"})
    assert Watch("ppo", asked).best == ("value/explained_variance", "highest")
    with pytest.raises(ConfigError, match="best_checkpoint must be auto, none, or lowest or highest"):
        config_from_dict("sft", {"best_checkpoint": "loss/validation"})
