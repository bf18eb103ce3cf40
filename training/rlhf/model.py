"""Policies and reward models: loaded from Hugging Face folders, kept in float32, dropout off, saved the same way.

Any decoder-only family that transformers knows both as a causal language model and as a sequence classifier is welcome.
Sequences are padded on the right and no attention mask is passed: behind causal attention a token cannot see what
follows it, so padding cannot change the score or the log-probability of a real token, whatever the batch is made of.
That the model *is* causal is tried on loading.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from training.rlhf.config import Numerics
from training.rlhf.errors import ModelError
from training.rlhf.flat import FlatRow, hidden_states
from training.rlhf.numerics import device_of

transformers.logging.set_verbosity_error()  # a new head is expected, and said in our own words
transformers.logging.disable_progress_bar()


def load_policy(folder: str | Path, numerics: Numerics) -> PreTrainedModel:
    """The causal language model in `folder`, on the device, float32, dropout off. Raises ModelError in words."""
    folder = Path(folder)
    check_folder(folder, "CausalLM")
    model = _open(AutoModelForCausalLM, folder, may_miss=())
    check_causal(model, folder)
    return prepared(model, numerics)


class RewardModel(nn.Module):
    """A trunk with a one-number head, read at every token. The value model of PPO is one of these too.

    `forward` gives the score that a sequence would have if it ended at each token: raw logit - shift. `network` is the
    transformers classifier, whose logit at the last token is the raw score.
    """

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network
        if not isinstance(getattr(network, "score", None), nn.Linear):
            raise ModelError(f"{type(network).__name__} has no linear head named score, so it cannot give a reward")

    @property
    def shift(self) -> float:
        """What is taken off the raw logit, so that demonstrations score 0 on average; kept in config.json."""
        return float(getattr(self.network.config, "reward_shift", 0.0))

    @shift.setter
    def shift(self, value: float) -> None:
        self.network.config.reward_shift = value

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Scores (B, T), float32, of right-padded ids (B, T)."""
        hidden = self.network.base_model(input_ids=input_ids, use_cache=False).last_hidden_state  # (B, T, D)
        with torch.autocast(hidden.device.type, enabled=False):  # a score in bfloat16 would have three digits
            return self.network.score(hidden.float()).squeeze(-1) - self.shift

    def score(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Scores (B,) at the last real token of each sequence, which is its EOS; lengths (B,) count real tokens."""
        rows = torch.arange(len(lengths), device=input_ids.device)
        return self(input_ids)[rows, lengths.to(input_ids.device) - 1]

    def score_row(self, row: FlatRow) -> torch.Tensor:
        """Scores (S,), float32, at the last token of each sequence of a flat row."""
        states = hidden_states(self.network, row)[row.last]  # (S, D)
        with torch.autocast(states.device.type, enabled=False):
            scores: torch.Tensor = self.network.score(states.float()).squeeze(-1) - self.shift
        return scores

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json (with the shift) and model.safetensors; opens with AutoModelForSequenceClassification."""
        self.network.save_pretrained(folder)


def load_reward_model(folder: str | Path, numerics: Numerics) -> RewardModel:
    """The reward model in `folder`. Raises ModelError in words."""
    folder = Path(folder)
    check_folder(folder, "SequenceClassification")
    network = _open(AutoModelForSequenceClassification, folder, may_miss=())
    if network.config.num_labels != 1:
        raise ModelError(f"{folder} gives {network.config.num_labels} numbers for a text; a reward model gives one")
    return RewardModel(prepared(network, numerics))


def reward_model_from_policy(folder: str | Path, numerics: Numerics, seed: int) -> RewardModel:
    """A reward model on the trunk of the policy in `folder`, its head drawn anew.

    The head's weights are drawn with deviation 1/sqrt(D + 1), its bias (most have none) is 0: Stiennon et al. 2020
    (arXiv:2009.01325, page 11), as in lm-human-preferences.
    """
    folder = Path(folder)
    check_folder(folder, "CausalLM")
    network = _open(AutoModelForSequenceClassification, folder, may_miss=("score.weight", "score.bias"), num_labels=1)
    check_causal(network, folder)
    model = RewardModel(network)
    head = network.score
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, (head.in_features + 1) ** -0.5, generator=generator)
        if head.bias is not None:
            head.bias.zero_()
    prepared(network, numerics)
    return model


