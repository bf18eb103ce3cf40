"""One update of PPO by us and one by TRL, from the same weights and on the same answers, with all that went on inside.

Ours is the stage as it runs; TRL's is `PPOTrainer.train` of the last release that has it. Both are watched: what their
own functions were given, and what they returned, is kept.
"""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.training.rlhf.tiny import EOS, WORDS, run_json, tiny_tokenizer
from tests.training.rlhf.watching import watch
from training.rlhf import generate, rewards
from training.rlhf.__main__ import run_stage
from training.rlhf.generate import Responses

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


PLAIN = {
    "lr_scheduler_type": "constant",
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-5,
    "weight_decay": 0.0,
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}
"""Settings of any trainer of TRL's: our optimiser, float32 on the CPU, nothing sent anywhere."""


def same_weights(ours: Any, theirs: Any, atol: float) -> None:
    """Raise AssertionError where two state dicts differ in a name or by more than `atol` in a number."""
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


# Ours

SHARED = {
    "total_updates": 1,
    "ppo_epochs": 2,
    "max_new_tokens": 5,
    "temperature": 0.7,
    "learning_rate": 1e-2,
    "value_learning_rate": 1e-2,
    "warmup_updates": 0,
    "max_grad_norm": 0.0,
    "max_ratio": 0.0,
    "kl_coef": 0.1,
    "gamma": 0.97,
    "lam": 0.9,
    "sample_every": 0,
    "sample_count": 0,
    "checkpoint_every_seconds": 0,
}


class Ours(NamedTuple):
    """What our update saw and made. Tensors are (B, R), `mask` True on response tokens."""

    prompts: list[list[int]]
    responses: Responses
    mask: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    kl: Tensor
    raw_scores: Tensor
    scores: Tensor
    rewards: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    white: Tensor
    folder: Path


def our_update(inputs: dict[str, Path], output: Path, count: int) -> Ours:
    """Run the stage for one update of `count` rollouts in one minibatch, twice over."""
    with pytest.MonkeyPatch.context() as patch:
        calls = {
            function.__name__: watch(patch, function, "training.rlhf")
            for function in (
                generate.generate,
                rewards.kl_per_token,
                rewards.finish_scores,
                rewards.token_rewards,
                rewards.estimate_advantages,
                rewards.whiten,
            )
        }
        config = {**SHARED, "rollouts_per_update": count, "minibatch_size": count}
        run = run_json("ppo", {name: path for name, path in inputs.items() if name != "validation"}, output, config)
        run["numerics"] |= {"matmul": "highest"}
        assert run_stage(run) == 0
    [sampled] = calls["generate"]
    [kl] = calls["kl_per_token"]
    [finish] = calls["finish_scores"]
    [reward] = calls["token_rewards"]
    [gae] = calls["estimate_advantages"]
    [white] = calls["whiten"]
    return Ours(
        prompts=[list(prompt) for prompt in sampled.given["prompts"]],
        responses=sampled.result,
        mask=kl.given["mask"],
        logprobs=kl.given["logprobs"],
        ref_logprobs=kl.given["ref_logprobs"],
        kl=kl.result,
        raw_scores=finish.given["scores"],
        scores=finish.result,
        rewards=reward.result,
        values=gae.given["values"],
        advantages=gae.result[0],
        returns=gae.result[1],
        white=white.result,
        folder=output / "model",
    )


# Theirs


class Theirs(NamedTuple):
    """What TRL's update saw and made, its rows in our order. Losses and new log-probabilities are by epoch."""

    logprobs: Tensor
    ref_logprobs: Tensor
    raw_scores: Tensor
    """(B,), before the penalty for a missing EOS."""
    values: Tensor
    """(B, R), read at each position, also behind the answer."""
    advantages: Tensor
    white: Tensor
    """(B, R), not yet cleared behind the answer."""
    new_logprobs: list[Tensor]
    new_values: list[Tensor]
    policy_losses: list[float]
    value_losses: list[float]
    metrics: dict[str, float]
    policy: torch.nn.Module


PADDING = len(WORDS)  # TRL tells padding by its id, so it gets one that no answer can hold


def padded_tokenizer() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    tokenizer.padding_side = "left"
    assert tokenizer.pad_token_id == PADDING
    return tokenizer


