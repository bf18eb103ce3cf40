"""Registering a model folder: what can be trained goes in, everything else gets a sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from annotation.models import AuditEvent, Membership, Project
from training import files
from training.errors import ModelError
from training.models import Artifact, Model
from training.selectors.models import files_in
from training.services.models import folders_to_register, model_register_folder


@pytest.fixture
def shelf(settings: Any, tmp_path: Path) -> Path:
    settings.MODELS_DIR = tmp_path / "models"
    settings.MODELS_DIR.mkdir()
    return settings.MODELS_DIR


def put(shelf: Path, name: str = "tiny", config: Any = None, **contents: bytes | str | None) -> Path:
    """A folder that is fine, but for what the test says of it."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [4, 5], "data_offsets": [0, 80]}}).encode()
    fine: dict[str, Any] = {
        "config_json": json.dumps(
            config or {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128}
        ),
        "model_safetensors": struct.pack("<Q", len(header)) + header + bytes(80),
        "tokenizer_json": json.dumps({"model": {"vocab": {"a": 0}}}),
    }
    folder = shelf / name
    folder.mkdir()
    for key, content in (fine | contents).items():
        path = folder / ".".join(key.rsplit("_", 1))
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_a_folder_becomes_a_model(project: Project, ada: Membership, shelf: Path) -> None:
    put(shelf)
    assert folders_to_register() == ["tiny"]
    model = model_register_folder(project=project, folder_name="tiny", by=ada)
    assert (model.name, model.kind, model.source, model.run) == ("tiny", "policy", "tiny", None)
    assert (model.parameters, model.context_length) == (20, 128)
    folder = files.path_of(model.artifact)
    assert files.folder_hash(folder) == model.artifact.sha256
    assert {item["name"] for item in files_in(model.artifact)} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert AuditEvent.objects.filter(verb="model.register", target_id=str(model.pk)).exists()


def test_code_and_pickles_stay_behind(project: Project, ada: Membership, shelf: Path) -> None:
    put(shelf, modeling_tiny_py="import os", optimizer_pt=b"pickle", pytorch_model_bin=b"pickle")
    model = model_register_folder(project=project, folder_name="tiny", by=ada)
    assert not {item["name"] for item in files_in(model.artifact)} & {"modeling_tiny.py", "optimizer.pt"}


def test_a_reward_model_is_known_as_one(project: Project, ada: Membership, shelf: Path) -> None:
    put(shelf, config={"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]})
    assert model_register_folder(project=project, folder_name="tiny", by=ada).kind == "reward_model"


GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"config_json": None}, "no config.json"),
        ({"config_json": "{"}, "can't be read as JSON"),
        ({"config_json": "[]"}, "not a JSON object"),
        ({"config": {"hidden_size": 3}}, "names no model_type"),
        ({"config": {"model_type": "t5", "is_encoder_decoder": True}}, "encoder-decoder"),
        ({"config": {"model_type": "bert", "architectures": ["BertForMaskedLM"]}}, "does not write text"),
        ({"config": {"model_type": "bert"}}, "is an encoder"),
        ({"config": GPT2 | {"auto_map": {"AutoModel": "x.Y"}}}, "code of its own"),
        ({"model_safetensors": None}, "no weights"),
        ({"model_safetensors": None, "pytorch_model_bin": b"pickle"}, "may hide code"),
        ({"model_safetensors": b"short"}, "not a whole safetensors file"),
        ({"model_safetensors": struct.pack("<Q", 2) + b"[]"}, "not a whole safetensors file"),
        ({"tokenizer_json": None}, "no tokenizer"),
        (
            {"model.safetensors.index_json": json.dumps({"weight_map": {"w": "model-00002-of-00002.safetensors"}})},
            "lacks the weights file model-00002",
        ),
    ],
)
def test_what_cannot_be_trained_gets_a_sentence(
    project: Project, ada: Membership, shelf: Path, values: dict[str, Any], said: str
) -> None:
    put(shelf, **values)
    with pytest.raises(ModelError, match=said):
        model_register_folder(project=project, folder_name="tiny", by=ada)
    assert not Model.objects.exists() and not Artifact.objects.exists()


@pytest.mark.parametrize("name", ["../secret", "/etc", "tiny/../../secret", "", ".", "..", "none", "a\x00b"])
def test_only_names_on_the_list_are_taken(project: Project, ada: Membership, shelf: Path, name: str) -> None:
    put(shelf.parent, "secret")
    put(shelf)
    with pytest.raises(ModelError, match=r"There is no model folder|no config\.json"):
        model_register_folder(project=project, folder_name=name, by=ada)
    assert not Model.objects.exists()


def test_a_cut_off_weights_file_is_found(project: Project, ada: Membership, shelf: Path) -> None:
    folder = put(shelf)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(ModelError, match="cut off"):
        model_register_folder(project=project, folder_name="tiny", by=ada)


def test_the_same_folder_twice_is_refused_and_names_stay_apart(project: Project, ada: Membership, shelf: Path) -> None:
    folder = put(shelf)
    model_register_folder(project=project, folder_name="tiny", by=ada)
    with pytest.raises(ModelError, match="registered already, as tiny"):
        model_register_folder(project=project, folder_name="tiny", by=ada)
    (folder / "tokenizer.json").write_text("{}")
    assert model_register_folder(project=project, folder_name="tiny", by=ada).name == "tiny-2"
