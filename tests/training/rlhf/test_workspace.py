"""The harness: what is refused, how a run fails, what it says; model folders that cannot be used."""

import json
import math

import pytest
import torch
from transformers import BertConfig, BertLMHeadModel, T5Config, T5ForConditionalGeneration

from tests.training.rlhf import world
from training.rlhf import __main__ as harness
from training.rlhf.checkpoint import sha256_of
from training.rlhf.config import Numerics
from training.rlhf.errors import ModelError, NumericsError
from training.rlhf.model import load_policy, load_reward_model
from training.rlhf.optim import learning_rate_at
from training.rlhf.workspace import StepMetrics, Workspace

CPU = Numerics(device="cpu", threads=1, dtype="float32")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return world.make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def run(base, tmp_path):
    train = world.write(tmp_path / "train.jsonl", world.demonstrations(8))
    return world.run_json("sft", {"train": train, "policy": base}, tmp_path / "out", {"max_steps": 2})


def failure(run, code):
    assert world.run_here(run) == code
    return world.events(harness.Path(run["output"]), "failed")[-1]


def test_events_are_as_agreed(run, tmp_path):
    assert world.run_here(run) == 0
    output = tmp_path / "out"
    kinds = [event["event"] for event in world.events(output) if event["event"] != "progress"]
    assert kinds == ["data", "started", "metrics", "metrics", "finished"]
    started = world.events(output, "started")[0]
    assert (started["total_steps"], started["resumed_from"], started["device"]) == (2, 0, "cpu")
    assert set(started["versions"]) == {"torch", "transformers", "tokenizers", "cpu"}
    for event in world.events(output, "metrics"):
        assert {"loss/train", "lr", "grad_norm", "tokens_per_second"} <= set(event["metrics"])
        assert all(isinstance(value, float) and math.isfinite(value) for value in event["metrics"].values())
    finished = world.events(output, "finished")[0]
    assert finished["path"] == "model"
    assert finished["sha256"] == sha256_of(output / "model")
    card = json.loads((output / "model" / "plackett.json").read_text())
    assert card["inputs"]["policy"] == sha256_of(harness.Path(run["inputs"]["policy"]["path"]))
    assert str(tmp_path) not in json.dumps(card)  # no path of this machine


def test_inputs_are_checked_before_the_first_step(run):
    right = sha256_of(harness.Path(run["inputs"]["policy"]["path"]))
    run["inputs"]["policy"]["sha256"] = right
    assert world.run_here(run) == 0
    run["inputs"]["train"]["sha256"] = "ab" * 32
    failed = failure(run, 65)
    assert failed["reason"] == "data"
    assert "the input train" in failed["message"]
    assert "its hash differs" in failed["message"]


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"config": {"learning_rate": -1}}, "config", "learning_rate must be above 0"),
        ({"config": {"context_length": 4000}}, "data", "the model takes at most 96 tokens; lower it"),
        ({"numerics": {"device": "tpu"}}, "config", "device must be one of"),
        ({"inputs": {}}, "data", "the stage sft needs the input 'policy'"),
        ({"config": {"context_length": 5}}, "data", "no demonstration is left"),
    ],
)
def test_bad_runs_fail_in_words(run, change, reason, words):
    failed = failure({**run, **change}, 65)
    assert failed["reason"] == reason
    assert words in failed["message"]


def test_a_loss_that_is_not_a_number_fails_the_run(run, monkeypatch):
    import training.rlhf.sft as stage

    def explode(config, work):
        work.resume({}, total_steps=3)
        yield StepMetrics(1, {"loss/train": 1.0})
        yield StepMetrics(2, {"loss/train": math.nan})

    monkeypatch.setattr(stage, "run", explode)
    failed = failure(run, 70)
    assert failed["reason"] == "numerics"
    assert failed["message"].startswith("loss/train became nan at step 2; lower the learning rate")
    assert [step for step, _ in world.steps(harness.Path(run["output"]))] == [1]


