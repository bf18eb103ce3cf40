"""What a Hugging Face folder says of itself, read without torch: config, size, hashes, and what is missing."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from training.canonical import canonical_json
from training.errors import ModelError

LARGEST_HEADER = 100_000_000
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len")
# Architectures whose name does not say it all.
ENCODERS = ("bert", "roberta", "electra", "deberta", "distilbert", "t5", "bart", "pegasus", "whisper", "clip", "vit")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json. Raises ModelError."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            _("%(folder)s has no config.json. Put a whole Hugging Face model there, as save_pretrained writes it.")
            % {"folder": folder.name}
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            _("The config.json of %(folder)s can't be read as JSON: %(error)s.")
            % {"folder": folder.name, "error": error}
        ) from None
    if not isinstance(config, dict):
        raise ModelError(_("The config.json of %(folder)s is not a JSON object.") % {"folder": folder.name})
    return config


def check_decoder_only(config: dict[str, Any], name: str) -> None:
    """Raise ModelError for what can't be trained here as a causal language model."""
    model_type = str(config.get("model_type") or "")
    architectures = [str(item) for item in config.get("architectures") or []]
    if not model_type:
        raise ModelError(
            _("The config.json of %(name)s names no model_type, so it is not known what model this is.")
            % {"name": name}
        )
    if config.get("is_encoder_decoder"):
        raise ModelError(
            _("%(name)s is an encoder-decoder (%(model_type)s). Choose a decoder-only model: GPT-2, Llama, Qwen.")
            % {"name": name, "model_type": model_type}
        )
    causal = any(item.endswith(("ForCausalLM", "LMHeadModel", "ForSequenceClassification")) for item in architectures)
    if architectures and not causal:
        raise ModelError(
            _("%(name)s is a %(architectures)s, which does not write text. Choose a causal language model.")
            % {"name": name, "architectures": architectures[0]}
        )
    if any(model_type.startswith(item) for item in ENCODERS) and not config.get("is_decoder"):
        raise ModelError(
            _("%(name)s is an encoder (%(model_type)s). Choose a decoder-only model: GPT-2, Llama, Qwen.")
            % {"name": name, "model_type": model_type}
        )
    if config.get("auto_map"):
        raise ModelError(
            _("%(name)s needs code of its own (auto_map), which Plackett never runs. Choose another model.")
            % {"name": name}
        )


def is_reward_model(config: dict[str, Any]) -> bool:
    return any(str(item).endswith("ForSequenceClassification") for item in config.get("architectures") or [])


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files. Raises ModelError where there are none, or where one that the index names is missing."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        pickled = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth"), *folder.glob("*.ckpt")]
        why = f"only {pickled[0].name}, which may hide code" if pickled else "none"
        raise ModelError(
            f"{folder.name} needs its weights as safetensors, and there are {why}. "
            "Convert it with save_pretrained(..., safe_serialization=True)."
            if pickled
            else f"{folder.name} has no weights: put its *.safetensors files into the folder."
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        missing = set(json.loads(index.read_text()).get("weight_map", {}).values()) - {path.name for path in found}
        if missing:
            raise ModelError(
                _("%(folder)s lacks the weights file %(file)s. Copy the whole folder again.")
                % {"folder": folder.name, "file": min(missing)}
            )
    return found


def count_parameters(paths: list[Path]) -> int:
    """Numbers in all tensors, from the files' headers. Raises ModelError for a file that is cut off or is not one."""
    return sum(math.prod(item["shape"]) for path in paths for item in tensor_headers(path).values())


def tensor_headers(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length < LARGEST_HEADER:
                raise ValueError("no header")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max((item["data_offsets"][1] for item in header.values()), default=0)
        if path.stat().st_size < end:
            raise ValueError("it is cut off")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            _("%(path)s is not a whole safetensors file (%(error)s). Copy it again.")
            % {"path": path.name, "error": error}
        ) from None
    return dict(header)


def context_length(config: dict[str, Any]) -> int | None:
    for key in CONTEXT_KEYS:
        value = config.get(key)
        if isinstance(value, int) and value > 0:
            return value
    return None


def vocabulary_hash(folder: Path) -> str:
    """Hash of which token has which id, empty where it can't be told; saving a tokenizer again does not change it.

    Two models with different ones can't read each other's tokens. The core finds finer differences (a chat template).
    """
    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        vocabulary = tokenizer["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return hashlib.sha256(canonical_json(vocabulary).encode()).hexdigest()


def read_card(folder: Path) -> dict[str, Any]:
    """plackett.json, where one of our own runs wrote it, and the hash that decides which models go together."""
    try:
        card = json.loads((folder / "plackett.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        card = {}
    return (card if isinstance(card, dict) else {}) | {"vocabulary_sha256": vocabulary_hash(folder)}
