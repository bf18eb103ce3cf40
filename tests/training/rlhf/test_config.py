"""Settings: ranges in words, JSON in and out, a schema that forms can be drawn from, no torch."""

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.rlhf.config import (
    CONFIGS,
    ConfigError,
    Numerics,
    config_from_dict,
    dataclass_schema,
    numerics_from_dict,
    schema,
)


@pytest.mark.parametrize("stage", CONFIGS)
def test_every_field_has_a_help_text_and_a_default_that_passes(stage):
    assert config_from_dict(stage, {}) == CONFIGS[stage]()
    for entry in schema(stage):
        assert len(entry["help"]) > 10, entry
        assert entry["type"] in {"int", "float", "bool", "str"}
        assert config_from_dict(stage, {entry["name"]: entry["default"]}) == CONFIGS[stage]()


@pytest.mark.parametrize("stage", CONFIGS)
def test_a_config_survives_json(stage):
    config = CONFIGS[stage]()
    assert config_from_dict(stage, dataclasses.asdict(config)) == config


@pytest.mark.parametrize(
    ("stage", "values", "words"),
    [
        ("sft", {"learning_rate": -1}, "learning_rate must be above 0, got -1.0"),
        ("sft", {"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ("sft", {"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ("sft", {"batch_size": 2.5}, "batch_size must be a whole number, got 2.5"),
        ("sft", {"batch_size": True}, "batch_size must be a whole number, got True"),
        ("sft", {"schedule": "zigzag"}, "schedule must be one of cosine, linear, constant, got 'zigzag'"),
        (
            "sft",
            {"learning_rat": 1},
            "there is no setting 'learning_rat' in stage sft; the settings are context_length",
        ),
        ("ppo", {"whiten_advantages": 1}, "whiten_advantages must be true or false, got 1"),
        (
            "ppo",
            {"minibatch_size": 64, "rollouts_per_update": 32},
            "minibatch_size must be at most rollouts_per_update",
        ),
        ("pretrain", {"hidden_size": 36, "heads": 4}, "hidden_size must be a multiple of twice the heads"),
        (
            "brew",
            {},
            "there is no stage 'brew'; the stages are pretrain, sft, reward, ppo, dpo, rloo, sample, evaluate",
        ),
    ],
)
def test_bad_values_get_a_sentence(stage, values, words):
    with pytest.raises(ConfigError) as error:
        config_from_dict(stage, values)
    assert words in str(error.value)


def test_numerics_are_checked_as_well():
    assert numerics_from_dict({"threads": 2}) == Numerics(threads=2)
    with pytest.raises(ConfigError, match="device must be one of auto, cpu, cuda, got 'tpu'"):
        numerics_from_dict({"device": "tpu"})
    assert {entry["name"] for entry in dataclass_schema(Numerics)} == {"device", "threads", "dtype", "matmul"}


@settings(deadline=None)
@given(st.sampled_from(list(CONFIGS)), st.data())
def test_the_schema_tells_the_truth_about_ranges(stage, data):
    entry = data.draw(st.sampled_from([item for item in schema(stage) if item["type"] in ("int", "float")]))
    low = entry.get("minimum", entry.get("above"))
    below = low - 1
    with pytest.raises(ConfigError, match=entry["name"]):
        config_from_dict(stage, {entry["name"]: below})
    if "maximum" in entry:
        with pytest.raises(ConfigError, match=f"{entry['name']} must be at most"):
            config_from_dict(stage, {entry["name"]: entry["maximum"] + 1})


def test_the_web_process_can_read_it_without_torch():
    heavy = {"torch", "numpy", "transformers", "django"}
    code = f"import sys, training.rlhf.config; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_core_alone_installs_what_the_platform_installs():
    from tests.training.rlhf.world import ROOT

    def pins(name):
        lines = (ROOT / name).read_text().splitlines()
        return {line.split("#")[0].strip() for line in lines if "==" in line.split("#")[0]}

    assert pins("requirements-core.txt") <= pins("requirements.txt")
    assert {pin.split("==")[0] for pin in pins("requirements-core.txt")} >= {"torch", "transformers", "tokenizers"}