def their_update(ours: Ours, inputs: dict[str, Path], output: Path, *, as_ours: bool = False) -> Theirs:
    """TRL's update on our answers; `as_ours` undoes its deliberate differences, each in one place (see below)."""
    from datasets import Dataset
    from trl.experimental import utils
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    answers = {tuple(prompt): row for row, prompt in enumerate(ours.prompts)}
    order: list[int] = []  # their rows, as ours are numbered

    def given_answers(
        model: Any, queries: Tensor, _size: int, pad: int, generation_config: Any
    ) -> tuple[Tensor, Tensor]:
        """In place of sampling: our answers, and the logits that its sampler would have drawn them from."""
        order[:] = [answers[tuple(token for token in query.tolist() if token != pad)] for query in queries]
        whole = torch.cat([queries, ours.responses.ids[order]], dim=1)
        logits = ppo_trainer.forward(model, whole, pad).logits[:, queries.shape[1] - 1 : -1]
        return whole, logits / generation_config.temperature

    config = PPOConfig(
        output_dir=str(output),
        per_device_train_batch_size=len(ours.prompts),
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        total_episodes=len(ours.prompts),
        local_rollout_forward_batch_size=len(ours.prompts),
        response_length=SHARED["max_new_tokens"],
        num_ppo_epochs=SHARED["ppo_epochs"],
        temperature=SHARED["temperature"],
        kl_coef=SHARED["kl_coef"],
        gamma=SHARED["gamma"],
        lam=SHARED["lam"],
        learning_rate=SHARED["learning_rate"],
        vf_coef=1.0,  # the value model's parameters are its own, and so is their step
        missing_eos_penalty=1.0,
        stop_token="eos",
        num_sample_generations=0,
        **PLAIN,
    )
    reward_model, value_model = (
        AutoModelForSequenceClassification.from_pretrained(inputs["reward_model"]) for _ in range(2)
    )
    if as_ours:
        for network in (reward_model, value_model):
            network.score.bias = torch.nn.Parameter(torch.tensor([-network.config.reward_shift]), requires_grad=False)
    trainer = PPOTrainer(
        args=config,
        processing_class=padded_tokenizer(),
        model=AutoModelForCausalLM.from_pretrained(inputs["policy"]),
        ref_model=AutoModelForCausalLM.from_pretrained(inputs["reference"]),
        reward_model=reward_model,
        value_model=value_model,
        train_dataset=Dataset.from_list([{"input_ids": prompt} for prompt in ours.prompts]),
    )
    logged: dict[str, float] = {}
    trainer.log = logged.update
    train = PPOTrainer.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo_trainer, "batch_generation", given_answers)
        patch.setattr(ppo_trainer.np.random, "permutation", np.arange)  # one minibatch: its order changes nothing
        if as_ours:
            train = with_one_line_changed(train)
            plain_variance, plain_reward = ppo_trainer.masked_var, utils.get_reward
            patch.setattr(ppo_trainer, "masked_var", lambda x, mask: plain_variance(x, mask, unbiased=False))

            def get_reward(model: Any, query_responses: Tensor, pad_token_id: int, context_length: int) -> Any:
                if model is not reward_model:
                    return plain_reward(model, query_responses, pad_token_id, context_length)
                ids = query_responses.clone()
                ends = utils.first_true_indices(ids[:, context_length:] == pad_token_id) + context_length
                ids[torch.arange(len(ids)), ends - 1] = EOS
                return plain_reward(model, ids, pad_token_id, context_length)

            patch.setattr(ppo_trainer, "get_reward", get_reward)
        selected = watch(patch, ppo_trainer.selective_log_softmax, "trl.")
        seen = watch(patch, ppo_trainer.get_reward, "trl.")
        white = watch(patch, ppo_trainer.masked_whiten, "trl.")
        means = watch(patch, ppo_trainer.masked_mean, "trl.")
        passes = watch(patch, ppo_trainer.forward, "trl.")
        train(trainer)

    back = torch.tensor(order).argsort()
    old, reference, *new = (call.result[back] for call in selected)
    value, reward = seen
    context = value.given["context_length"]
    # asked three times while whitening, then each epoch for the value loss, its clip fraction, and the policy's two
    losses = [float(call.result.detach()) for call in means[3:]]
    epochs = [call.result[1] for call in passes if isinstance(call.result, tuple)]
    return Theirs(
        logprobs=old,
        ref_logprobs=reference,
        raw_scores=reward.result[1][back],
        values=value.result[0][back, context - 1 : -1, 0],
        advantages=white[0].given["values"][back],
        white=white[0].result[back],
        new_logprobs=new,
        new_values=[values[back, context - 1 : -1, 0].detach() for values in epochs],
        policy_losses=losses[2::4],
        value_losses=[0.5 * loss for loss in losses[0::4]],
        metrics=logged,
        policy=trainer.model.policy,
    )


def with_one_line_changed(train: Any) -> Any:
    """TRL's `train` with the score, and the end of the episode, on the last token instead of on the slot behind it."""
    source = inspect.getsource(train)
    line, ours = "sequence_lengths_p1 = sequence_lengths + 1\n", "sequence_lengths_p1 = sequence_lengths\n"
    assert source.count(line) == 1
    lines = source.replace(line, ours).splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    namespace: dict[str, Any] = {}
    module = sys.modules[train.__module__]
    exec("\n".join(text[indent:] for text in lines), module.__dict__, namespace)
    return namespace["train"]
