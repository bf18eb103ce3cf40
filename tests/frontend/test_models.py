"""Models: the list, one model with its family and files, registering a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotation.models import User
from tests.factories import ArtifactFactory, ModelFactory, RunFactory
from tests.frontend.scene import Scene
from training.files import file_hash
from training.models import Model, RunInput, Snapshot, SnapshotLabel

As = Callable[[User], Client]


def page(scene: Scene, name: str, *args: object) -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, *args])


@pytest.fixture
def folder() -> Path:
    """A place below MODELS_DIR for this test's own model folder."""
    made = Path(settings.MODELS_DIR) / f"tiny-{uuid4().hex[:6]}"
    made.mkdir(parents=True)
    return made


def test_the_list_filters_and_stays_flat(scene: Scene, as_: As, django_assert_num_queries: Callable) -> None:
    client, url = as_(scene.rob), page(scene, "models")
    assert "No models yet" in client.get(url).content.decode()
    ModelFactory(project=scene.project, name="scorer", kind="reward_model")
    with CaptureQueriesContext(connection) as few:
        client.get(url)
    ModelFactory.create_batch(30, project=scene.project)
    with django_assert_num_queries(len(few)):
        assert len(client.get(url).context["page"].rows) == 31
    assert [model.name for model in client.get(url, {"kind": "reward_model"}).context["page"].rows] == ["scorer"]


def test_a_reward_models_page_shows_how_far_it_agrees_with_people(scene: Scene, as_: As) -> None:
    measured = {"accuracy": 0.82, "accuracy/low": 0.74, "accuracy/high": 0.88, "kendall_tau": 0.61, "pairs": 1200.0}
    card = {
        "metrics": {"accuracy/validation": 0.82, "accuracy/validation/low": 0.74, "accuracy/validation/high": 0.88},
        "agreement": [
            {"part": "all", "value": "", "rankings": 300.0, **measured, "calibration_error": 0.05},
            {"part": "k", "value": "4", "rankings": 7.0, "pairs": 0.0},
            {"part": "category", "value": "open_qa", "rankings": 20.0, **measured},
        ],
        "calibration": [{"low": 0.9, "high": 0.95, "pairs": 40.0, "predicted": 0.93, "happened": 0.875}],
    }
    model = ModelFactory(project=scene.project, name="scorer", kind="reward_model", card=card)
    response = as_(scene.rob).get(page(scene, "model", model.pk))
    rows = response.context["agreement"]
    assert [row["which"] for row in rows] == ["all", "with 4 answers", "Open QA"]
    assert rows[0] == {
        "which": "all", "rankings": "300", "pairs": "1,200", "accuracy": "0.82 (0.74–0.88)", "tau": "0.61",
        "calibration": "0.05",
    }  # fmt: skip
    assert (rows[1]["accuracy"], rows[1]["tau"]) == ("–", "–")
    text = response.content.decode()
    assert "0.82 (0.74–0.88)" in text and "90%–95%" in text and "88%" in text
    plain = ModelFactory(project=scene.project, name="plain", card={})
    assert "Agreement with held-out" not in as_(scene.rob).get(page(scene, "model", plain.pk)).content.decode()


def test_a_models_page_shows_family_metrics_labels_and_files(scene: Scene, as_: As) -> None:
    artifact = ArtifactFactory()
    place = Path(settings.FILES_DIR) / artifact.storage_key
    place.mkdir(parents=True)
    (place / "config.json").write_text("{}")
    parent = RunFactory(project=scene.project, stage="sft", name="the-sft", state="queued")
    snapshot = Snapshot.objects.create(
        project=scene.project, kind="demonstrations", name="frozen", manifest={}, sha256="a" * 64, artifact=artifact
    )
    SnapshotLabel.objects.create(snapshot=snapshot, label_id=uuid4())
    RunInput.objects.create(run=parent, name="train", snapshot=snapshot)
    model = ModelFactory(
        project=scene.project,
        name="the-model",
        run=parent,
        artifact=artifact,
        parameters=1_234_567,
        card={"metrics": {"loss/validation": 1.5}},
    )
    user = RunFactory(project=scene.project, stage="sample", name="asks-it")
    RunInput.objects.create(run=user, name="policy", model=model)
    client = as_(scene.rob)
    text = client.get(page(scene, "model", model.pk)).content.decode()
    for found in ("the-sft", "frozen", "asks-it", "1,234,567", "loss/validation", "1.50", "config.json"):
        assert found in text, found
    assert "<dt>Demonstrations</dt><dd>1</dd>" in text
    sums = client.get(page(scene, "model_hashes", model.pk))
    lines = b"".join(sums.streaming_content).decode().splitlines()
    assert lines == [f"{file_hash(place / 'config.json')}  config.json"]


def test_who_may_see_and_register(scene: Scene, as_: As) -> None:
    model = ModelFactory(project=scene.project)
    for who, read, register in (
        (scene.alice, 404, 404),
        (scene.rita, 200, 404),
        (scene.rob, 200, 404),
        (scene.ada, 200, 200),
        (scene.sam, 404, 404),
    ):
        client = as_(who)
        assert client.get(page(scene, "model", model.pk)).status_code == read
        assert client.get(page(scene, "models")).status_code == read
        assert client.get(page(scene, "model_hashes", model.pk)).status_code == read
        assert client.get(page(scene, "model_register")).status_code == register
        assert client.post(page(scene, "model_register"), {"folder": "x"}).status_code in {404, 422}
    assert as_(scene.ada).get(page(scene, "model", ModelFactory().pk)).status_code == 404


def test_a_folder_that_is_no_model_is_refused_in_words(scene: Scene, as_: As, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    response = as_(scene.ada).post(page(scene, "model_register"), {"folder": folder.name})
    assert response.status_code == 422
    assert response.context["form"].errors["folder"]
    assert not Model.objects.exists()


def test_only_folders_on_the_list_can_be_named(scene: Scene, as_: As, folder: Path) -> None:
    for name in ("../", "/etc", "nowhere"):
        assert as_(scene.ada).post(page(scene, "model_register"), {"folder": name}).status_code == 422
    assert not Model.objects.exists()


def test_a_model_folder_is_registered(scene: Scene, as_: As, folder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {"<s>": 0, "</s>": 1, "a": 2}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    client = as_(scene.ada)
    assert folder.name in client.get(page(scene, "model_register")).content.decode()
    response = client.post(page(scene, "model_register"), {"folder": folder.name, "name": "my llama"})
    model = Model.objects.get()
    assert response["Location"] == page(scene, "model", model.pk)
    assert (model.name, model.kind, model.context_length, model.created_by) == ("my llama", "policy", 64, scene.ada)
    assert model.source == folder.name