def test_weights_that_are_not_finite_are_not_published(run):
    work = Workspace.open(run)
    model = torch.nn.Linear(2, 2)
    model.weight.data[0, 0] = math.inf
    with pytest.raises(NumericsError, match="weight is not finite"):
        work.publish_model(model, None, {})
    with pytest.raises(NumericsError):
        work.event("sample", score=math.nan)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (MemoryError(), 71, "memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), 71, "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 71, "memory"),
        (OSError(28, "No space left on device"), 74, "disk"),
        (ZeroDivisionError("division by zero"), 1, "crash"),
    ],
)
def test_errors_become_events_and_exit_codes(run, monkeypatch, error, code, reason):
    import training.rlhf.sft as stage

    def broken(config, work):
        raise error
        yield

    monkeypatch.setattr(stage, "run", broken)
    failed = failure(run, code)
    assert failed["reason"] == reason
    assert "Traceback" not in failed["message"]
    if code == 71:
        assert "lower micro_batch_tokens" in failed["message"]


def test_a_run_file_that_cannot_be_read_ends_with_65(tmp_path, capsys, run):
    path = tmp_path / "run.json"
    path.write_text("{")
    assert harness.main(["sft", "--config", str(path)]) == 65
    assert "cannot be read as JSON" in capsys.readouterr().err
    path.write_text(json.dumps(run))
    assert harness.main(["reward", "--config", str(path)]) == 65
    assert "is for the stage 'sft', not 'reward'" in capsys.readouterr().err


def test_a_stop_before_the_first_step_ends_at_once(run):
    work = Workspace.open(run)
    work.stop_requested = True
    with pytest.raises(harness_stopped()):
        work.progress("loading")


def harness_stopped():
    from training.rlhf.errors import Stopped

    return Stopped


# Model folders


def test_folders_that_are_no_policy_are_refused_in_words(tmp_path, base):
    with pytest.raises(ModelError, match=r"is not a model folder: it has no config\.json"):
        load_policy(tmp_path, CPU)
    (tmp_path / "config.json").write_text((base / "config.json").read_text())
    with pytest.raises(ModelError, match="has no weights"):
        load_policy(tmp_path, CPU)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match=r"as \.bin files, which can run code when opened; convert them"):
        load_policy(tmp_path, CPU)
    (tmp_path / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="cannot be opened"):
        load_policy(tmp_path, CPU)


def test_other_architectures_are_refused_in_words(tmp_path):
    small = {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(vocab_size=50, **small)).save_pretrained(tmp_path / "t5")
    with pytest.raises(ModelError, match="holds a t5, not a decoder-only language model"):
        load_policy(tmp_path / "t5", CPU)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertLMHeadModel(BertConfig(vocab_size=50, **shape)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match="reads text in both directions"):
        load_policy(tmp_path / "bert", CPU)


def test_a_policy_is_no_reward_model_and_weights_must_be_whole(tmp_path, base):
    with pytest.raises(ModelError, match="holds a policy; a reward model is needed"):
        load_reward_model(base, CPU)
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_text((base / "config.json").read_text())
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if "layers.1" in name)
    save_file({key: value for key, value in weights.items() if key != name}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="lacks weights"):
        load_policy(tmp_path, CPU)


# Learning rates


def test_learning_rates_by_hand():
    def rates(schedule, warmup=2, total=6):
        steps = range(1, total + 1)
        return [learning_rate_at(step, peak=1.0, schedule=schedule, warmup=warmup, total=total) for step in steps]

    # two steps of warm-up from a tenth; then the peak, and cosine to a tenth over three steps: 1, .775, .325, .1
    assert rates("cosine") == pytest.approx([0.1, 0.55, 1.0, 0.775, 0.325, 0.1])
    assert rates("linear") == pytest.approx([0.1, 0.55, 1.0, 0.75, 0.5, 0.25])
    assert rates("constant") == pytest.approx([0.1, 0.55, 1.0, 1.0, 1.0, 1.0])
    assert rates("cosine", warmup=0, total=1) == [1.0]
    assert rates("cosine", warmup=9, total=3) == pytest.approx([0.1, 0.2, 0.3])
