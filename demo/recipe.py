"""The demo's settings, stage by stage: what differs from the core's defaults. Tuned by `python -m demo.experiment`.

FULL is what a first start and `manage.py demo --headless` train: five minutes on two CPU cores, at most. SHORT only
has to run through, in about a minute, for CI. Plain dictionaries, so that a run's row can hold them as they are.
"""

from dataclasses import dataclass
from typing import Any, Final

from demo.answers import Manner

Config = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way through the loop."""

    documents: int
    """Documents of the pretraining corpus."""

    validation_documents: int
    """Documents held out of it, for perplexity."""

    prompts: dict[str, int]
    """Prompts used of each pool."""

    held_out_rankings: float
    """Share of the ranking prompts that the reward model is measured on."""

    answers: int
    """K, the answers to a ranking prompt."""

    overlap: int
    """Labelers for each ranking prompt."""

    pretrain: Config
    sft: Config
    reward: Config
    ppo: Config
    sample: Config
    """How answers to be ranked are sampled."""

    evaluate: Config
    """How answers to held-out prompts are sampled, for the gold rule: never drawn twice."""


WRITING: Final = Manner(right=1.0, complete=1.0, polite=0.45, rude=0.0, short=0.5)
"""How the demo's simulated labelers write demonstrations. They know the facts and say all that was asked; they are
people, so half of them forget the courtesy or tell a story. That is the room that PPO has to gain."""

CONTEXT: Final = 160

NUMERICS: Final = {"dtype": "float32"}
"""The same on every machine: the recipe was tuned in it, and models as small as these gain little from bfloat16."""

FULL: Final = Recipe(
    documents=30_000,  # about 24,000 different ones: a corpus keeps each once
    validation_documents=300,
    prompts={"sft": 260, "rm": 520, "ppo": 200, "eval": 150},
    held_out_rankings=0.2,
    answers=4,
    # Two labelers a prompt: the prompts are all that there are, and a second opinion takes some of the noise out.
    overlap=2,
    pretrain={
        "context_length": CONTEXT,
        "vocab_size": 900,
        "hidden_size": 128,
        "layers": 4,
        "heads": 4,
        "batch_size": 12,
        "learning_rate": 8e-3,
        "warmup_steps": 25,
        "adam_eps": 1e-8,
        "epochs": 1,
        "eval_every": 60,
        "sample_every": 120,
    },
    sft={
        "learning_rate": 5e-4,
        "warmup_steps": 5,
        "batch_size": 16,
        "epochs": 6,
        "adam_eps": 1e-8,
        "eval_every": 25,
        "sample_every": 40,
        "max_new_tokens": 48,
    },
    reward={
        "learning_rate": 2e-3,
        "warmup_steps": 5,
        "batch_size": 8,
        # A second look at the same rankings, which are noisy, made it worse with each of three seeds (docs/loop.md).
        "epochs": 1,
        "weight_decay": 0.1,
        "adam_eps": 1e-8,
        "eval_every": 52,
    },
    ppo={
        "total_updates": 10,
        "rollouts_per_update": 128,
        "minibatch_size": 32,
        "ppo_epochs": 2,
        "learning_rate": 3e-4,
        "value_learning_rate": 5e-4,
        "warmup_updates": 2,
        # High: a reward model of this size sees courtesy and length well, and facts badly. At 0.1 the policy finds that
        # a fact left out is shorter still; the gold rule's complete part then falls by 0.17.
        "kl_coef": 0.25,
        "adam_eps": 1e-8,
        "max_new_tokens": 48,
        "eval_every": 10,
        "eval_rows": 64,
        "sample_every": 2,
    },
    # Cooler than the rollouts: hardly a fact is wrong, which this small a reward model could not tell from a right one.
    # PPO keeps the facts by its distance to the reference.
    sample={"samples_per_prompt": 4, "temperature": 0.5, "max_new_tokens": 48},
    evaluate={"samples_per_prompt": 2, "temperature": 1.0, "max_new_tokens": 48, "retries": 0},
)

SHORT: Final = Recipe(
    documents=2_500,
    validation_documents=60,
    prompts={"sft": 48, "rm": 32, "ppo": 32, "eval": 24},
    held_out_rankings=0.2,
    answers=4,
    overlap=1,
    pretrain={**FULL.pretrain, "vocab_size": 600, "hidden_size": 64, "layers": 2},
    sft={**FULL.sft, "epochs": 2},
    reward={**FULL.reward, "epochs": 1},
    ppo={
        **FULL.ppo,
        "total_updates": 3,
        "rollouts_per_update": 32,
        "eval_every": 0,
        "sample_every": 1,
        "eval_rows": 24,
    },
    sample=FULL.sample,
    evaluate={**FULL.evaluate, "samples_per_prompt": 1},
)
