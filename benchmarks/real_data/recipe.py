"""The trial's settings: what is held out, how much text, and what each stage sets otherwise than by default.

FULL takes some twenty minutes on two quiet CPU cores; SHORT only runs through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

Config = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    validation_percent: int
    test_percent: int
    corpus_bytes: int
    pretrain: Config
    sft: Config
    reward: Config
    ppo: Config
    evaluate: Config
    """For answers to held-out prompts: as long as PPO's."""


ANSWER: Final = 96
"""Tokens of an answer at most, in PPO and where answers are measured."""

FULL: Final = Recipe(
    validation_percent=15,
    test_percent=15,
    corpus_bytes=2_000_000,
    pretrain={
        "context_length": 512,
        "vocab_size": 3072,
        "hidden_size": 128,
        "layers": 4,
        "heads": 4,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "warmup_steps": 20,
        "epochs": 1,
        "eval_every": 100,
        "eval_rows": 100,
    },
    sft={
        "learning_rate": 5e-4,
        "warmup_steps": 5,
        "batch_size": 16,
        "epochs": 4,
        "eval_every": 8,
        "sample_every": 16,
        "max_new_tokens": 64,
        "publish": "best",
    },
    reward={
        "learning_rate": 3e-4,
        "warmup_steps": 5,
        "batch_size": 32,
        "epochs": 2,
        "eval_every": 10,
    },
    ppo={
        "total_updates": 16,
        "rollouts_per_update": 32,
        "minibatch_size": 16,
        "ppo_epochs": 2,
        "learning_rate": 1e-4,
        "value_learning_rate": 3e-4,
        "warmup_updates": 2,
        "kl_coef": 0.05,
        "max_new_tokens": ANSWER,
        "eval_every": 10,
        "eval_rows": 32,
        "sample_every": 5,
    },
    evaluate={"max_new_tokens": ANSWER},
)

SHORT: Final = replace(
    FULL,
    corpus_bytes=400_000,
    pretrain={**FULL.pretrain, "vocab_size": 1024, "hidden_size": 32, "layers": 2, "heads": 2, "max_steps": 10},
    sft={**FULL.sft, "max_steps": 6, "eval_every": 3, "sample_every": 0},
    reward={**FULL.reward, "max_steps": 5},
    ppo={**FULL.ppo, "total_updates": 2, "rollouts_per_update": 8, "minibatch_size": 8, "max_new_tokens": 16},
    evaluate={"max_new_tokens": 16},
)
