"""What each stage reads: which inputs, of which kind, and which of a snapshot's files stand behind an input's name."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from training.models import ModelKind, SnapshotKind, Stage
from training.rlhf.config import POLICIES

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
# Labels by people whom nothing is trained on: a file of its own where a snapshot's query names such people.
HELD_OUT_LABELERS = "held_out_labelers"


WORDS: dict[str, Promise] = {
    SnapshotKind.CORPUS: gettext_lazy("a corpus"),
    SnapshotKind.DEMONSTRATIONS: gettext_lazy("a snapshot of demonstrations"),
    SnapshotKind.RANKINGS: gettext_lazy("a snapshot of rankings"),
    SnapshotKind.PROMPTS: gettext_lazy("a snapshot of prompts"),
    ModelKind.POLICY: gettext_lazy("a policy"),
    ModelKind.REWARD_MODEL: gettext_lazy("a reward model"),
}


@dataclass(frozen=True)
class Wanted:
    kind: SnapshotKind | ModelKind
    required: bool = True

    @property
    def words(self) -> str:
        """What to choose, for a sentence."""
        return str(WORDS[self.kind])

    @property
    def is_model(self) -> bool:
        return isinstance(self.kind, ModelKind)


CORPUS, DEMONSTRATIONS = Wanted(SnapshotKind.CORPUS), Wanted(SnapshotKind.DEMONSTRATIONS)
RANKINGS, PROMPTS = Wanted(SnapshotKind.RANKINGS), Wanted(SnapshotKind.PROMPTS)
POLICY, REWARD_MODEL = Wanted(ModelKind.POLICY), Wanted(ModelKind.REWARD_MODEL)


def optional(wanted: Wanted) -> Wanted:
    return Wanted(wanted.kind, required=False)


STAGE_INPUTS: dict[str, dict[str, Wanted]] = {
    Stage.PRETRAIN: {"train": CORPUS, "validation": optional(CORPUS)},
    Stage.SFT: {"train": DEMONSTRATIONS, "validation": optional(DEMONSTRATIONS), "policy": POLICY},
    Stage.REWARD: {
        "train": RANKINGS,
        "validation": optional(RANKINGS),
        "policy": POLICY,
        "demonstrations": optional(DEMONSTRATIONS),
    },
    Stage.PPO: {
        "train": PROMPTS,
        "validation": optional(PROMPTS),
        "policy": POLICY,
        "reference": POLICY,
        "reward_model": REWARD_MODEL,
        "pretraining": optional(CORPUS),
    },
    Stage.DPO: {"train": RANKINGS, "validation": optional(RANKINGS), "policy": POLICY, "reference": POLICY},
    Stage.RLOO: {
        "train": PROMPTS,
        "validation": optional(PROMPTS),
        "policy": POLICY,
        "reference": POLICY,
        "reward_model": REWARD_MODEL,
    },
    Stage.SAMPLE: {"prompts": PROMPTS, "policy": POLICY, **{name: optional(POLICY) for name in POLICIES[1:]}},
    Stage.EVALUATE: {
        "policy": optional(POLICY),
        "reward_model": optional(REWARD_MODEL),
        "reference": optional(POLICY),
        "opponent": optional(POLICY),
        "validation_text": optional(CORPUS),
        "rankings": optional(RANKINGS),
        "prompts": optional(PROMPTS),
    },
}

TRAINED_ON = frozenset({"train", "demonstrations", "pretraining"})

# Several files are read as one, in this order.
SPLITS_READ: dict[str, tuple[str, ...]] = {
    "train": (TRAIN,),
    "validation": (VALIDATION,),
    "demonstrations": (TRAIN,),
    "pretraining": (TRAIN,),
    "prompts": SPLITS,
    "validation_text": (VALIDATION, TEST),
    "rankings": (VALIDATION, TEST),
}


def rows_read(name: str, counts: dict[str, int]) -> int:
    """How many rows of a snapshot with these counts an input of this name reads."""
    return sum(counts.get(split, 0) for split in SPLITS_READ[name])
