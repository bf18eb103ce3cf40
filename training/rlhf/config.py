"""Every setting of every stage: frozen dataclasses, checked in words.

A run's `run.json` holds the fields that differ from the defaults. `config_from_dict` turns them into the stage's
dataclass or raises `ConfigError` with a sentence; `schema` describes the fields, so that a form can be drawn from them.
The docstring under a field is its help text, in the form and in the documentation alike.

This module imports the standard library only: the web process reads it without torch.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, get_type_hints

Built = TypeVar("Built")


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the setting, the range and what was given.

    `words` and `names` keep the sentence and what goes into it apart, so that a page can say it in another language.
    """

    def __init__(self, words: str, **names: object) -> None:
        self.words, self.names = words, names
        super().__init__(words % names if names else words)


def setting(
    default: Any,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with its range: `minimum` and `maximum` are inclusive, `above` is not."""
    limits = {"minimum": minimum, "above": above, "maximum": maximum, "choices": choices}
    return field(default=default, metadata={name: limit for name, limit in limits.items() if limit is not None})


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """How numbers are computed; fixed in a run's run.json, because each choice changes the bits."""

    device: str = setting("auto", choices=("auto", "cpu", "cuda"))
    """Where to compute; auto takes the GPU if there is one."""

    threads: int = setting(0, minimum=0, maximum=1024)
    """CPU threads; 0 takes one for each core that this process may use."""

    dtype: str = setting("auto", choices=("auto", "float32", "bfloat16"))
    """bfloat16 computes under autocast; the weights and the optimiser stay float32 either way. auto takes it where the
    processor multiplies in it: a GPU that can, a CPU with AVX-512 BF16 or AMX. A resumed run keeps what its first
    machine took."""

    matmul: str = setting("auto", choices=("auto", "highest", "high", "medium"))
    """Precision of float32 products. auto takes the fastest that keeps float32's digits: on a CPU medium (oneDNN, twice
    as fast on AMD) where it does, else highest, as with AMX, whose medium rounds to bfloat16; on a GPU TF32."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage has."""

    context_length: int = setting(0, minimum=0, maximum=1_048_576)
    """Longest sequence in tokens, prompt and answer together; 0 takes the model's own limit. Longer rows are filtered
    out and counted, never cut."""

    def __post_init__(self) -> None:
        check_fields(self)
        best_metric("", self)
        self.check()

    def check(self) -> None:
        """Raise ConfigError where fields do not go together; each stage adds its own rules."""


BEST_METRICS = {  # of each stage that validates: what its best checkpoint is chosen by, and where the best lies
    **dict.fromkeys(("pretrain", "sft", "dpo"), ("loss/validation", "lowest")),
    "reward": ("accuracy/validation", "highest"),
    **dict.fromkeys(("ppo", "rloo"), ("validation/score", "highest")),
}


def best_metric(stage: str, config: StageConfig) -> tuple[str, str] | None:
    """(metric, lowest or highest) by which the best checkpoint is chosen; None where none is kept for that."""
    asked = str(getattr(config, "best_checkpoint", "none")).strip()
    if asked == "none":
        return None
    if asked == "auto":
        return BEST_METRICS.get(stage)
    end, _, name = asked.partition(" ")
    if end not in ("lowest", "highest") or not name.strip():
        raise ConfigError(
            "%(name)s must be auto, none, or lowest or highest and a metric's name, got %(value)r",
            name="best_checkpoint",
            value=asked,
        )
    return name.strip(), end


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(StageConfig):
    """What the stages that train have in common."""

    learning_rate: float = setting(1e-5, above=0, maximum=1)
    """Peak learning rate of AdamW."""

    schedule: str = setting("cosine", choices=("cosine", "linear", "constant"))
    """After warm-up: cosine falls to a tenth of the peak, linear to zero, constant stays."""

    weight_decay: float = setting(0.0, minimum=0, maximum=1)
    """Decoupled weight decay on matrices; vectors (norms, biases) are not decayed."""

    adam_beta1: float = setting(0.9, minimum=0, maximum=0.9999)
    """AdamW's decay of the mean gradient."""

    adam_beta2: float = setting(0.95, minimum=0, maximum=0.99999)
    """AdamW's decay of the mean squared gradient."""

    adam_eps: float = setting(1e-5, above=0, maximum=0.1)
    """AdamW's epsilon; 1e-5 as in the published RLHF runs."""

    max_grad_norm: float = setting(1.0, minimum=0)
    """Gradients are scaled down to this total norm; 0 leaves them as they are."""

    micro_batch_tokens: int = setting(8192, minimum=1)
    """Most tokens in one forward pass, padding included; a batch is split into as many passes as it needs. Lower it
    when memory runs out: the result stays the same up to rounding."""

    gradient_checkpointing: bool = setting(False)
    """Compute each layer's activations anew on the way back instead of keeping them: less memory for about a third more
    time. The result stays the same."""

    checkpoint_every_steps: int = setting(0, minimum=0)
    """Save a checkpoint each so many steps; 0 leaves it to the clock."""

    checkpoint_every_seconds: float = setting(600.0, minimum=0)
    """Save a checkpoint each so many seconds too; 0 leaves it to the steps. It is written beside training, and changes
    no result."""

    keep_checkpoints: int = setting(2, minimum=1, maximum=1000)
    """Newest checkpoints that are kept; an older one goes when a newer one is safe."""

    best_checkpoint: str = setting("auto")
    """Beside the newest, the checkpoint with the best value of a metric is kept, to go back to: auto takes the stage's
    own (the validation loss; a reward model's accuracy; the score of held-out prompts), none keeps none, and lowest or
    highest with a metric's name chooses another, such as highest value/explained_variance."""

    eval_every: int = setting(50, minimum=0)
    """Evaluate on the validation rows each so many steps (and at the end); 0 only at the end."""

    eval_rows: int = setting(512, minimum=1)
    """Validation rows used at most; the first so many, always the same."""


@dataclass(frozen=True, kw_only=True)
class LossLimit:
    """For the stages with one training loss."""

    max_loss_rise: float = setting(10.0, minimum=0)
    """Stop the run as failed when the training loss stays above this many times what it began with (taken as 1 at
    least) for 3 steps in a row; 0 never. The last checkpoint is kept."""


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig(TrainingConfig):
    """What the stages that start from a model have in common: how much of it they train."""

    lora_rank: int = setting(0, minimum=0, maximum=1024)
    """Rank of the LoRA adapters (arXiv:2106.09685), which are trained in place of the weights; 0 trains all weights.
    Adapters take little memory and a learning rate about ten times as high."""

    lora_alpha: float = setting(0.0, minimum=0, maximum=4096)
    """An adapter's output is scaled by this over its rank; 0 takes twice the rank."""

    lora_targets: str = setting("all")
    """Linear layers that get an adapter: all of them, or the last parts of their names with commas between, such as
    q_proj,v_proj."""

    lora_dropout: float = setting(0.0, minimum=0, maximum=0.9)
    """Share of an adapter's inputs that is dropped in training. PPO takes none: with dropout the probability ratio is
    not 1 before the first step."""

    quantise_base: bool = setting(False)
    """Hold the weights under the adapters in 4 bits (QLoRA, arXiv:2305.14314). Needs a GPU and bitsandbytes."""

    @property
    def lora_scale(self) -> float:
        """By how much an adapter's output is scaled."""
        return self.lora_alpha / self.lora_rank if self.lora_alpha else 2.0

    def check(self) -> None:
        if self.quantise_base and not self.lora_rank:
            raise ConfigError(
                "%(name)s must be false without adapters (lora_rank is 0), got %(value)s",
                name="quantise_base",
                value=str(self.quantise_base).lower(),
            )
        if not self.lora_targets.strip(" ,"):
            raise ConfigError(
                "%(name)s must be all, or names of layers, got %(value)r", name="lora_targets", value=self.lora_targets
            )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(LossLimit, TrainingConfig):
    """A byte-level BPE and a small Llama, trained from nothing on a corpus."""

    context_length: int = setting(256, minimum=8, maximum=131_072)
    """Tokens in a block, and the limit of the model that comes out."""

    vocab_size: int = setting(2048, minimum=262, maximum=1_000_000)
    """Tokens in the vocabulary: 256 bytes, 5 control tokens, and what the BPE learns."""

    hidden_size: int = setting(128, minimum=8, maximum=16_384)
    """Width of the model."""

    layers: int = setting(4, minimum=1, maximum=200)
    """Transformer layers."""

    heads: int = setting(4, minimum=1, maximum=256)
    """Attention heads; hidden_size is divided among them."""

    intermediate_size: int = setting(0, minimum=0, maximum=65_536)
    """Width of the feed-forward layer; 0 takes 8/3 of hidden_size, rounded up to a multiple of 32."""

    batch_size: int = setting(16, minimum=1)
    """Blocks for each optimiser step."""

    learning_rate: float = setting(2e-3, above=0, maximum=1)
    """Peak learning rate of AdamW; a model of a million parameters takes 1e-3 to 3e-3, a larger one less."""

    warmup_steps: int = setting(20, minimum=0)
    """Steps over which the learning rate rises from a tenth of its peak to the peak."""

    weight_decay: float = setting(0.1, minimum=0, maximum=1)
    """Decoupled weight decay on matrices; vectors (norms, biases) are not decayed."""

    epochs: float = setting(1.0, above=0, maximum=1000)
    """Passes over the corpus."""

    max_steps: int = setting(0, minimum=0)
    """Stop after so many steps; 0 goes by epochs."""

    sample_every: int = setting(0, minimum=0)
    """Show a continuation of a validation text each so many steps; 0 never."""

    def check(self) -> None:
        if self.hidden_size % (2 * self.heads):
            raise ConfigError(
                "%(name)s must be a multiple of twice the heads (%(limit)s), got %(value)s",
                name="hidden_size",
                limit=2 * self.heads,
                value=self.hidden_size,
            )

    @property
    def feed_forward(self) -> int:
        """The intermediate size in numbers."""
        return self.intermediate_size or 32 * math.ceil(self.hidden_size * 8 / 3 / 32)


@dataclass(frozen=True, kw_only=True)
class SFTConfig(LossLimit, FineTuningConfig):
    """Supervised fine-tuning on demonstrations (InstructGPT, arXiv:2203.02155, section 3.5 and appendix C.1)."""

    warmup_steps: int = setting(0, minimum=0)
    """Steps over which the learning rate rises from a tenth of its peak to the peak."""

    batch_size: int = setting(32, minimum=1)
    """Demonstrations for each optimiser step."""

    epochs: float = setting(2.0, above=0, maximum=1000)
    """Passes over the demonstrations."""

    max_steps: int = setting(0, minimum=0)
    """Stop after so many steps; 0 goes by epochs."""

    publish: str = setting("last", choices=("last", "best"))
    """Which weights become the model: the last ones, or those of the lowest validation loss."""

    sample_every: int = setting(50, minimum=0)
    """Answer some validation prompts each so many steps; 0 never."""

    sample_count: int = setting(4, minimum=0, maximum=64)
    """Validation prompts that are answered."""

    sample_temperature: float = setting(0.7, minimum=0, maximum=10)
    """Temperature of those answers; 0 takes the likeliest token."""

    max_new_tokens: int = setting(128, minimum=1, maximum=131_072)
    """Longest of those answers, in tokens."""


@dataclass(frozen=True, kw_only=True)
class RankingsConfig(LossLimit, FineTuningConfig):
    """What the stages that learn from rankings have in common."""

    loss: str = setting("pairs", choices=("pairs", "plackett_luce"))
    """How a ranking is scored: pairs is InstructGPT's mean over all pairs (Bradley-Terry); plackett_luce chooses the
    best of all, then the best of the rest, and so on. With two answers they are the same."""

    ties: str = setting("drop", choices=("drop", "half", "margin"))
    """What two answers of equal rank teach: drop nothing; half that each wins half the time; margin the Rao-Kupper
    model, in which scores closer than tie_margin are likely to tie."""

    tie_margin: float = setting(0.5, above=0, maximum=10)
    """The margin of the Rao-Kupper model, in units of score."""

    margin: str = setting("none", choices=("none", "ranks", "ratings"))
    """What the chosen answer must win by: none nothing; ranks more for a wider gap of ranks; ratings more for a wider
    gap of ratings (Llama 2, arXiv:2307.09288, equation 2)."""

    margin_scale: float = setting(1.0, minimum=0, maximum=10)
    """The margin of the widest gap, in units of score."""

    labeler_weights: str = setting("")
    """How much some labelers' rankings count, by pseudonym: "p1a2b3 0.5, p4c5d6 0". All others count 1; 0 leaves a
    labeler out. Only proportions within a batch matter."""

    def check(self) -> None:
        super().check()
        if self.loss == "plackett_luce" and self.ties == "margin":
            raise ConfigError(
                "%(name)s must be drop or half where the loss is plackett_luce, got %(value)s",
                name="ties",
                value=self.ties,
            )
        if self.loss == "plackett_luce" and self.margin != "none":
            raise ConfigError(
                "%(name)s must be none where the loss is plackett_luce, got %(value)s",
                name="margin",
                value=self.margin,
            )
        self.weight_of("")

    def weight_of(self, labeler: str) -> float:
        """How much this labeler's rankings count. Raises ConfigError for weights that cannot be read."""
        return parse_weights(self.labeler_weights).get(labeler, 1.0)


@functools.cache
def parse_weights(text: str) -> dict[str, float]:
    """{pseudonym: weight} of "pseudonym weight, pseudonym weight". Raises ConfigError."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        labeler, _, weight = part.replace(":", " ").replace("=", " ").strip().rpartition(" ")
        try:
            weights[labeler.strip()] = float(weight)
        except ValueError:
            weights[labeler.strip()] = math.nan
        if not labeler.strip() or not 0 <= weights[labeler.strip()] < math.inf:
            raise ConfigError(
                "%(name)s must be pseudonyms with weights of 0 or more, got %(value)r",
                name="labeler_weights",
                value=part.strip(),
            )
    return weights


@dataclass(frozen=True, kw_only=True)
class RewardConfig(RankingsConfig):
    """A reward model from rankings (InstructGPT section 3.5, equation 1; appendix C.2)."""

    learning_rate: float = setting(9e-6, above=0, maximum=1)
    """Peak learning rate of AdamW; InstructGPT's 9e-6 is for 6B parameters, small models take up to 1e-3."""

    warmup_steps: int = setting(0, minimum=0)
    """Steps over which the learning rate rises from a tenth of its peak to the peak."""

    batch_size: int = setting(64, minimum=1)
    """Rankings for each optimiser step; all pairs of a ranking are trained together."""

    epochs: float = setting(1.0, above=0, maximum=1000)
    """Passes over the rankings; more than one overfits quickly."""

    max_steps: int = setting(0, minimum=0)
    """Stop after so many steps; 0 goes by epochs."""


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(FineTuningConfig):
    """What the stages that learn from their own answers have in common."""

    total_updates: int = setting(100, minimum=1)
    """Updates: each samples rollouts, scores them and takes optimiser steps on them."""

    learning_rate: float = setting(3e-6, above=0, maximum=1)
    """Peak learning rate of the policy; small models take up to 1e-4."""

    schedule: str = setting("constant", choices=("cosine", "linear", "constant"))
    """After warm-up: cosine falls to a tenth of the peak, linear to zero, constant stays."""

    warmup_updates: int = setting(10, minimum=0)
    """Updates over which the learning rates rise from a tenth of their peak to the peak."""

    kl_coef: float = setting(0.03, minimum=0, maximum=10)
    """Weight of the KL penalty per token, beta; InstructGPT used 0.02."""

    cliprange: float = setting(0.2, above=0, maximum=10)
    """How far the probability ratio may move from 1 before its gradient is cut."""

    temperature: float = setting(1.0, above=0, maximum=10)
    """Sampling temperature; every log-probability is taken at the same temperature."""

    max_new_tokens: int = setting(128, minimum=1, maximum=131_072)
    """Longest answer, in tokens; prompts that leave no room for it in the context are filtered out and counted."""

    missing_eos_penalty: float = setting(1.0, minimum=0, maximum=1000)
    """Taken off the score of an answer that does not end by itself."""

    ema_decay: float = setting(0.0, minimum=0, maximum=0.99999)
    """Publish a moving average of the policy's weights with this decay an update (InstructGPT: 0.992); 0 the last."""

    max_kl: float = setting(0.0, minimum=0)
    """Stop the run, and publish, when the mean KL to the reference passes this many nats a response; 0 never stops."""

    max_token_kl: float = setting(3.0, minimum=0)
    """Stop the run as failed when the mean KL to the reference stays above this many nats a token for 3 updates in a
    row, which no useful policy reaches; 0 never. The last checkpoint is kept."""

    generation_batch_tokens: int = setting(16_384, minimum=1)
    """Most tokens, prompts and room for answers together, that are decoded side by side; lower it when memory runs
    out."""

    eval_every: int = setting(10, minimum=0)
    """Answer the held-out prompts each so many updates (and at the end); 0 only at the end."""

    eval_rows: int = setting(64, minimum=1)
    """Held-out prompts used at most; the first so many, always the same."""

    sample_every: int = setting(5, minimum=0)
    """Show some answers with their scores each so many updates; 0 never."""

    sample_count: int = setting(4, minimum=0, maximum=64)
    """Answers that are shown."""

    def check(self) -> None:
        super().check()
        if self.lora_dropout:
            raise ConfigError(
                "%(name)s must be 0 in PPO, where the probability ratio is 1 before the first step; got %(value)s",
                name="lora_dropout",
                value=self.lora_dropout,
            )


@dataclass(frozen=True, kw_only=True)
class PPOConfig(OnPolicyConfig):
    """PPO against a reward model with a KL penalty to the reference (InstructGPT section 3.5, equation 2; C.4)."""

    rollouts_per_update: int = setting(512, minimum=1)
    """Answers sampled for each update."""

    minibatch_size: int = setting(64, minimum=1)
    """Rollouts for each optimiser step."""

    ppo_epochs: int = setting(1, minimum=1, maximum=100)
    """Passes over the rollouts of an update."""

    value_learning_rate: float = setting(9e-6, above=0, maximum=1)
    """Peak learning rate of the value model."""

    value_warmup_updates: int = setting(0, minimum=0)
    """First updates in which only the value model learns."""

    kl_target: float = setting(0.0, minimum=0)
    """Steer kl_coef so that the KL stays near this many nats a response (Ziegler et al. 2019: 6); 0 keeps kl_coef."""

    kl_horizon: int = setting(10_000, minimum=1)
    """Rollouts over which kl_coef is steered, where there is a kl_target; fewer steer faster."""

    gamma: float = setting(1.0, above=0, maximum=1)
    """Discount of later rewards."""

    lam: float = setting(0.95, minimum=0, maximum=1)
    """Lambda of generalised advantage estimation (arXiv:1506.02438)."""

    cliprange_value: float = setting(0.2, above=0, maximum=1000)
    """How far a value may move from its old value before its gradient is cut, in units of reward."""

    whiten_advantages: bool = setting(True)
    """Scale advantages to mean 0 and deviation 1 over all tokens of an update."""

    ptx_coef: float = setting(0.0, minimum=0, maximum=100)
    """Weight of the mean cross-entropy on pretraining text (PPO-ptx); 0 leaves it out, 1 is already strong."""

    ptx_batch_size: int = setting(16, minimum=1)
    """Pretraining texts for each optimiser step, if ptx_coef is above 0."""

    max_approx_kl: float = setting(0.0, minimum=0)
    """End an update's remaining optimiser steps when the policy has moved this far from its rollouts; 0 never."""

    max_ratio: float = setting(10.0, minimum=0)
    """Leave out an optimiser step whose mean probability ratio is above this, which is damage; 0 takes every step."""

    def check(self) -> None:
        super().check()
        if self.minibatch_size > self.rollouts_per_update:
            raise ConfigError(
                "%(name)s must be at most rollouts_per_update (%(limit)s), got %(value)s",
                name="minibatch_size",
                limit=self.rollouts_per_update,
                value=self.minibatch_size,
            )


@dataclass(frozen=True, kw_only=True)
class DPOConfig(RankingsConfig):
    """DPO: a policy straight from rankings, without a reward model (Rafailov et al. 2023, arXiv:2305.18290)."""

    learning_rate: float = setting(1e-6, above=0, maximum=1)
    """Peak learning rate of AdamW; small models take up to 1e-4."""

    warmup_steps: int = setting(10, minimum=0)
    """Steps over which the learning rate rises from a tenth of its peak to the peak."""

    kl_coef: float = setting(0.1, above=0, maximum=10)
    """Beta: how dear distance from the reference is. An answer's reward is this times the log of how much likelier it
    has become."""

    batch_size: int = setting(32, minimum=1)
    """Rankings for each optimiser step; all pairs of a ranking are trained together."""

    epochs: float = setting(1.0, above=0, maximum=1000)
    """Passes over the rankings."""

    max_steps: int = setting(0, minimum=0)
    """Stop after so many steps; 0 goes by epochs."""

    publish: str = setting("last", choices=("last", "best"))
    """Which weights become the model: the last ones, or those of the lowest validation loss."""

    answered_prompts: int = setting(32, minimum=0)
    """Validation prompts that are answered at each evaluation, to see how far the policy has moved from the reference;
    0 none."""

    max_new_tokens: int = setting(128, minimum=1, maximum=131_072)
    """Longest of those answers, in tokens."""

    sample_count: int = setting(4, minimum=0, maximum=64)
    """Answers that are shown."""


@dataclass(frozen=True, kw_only=True)
class RLOOConfig(OnPolicyConfig):
    """RLOO: REINFORCE with the other answers to a prompt as the baseline (Ahmadian et al. 2024, arXiv:2402.14740)."""

    prompts_per_update: int = setting(128, minimum=1)
    """Prompts answered for each update."""

    samples_per_prompt: int = setting(4, minimum=2, maximum=256)
    """Answers to each prompt, k; each is measured against the mean of the others."""

    loss: str = setting("reinforce", choices=("reinforce", "clip"))
    """reinforce takes one step on all answers of an update, by the policy that wrote them; clip takes several on parts
    of them, as PPO does, with the probability ratio of whole answers clipped."""

    minibatch_size: int = setting(0, minimum=0)
    """Answers for each optimiser step, where the loss is clip; 0 takes all of the update at once."""

    update_epochs: int = setting(1, minimum=1, maximum=100)
    """Passes over the answers of an update, where the loss is clip."""

    def check(self) -> None:
        super().check()
        if self.loss == "reinforce" and (self.minibatch_size or self.update_epochs > 1):
            name = "minibatch_size" if self.minibatch_size else "update_epochs"
            raise ConfigError(
                "%(name)s must be %(limit)s where the loss is reinforce, which takes one step; got %(value)s",
                name=name,
                limit=0 if self.minibatch_size else 1,
                value=getattr(self, name),
            )


POLICIES = ("policy", "policy_2", "policy_3", "policy_4")  # inputs of a sampling run, in the order of its mix


@dataclass(frozen=True, kw_only=True)
class SampleConfig(StageConfig):
    """Answers of one policy or several to prompts, for people to rank."""

    samples_per_prompt: int = setting(4, minimum=1, maximum=256)
    """Answers to each prompt, K."""

    temperature: float = setting(1.0, minimum=0, maximum=10)
    """Sampling temperature; 0 takes the likeliest token."""

    mix: str = setting("")
    """Answers of each policy to a prompt, in the order of the policies, such as 2 1 1; left empty, all give as many,
    and take turns with what is left over."""

    temperatures: str = setting("")
    """Temperatures that a policy's answers to a prompt take in turn, such as 0.7 1.0; a list for each policy has
    semicolons between: 1.0; 0.7 1.0. Left empty, there is one temperature for all."""

    top_p: float = setting(1.0, above=0, maximum=1)
    """Sample among the likeliest tokens that hold this much probability; 1 among all."""

    max_new_tokens: int = setting(256, minimum=1, maximum=131_072)
    """Longest answer, in tokens."""

    batch_tokens: int = setting(16_384, minimum=1)
    """Most tokens generated side by side, padding included."""

    retries: int = setting(3, minimum=0, maximum=100)
    """Rounds in which an answer equal to another one of its prompt is drawn anew; what is left then is kept, and
    counted."""

    checkpoint_every_steps: int = setting(0, minimum=0)
    """Save what has been sampled each so many batches; 0 leaves it to the clock."""

    checkpoint_every_seconds: float = setting(600.0, minimum=0)
    """Save what has been sampled each so many seconds; 0 only when stopped."""

    sample_count: int = setting(4, minimum=0, maximum=64)
    """Answers that are shown on the run's page."""

    def check(self) -> None:
        if self.temperature == 0 and self.samples_per_prompt > 1:
            raise ConfigError(
                "%(name)s must be 1 at temperature 0, where all answers are the same; got %(value)s",
                name="samples_per_prompt",
                value=self.samples_per_prompt,
            )
        shares = self.shares()
        if shares and (min(shares) < 0 or sum(shares) != self.samples_per_prompt):
            raise ConfigError(
                "%(name)s must add up to samples_per_prompt (%(limit)s), got %(value)r",
                name="mix",
                limit=self.samples_per_prompt,
                value=self.mix,
            )
        if any(not 0 <= value <= 10 for values in self.temperature_lists() for value in values):
            raise ConfigError(
                "%(name)s must be numbers from 0 to 10, got %(value)r", name="temperatures", value=self.temperatures
            )

    def shares(self) -> list[int]:
        """The mix as numbers; empty where it is left to chance. Raises ConfigError."""
        return [int(value) for value in numbers_of("mix", self.mix)]

    def temperature_lists(self) -> list[list[float]]:
        """The temperatures as lists of numbers, one for each policy or one for all; empty where there are none. Raises
        ConfigError."""
        return [numbers_of("temperatures", part) for part in self.temperatures.split(";") if part.strip()]


def numbers_of(name: str, text: str) -> list[float]:
    """Numbers with spaces or commas between. Raises ConfigError."""
    try:
        return [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ConfigError(
            "%(name)s must be numbers with spaces between, got %(value)r", name=name, value=text
        ) from None


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(StageConfig):
    """Measures of a finished policy or reward model on held-out rows."""

    micro_batch_tokens: int = setting(8192, minimum=1)
    """Most tokens in one forward pass, padding included."""

    samples_per_prompt: int = setting(1, minimum=1, maximum=256)
    """Answers to each prompt. More of them narrow the intervals, and with a reward model show best-of-n for every n up
    to this one."""

    temperature: float = setting(1.0, above=0, maximum=10)
    """Temperature at which the prompts are answered."""

    max_new_tokens: int = setting(128, minimum=1, maximum=131_072)
    """Longest of those answers, in tokens."""


CONFIGS: dict[str, type[StageConfig]] = {
    "pretrain": PretrainConfig,
    "sft": SFTConfig,
    "reward": RewardConfig,
    "ppo": PPOConfig,
    "dpo": DPOConfig,
    "rloo": RLOOConfig,
    "sample": SampleConfig,
    "evaluate": EvaluateConfig,
}


def config_from_dict(stage: str, values: Mapping[str, Any]) -> StageConfig:
    """The stage's config with `values` over its defaults. Raises ConfigError in words."""
    config_class = CONFIGS.get(stage)
    if config_class is None:
        raise ConfigError(
            "there is no stage %(stage)r; the stages are %(known)s", stage=stage, known=", ".join(CONFIGS)
        )
    return _build(config_class, values, f"stage {stage}")


def numerics_from_dict(values: Mapping[str, Any]) -> Numerics:
    """`Numerics` from run.json. Raises ConfigError in words."""
    numerics = _build(Numerics, values, "numerics")
    check_fields(numerics)
    return numerics


def _build(cls: type[Built], values: Mapping[str, Any], where: str) -> Built:
    known = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ConfigError(
                "there is no setting %(setting)r in %(where)s; the settings are %(known)s",
                setting=name,
                where=where,
                known=", ".join(known),
            )
    hints = get_type_hints(cls)
    return cls(**{name: _as_type(name, value, hints[name]) for name, value in values.items()})


def _as_type(name: str, value: Any, wanted: type) -> Any:
    """`value` as the field's type where nothing is lost by it: 3 is a float, 3.0 is a whole number, "3" is neither."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is float and number:
        return float(value)
    if wanted is int and number and float(value).is_integer():
        return int(value)
    if wanted in (bool, str) and isinstance(value, wanted):
        return value
    sentences = {
        float: "%(name)s must be a number, got %(value)r",
        int: "%(name)s must be a whole number, got %(value)r",
        bool: "%(name)s must be true or false, got %(value)r",
        str: "%(name)s must be a text, got %(value)r",
    }
    raise ConfigError(sentences[wanted], name=name, value=value)


def _refuse(words: str, **names: object) -> NoReturn:
    raise ConfigError(words, **names)


def check_fields(config: Any) -> None:
    """Raise ConfigError for the first field outside its range."""
    for item in dataclasses.fields(config):
        value, limits = getattr(config, item.name), item.metadata
        refuse = functools.partial(_refuse, name=item.name, value=value)
        if isinstance(value, float) and not math.isfinite(value):
            refuse("%(name)s must be a finite number, got %(value)s")
        if "choices" in limits and value not in limits["choices"]:
            refuse("%(name)s must be one of %(limit)s, got %(value)r", limit=", ".join(limits["choices"]))
        if "above" in limits and value <= limits["above"]:
            refuse("%(name)s must be above %(limit)s, got %(value)s", limit=limits["above"])
        if "minimum" in limits and value < limits["minimum"]:
            refuse("%(name)s must be at least %(limit)s, got %(value)s", limit=limits["minimum"])
        if "maximum" in limits and value > limits["maximum"]:
            refuse("%(name)s must be at most %(limit)s, got %(value)s", limit=limits["maximum"])


def schema(stage: str) -> list[dict[str, Any]]:
    """The stage's settings for a form: name, type, default, help; minimum, above, maximum, choices where they apply."""
    return dataclass_schema(CONFIGS[stage])


def dataclass_schema(cls: type) -> list[dict[str, Any]]:
    """The same for any settings class of this module, `Numerics` too."""
    hints, helps = get_type_hints(cls), field_docstrings(cls)
    return [
        {
            "name": item.name,
            "type": hints[item.name].__name__,
            "default": item.default,
            "help": helps[item.name],
            **{key: list(value) if key == "choices" else value for key, value in item.metadata.items()},
        }
        for item in dataclasses.fields(cls)
    ]


@functools.cache
def field_docstrings(cls: type) -> dict[str, str]:
    """The docstring under each field, read from the source, inherited ones included."""
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):
        statements = ast.parse(inspect.getsource(owner)).body[0].body  # type: ignore[attr-defined]
        for statement, following in itertools.pairwise(statements):
            match statement, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = " ".join(text.split())
    return texts
