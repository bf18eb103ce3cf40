"""The settings of the training core in people's words: labels here, help texts from the core's own docstrings."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

LABELS: dict[str, str | Promise] = {
    "context_length": _("Context length (tokens)"),
    "learning_rate": _("Learning rate"),
    "schedule": _("Learning rate schedule"),
    "weight_decay": _("Weight decay"),
    "adam_beta1": _("AdamW beta 1"),
    "adam_beta2": _("AdamW beta 2"),
    "adam_eps": _("AdamW epsilon"),
    "max_grad_norm": _("Largest gradient norm"),
    "micro_batch_tokens": _("Tokens in one forward pass"),
    "gradient_checkpointing": _("Gradient checkpointing"),
    "lora_rank": _("LoRA rank"),
    "lora_alpha": _("LoRA alpha"),
    "lora_targets": _("Layers with an adapter"),
    "lora_dropout": _("Dropout in adapters"),
    "quantise_base": _("Base weights in 4 bits (QLoRA)"),
    "checkpoint_every_steps": _("Checkpoint every so many steps"),
    "checkpoint_every_seconds": _("Checkpoint every so many seconds"),
    "keep_checkpoints": _("Checkpoints kept"),
    "best_checkpoint": _("Best checkpoint kept, by"),
    "max_loss_rise": _("Stop when the loss rises this many times"),
    "max_token_kl": _("Stop at this KL (nats a token)"),
    "eval_every": _("Evaluate every so many steps"),
    "eval_rows": _("Rows used to evaluate"),
    "vocab_size": _("Vocabulary (tokens)"),
    "hidden_size": _("Hidden size"),
    "layers": _("Layers"),
    "heads": _("Attention heads"),
    "intermediate_size": _("Feed-forward size"),
    "batch_size": _("Batch size"),
    "warmup_steps": _("Warm-up steps"),
    "epochs": _("Passes over the data (epochs)"),
    "max_steps": _("Most steps"),
    "sample_every": _("Show answers every so many steps"),
    "publish": _("Weights that become the model"),
    "sample_count": _("Answers shown"),
    "sample_temperature": _("Temperature of the answers shown"),
    "max_new_tokens": _("Longest answer (tokens)"),
    "ties": _("What ties teach"),
    "tie_margin": _("Tie margin"),
    "margin": _("Margin of the chosen answer"),
    "margin_scale": _("Widest margin"),
    "loss": _("Loss"),
    "labeler_weights": _("Weights of labelers"),
    "total_updates": _("Updates"),
    "rollouts_per_update": _("Answers sampled for each update"),
    "minibatch_size": _("Minibatch size"),
    "ppo_epochs": _("Passes over each update's answers"),
    "value_learning_rate": _("Learning rate of the value model"),
    "warmup_updates": _("Warm-up updates"),
    "value_warmup_updates": _("Updates for the value model alone"),
    "kl_coef": _("KL coefficient (beta)"),
    "gamma": _("Gamma"),
    "lam": _("Lambda"),
    "cliprange": _("Clip range"),
    "cliprange_value": _("Clip range of values"),
    "whiten_advantages": _("Whiten advantages"),
    "temperature": _("Temperature"),
    "missing_eos_penalty": _("Penalty for an answer that does not end"),
    "ptx_coef": _("Weight of pretraining text (PPO-ptx)"),
    "ptx_batch_size": _("Pretraining texts in a batch"),
    "ema_decay": _("Decay of averaged weights"),
    "max_kl": _("Stop at this KL"),
    "max_approx_kl": _("End an update at this KL"),
    "samples_per_prompt": _("Answers for each prompt (K)"),
    "top_p": _("Top-p"),
    "batch_tokens": _("Tokens generated side by side"),
    "generation_batch_tokens": _("Tokens generated side by side"),
    "kl_target": _("KL to aim at (nats a response)"),
    "kl_horizon": _("Horizon of the KL controller"),
    "max_ratio": _("Largest mean ratio of a minibatch"),
    "retries": _("Retries"),
    "prompts_per_update": _("Prompts answered for each update"),
    "update_epochs": _("Passes over each update's answers"),
    "answered_prompts": _("Prompts answered to measure the KL"),
    "mix": _("Answers of each policy"),
    "temperatures": _("Temperatures in turn"),
}


def label_of(name: str) -> str:
    """The setting's label in the reader's language; a setting without one is shown by its name in words."""
    return str(LABELS.get(name) or name.replace("_", " ").capitalize())


def help_of(text: str) -> str:
    """The core's help text in the reader's language, where a translation has it."""
    return gettext(text) if text else ""