def fit_to_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make room for a pad token that was added, and name the control tokens in config.json.

    The rows added are the mean of the others, so that they are as likely as any token and nothing is drawn by chance.
    """
    embeddings = model.get_input_embeddings()
    before = embeddings.weight.shape[0]
    if len(tokenizer) > before:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
                if layer is not None:
                    layer.weight[before:] = layer.weight[:before].mean(dim=0)
                    if getattr(layer, "bias", None) is not None:
                        layer.bias[before:] = layer.bias[:before].mean()
    configs = [model.config, model.config.get_text_config(), getattr(model, "generation_config", None)]
    for config in configs:
        if config is not None:
            config.pad_token_id = tokenizer.pad_token_id
            config.eos_token_id = tokenizer.eos_token_id


def selected_logits(model: PreTrainedModel, input_ids: torch.Tensor, select: torch.Tensor) -> torch.Tensor:
    """Logits (N, V), float32, at the positions (B, T) where `select` is True, in reading order.

    The head, often the larger part of the work, runs on these positions alone. The trunk's output is narrowed by a
    hook, so that the model's own forward makes the logits, with whatever it scales or caps.
    """
    trunk = model.base_model
    if trunk is model:
        return model(input_ids=input_ids, use_cache=False).logits[select].float()

    def narrow(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[select].unsqueeze(0)  # (1, N, D)
        return output

    hook = trunk.register_forward_hook(narrow)
    try:
        return model(input_ids=input_ids, use_cache=False).logits.squeeze(0).float()
    finally:
        hook.remove()


def disable_dropout(model: nn.Module) -> None:
    """No dropout anywhere, in train mode either: with it, PPO's ratio is not 1 on the first minibatch."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def prepared(model: PreTrainedModel, numerics: Numerics) -> PreTrainedModel:
    """On the device, float32, dropout off, in evaluation mode (which does not keep gradients from flowing)."""
    disable_dropout(model)
    return model.to(device_of(numerics), torch.float32).eval()


def check_folder(folder: Path, kind: str) -> None:
    """Raise ModelError in words unless `folder` holds a decoder-only model of this kind, as safetensors."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")):
            raise ModelError(
                f"{folder} has its weights as .bin files, which can run code when opened;"
                " convert them with save_pretrained(..., safe_serialization=True)"
            )
        raise ModelError(f"{folder} has no weights: a model.safetensors is needed")
    try:
        raw = json.loads((folder / "config.json").read_text())
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{folder} cannot be opened by transformers {transformers.__version__}: {reason}") from error
    name = raw.get("model_type", "")
    known = name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and name in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    if not known or getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{folder} holds a {name or 'model without a type'}, not a decoder-only language model"
            " that can also be a reward model, such as GPT-2, Llama, Qwen, Gemma or Mistral"
        )
    classes = raw.get("architectures") or []
    is_reward = any("ForSequenceClassification" in item for item in classes)
    if kind == "CausalLM" and is_reward:
        raise ModelError(f"{folder} holds a reward model; a policy is needed here")
    if kind == "SequenceClassification" and classes and not is_reward:
        raise ModelError(f"{folder} holds a policy; a reward model is needed here")


def check_causal(model: PreTrainedModel, folder: Path) -> None:
    """Raise ModelError if a token's state depends on a token after it: such a model cannot generate."""
    ids = torch.arange(1, 9).unsqueeze(0) % model.get_input_embeddings().weight.shape[0]
    changed = ids.clone()
    changed[0, -1] = 0
    model.eval()
    with torch.no_grad():
        states = [model.base_model(input_ids=row, use_cache=False).last_hidden_state[0, :-1] for row in (ids, changed)]
    # what a mask hides adds exact zeros; random weights may look to the right very little
    if (states[0] - states[1]).abs().max() > 1e-6 * states[0].abs().max():
        raise ModelError(f"{folder} holds a model that reads text in both directions; a decoder-only one is needed")


def _open(auto_class: Any, folder: Path, may_miss: tuple[str, ...], **options: Any) -> PreTrainedModel:
    try:
        model, info = auto_class.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if "allocate memory" in str(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{folder} cannot be opened by transformers {transformers.__version__}: {reason}") from error
    missing = sorted(set(info["missing_keys"]) - set(may_miss))
    if missing:
        raise ModelError(f"{folder} lacks weights, {missing[0]} for one; it is not whole")
    return model
