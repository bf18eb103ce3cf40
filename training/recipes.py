"""Files for other trainers beside an exported dataset: how each is told where the columns are. Pure.

Names as of TRL 1.12 (`trl <stage> --config`), LLaMA-Factory (`dataset_info.json`), OpenRLHF (`openrlhf.cli.train_*`),
and verl (`verl.trainer`). Each names data by its path in the folder, so they are run from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Recipe(NamedTuple):
    path: str
    content: str
    about: str


# (kind, format): stages
TRL_STAGES: dict[tuple[str, str], tuple[str, ...]] = {
    ("corpus", "text"): ("sft",),
    ("demonstrations", "prompt-completion"): ("sft",),
    ("demonstrations", "openai"): ("sft",),
    ("rankings", "preference"): ("reward", "dpo"),
    ("rankings", "unpaired"): ("kto",),
}
OPENRLHF: dict[tuple[str, str], dict[str, str]] = {
    ("demonstrations", "prompt-completion"): {
        "train_sft": "--input_key prompt --output_key completion --apply_chat_template"
    },
    ("demonstrations", "openai"): {"train_sft": "--input_key messages --apply_chat_template"},
    ("rankings", "preference"): {
        "train_rm": "--prompt_key prompt --chosen_key chosen --rejected_key rejected --apply_chat_template",
        "train_dpo": "--prompt_key prompt --chosen_key chosen --rejected_key rejected --apply_chat_template",
    },
    ("rankings", "unpaired"): {
        "train_kto": "--input_key prompt --output_key completion --label_key label --apply_chat_template"
    },
    ("prompts", "prompt"): {"train_ppo_ray": "--input_key prompt --apply_chat_template"},
}
ALPACA_PROMPT = {"prompt": "instruction", "query": "input", "system": "system", "history": "history"}
LLAMA_FACTORY: dict[tuple[str, str], dict[str, object]] = {
    ("corpus", "text"): {"columns": {"prompt": "text"}},
    ("demonstrations", "alpaca"): {"columns": {**ALPACA_PROMPT, "response": "output"}},
    ("demonstrations", "sharegpt"): {"formatting": "sharegpt", "columns": {"messages": "conversations"}},
    ("demonstrations", "openai"): {
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    },
    ("rankings", "alpaca"): {
        "ranking": True,
        "columns": {**ALPACA_PROMPT, "chosen": "chosen", "rejected": "rejected"},
    },
    ("rankings", "sharegpt"): {
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    },
}
LLAMA_FACTORY_READS = frozenset({"jsonl", "csv", "parquet"})
VERL: dict[tuple[str, str], tuple[str, dict[str, str]]] = {
    ("demonstrations", "openai"): ("sft", {"messages_key": "messages"}),
    ("prompts", "verl"): ("ppo", {"prompt_key": "prompt", "reward_fn_key": "data_source"}),
}


def recipes_for(kind: str, format: str, container: str, files: Mapping[str, str]) -> Iterator[Recipe]:
    """files: {split: path in the folder}, of the splits that have rows."""
    where = (kind, format)
    if "train" not in files:
        return
    for stage in TRL_STAGES.get(where, ()):
        yield trl(stage, files)
    for stage, keys in OPENRLHF.get(where, {}).items():
        yield openrlhf(stage, keys, files)
    if where in LLAMA_FACTORY and container in LLAMA_FACTORY_READS:
        yield llama_factory(LLAMA_FACTORY[where], files)
    if where in VERL and container == "parquet":
        yield verl(*VERL[where], files)


def trl(stage: str, files: Mapping[str, str]) -> Recipe:
    lines = ["dataset_name: .", "dataset_train_split: train"]
    if "validation" in files:
        lines += ["dataset_test_split: validation", "eval_strategy: epoch"]
    path = f"trl/{stage}.yaml"
    return Recipe(path, "\n".join(lines) + "\n", f"`trl {stage} --config {path} --model_name_or_path MODEL`")


def openrlhf(stage: str, keys: str, files: Mapping[str, str]) -> Recipe:
    # Its versions name the split that is trained on differently; all take `train` where none is named.
    data = "--prompt_data ." if stage == "train_ppo_ray" else "--dataset ."
    if "validation" in files and stage != "train_ppo_ray":
        data += " --eval_dataset . --eval_split validation"
    path = f"openrlhf/{stage}.sh"
    lines = [
        "#!/bin/sh",
        "# Arguments that name the data; add your own after the model.",
        f"python3 -m openrlhf.cli.{stage} \\",
        f"  {data} \\",
        f"  {keys} \\",
        '  --pretrain "$@"',
    ]
    content = "\n".join(lines) + "\n"
    return Recipe(path, content, f"`sh {path} MODEL ...`")


def llama_factory(entry: Mapping[str, object], files: Mapping[str, str]) -> Recipe:
    content = {f"plackett_{split}": {"file_name": path, **entry} for split, path in files.items()}
    about = "LLaMA-Factory, with `dataset_dir: .` and `dataset: plackett_train`"
    return Recipe("dataset_info.json", json.dumps(content, indent=2) + "\n", about)


def verl(stage: str, keys: Mapping[str, str], files: Mapping[str, str]) -> Recipe:
    lines = ["data:", f"  train_files: {files['train']}"]
    if "validation" in files:
        lines.append(f"  val_files: {files['validation']}")
    lines += [f"  {name}: {value}" for name, value in keys.items()]
    path = f"verl/{stage}.yaml"
    return Recipe(path, "\n".join(lines) + "\n", f"verl's {stage} trainer: these keys of its `data` section")
