"""Exported folders go into TRL 1.12.0's trainers as they are: opened with `datasets`, a step on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.rlhf.oracle import peer
from tests.training.rlhf.tiny import tiny_config, tiny_tokenizer
from training.card import CardFacts, dataset_card
from training.exports import TARGETS, write_all
from training.packing import shaped_row, write_file
from training.recipes import recipes_for

pytestmark = [
    pytest.mark.xdist_group("trl"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def rows_of(kind: str) -> list[dict[str, Any]]:
    prompts = [[turn("user", text)] for text in ("a b c", "b c d", "c d e", "d e f")]
    if kind == "demonstrations":
        return [{"prompt": prompt, "completion": [turn("assistant", "f g h")]} for prompt in prompts]
    answers = [{"content": "f g", "ratings": {"overall": 6}}, {"content": "h", "ratings": {"overall": 2}},
               {"content": "i j k", "ratings": {}}]  # fmt: skip
    return [{"prompt": prompt, "completions": answers, "ranks": [1, 2, 2]} for prompt in prompts]


def folder_of(kind: str, format: str, container: str, ties: str, folder: Path) -> Path:
    """The folder as `training.services.exports` writes it."""
    target = TARGETS[kind][format]
    columns = target.columns_for(ties)
    assert columns is not None
    (folder / "data").mkdir(parents=True)
    rows = [shaped_row(row, columns) for row in write_all(target, rows_of(kind), ties)]
    files = {"train": f"data/train.{container}"}
    write_file(folder / files["train"], rows, container, columns)
    facts = CardFacts(name="x", kind=kind, sha256="0", query=[], files=files, counts={"train": len(rows)},
                      columns=columns, target=target, facts={})  # fmt: skip
    (folder / "README.md").write_text(dataset_card(facts))
    for recipe in recipes_for(kind, format, container, files):
        (folder / recipe.path).parent.mkdir(exist_ok=True)
        (folder / recipe.path).write_text(recipe.content)
    return folder


CASES = [
    ("sft", "demonstrations", "prompt-completion", "jsonl", "drop"),
    ("sft", "demonstrations", "openai", "parquet", "drop"),
    ("reward", "rankings", "preference", "jsonl", "margin"),
    ("dpo", "rankings", "preference", "parquet", "drop"),
    ("kto", "rankings", "unpaired", "jsonl", "drop"),
]


@pytest.mark.parametrize(("stage", "kind", "format", "container", "ties"), CASES)
def test_a_trainer_takes_a_step_on_an_exported_folder(
    stage: str, kind: str, format: str, container: str, ties: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl.scripts.utils import ScriptArguments, TrlParser

    folder = folder_of(kind, format, container, ties, tmp_path / "folder")
    # What the configuration beside the data says is what `trl <stage> --config` would load.
    asked = TrlParser(ScriptArguments).parse_args_and_config(["--config", str(folder / f"trl/{stage}.yaml")],
                                                             fail_with_unknown_args=False)[0]  # fmt: skip
    assert (asked.dataset_name, asked.dataset_train_split) == (".", "train")
    from datasets import load_dataset

    data = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))[asked.dataset_train_split]
    config = tiny_config("llama", num_labels=1) if stage == "reward" else tiny_config("llama")
    auto = AutoModelForSequenceClassification if stage == "reward" else AutoModelForCausalLM
    trainer_class, config_class = trainer_of(stage)
    arguments = {**peer.PLAIN, "output_dir": str(tmp_path / "out"), "max_steps": 1, "per_device_train_batch_size": 2}
    reference = {"ref_model": auto.from_config(config)} if stage in {"dpo", "kto"} else {}
    trainer = trainer_class(
        **reference,
        model=auto.from_config(config),
        args=config_class(**arguments),
        train_dataset=data,
        processing_class=tiny_tokenizer(),
    )
    assert json.dumps(trainer.train().training_loss)


def trainer_of(stage: str) -> tuple[Any, Any]:
    import trl

    name = {"sft": "SFT", "reward": "Reward", "dpo": "DPO", "kto": "KTO"}[stage]
    return getattr(trl, f"{name}Trainer"), getattr(trl, f"{name}Config")
