"""In a world of two tokens the best policy is known: pi*(a) is proportional to reference(a) exp(score(a) / beta).

That is the maximum of E[score] - beta KL(pi || reference), which is what PPO's reward adds up to (Ziegler et al. 2019,
section 2.2). A wrong sign, a lost beta, a reward at the wrong token or a KL counted twice ends somewhere else.
"""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from tests.training.rlhf.tiny import run_json, widen, write_prompts
from training.rlhf import rollouts
from training.rlhf.__main__ import run_stage

OTHER, EOS = 0, 1


@pytest.fixture(scope="module")
def two_tokens(tmp_path_factory):
    """A policy and a reward model over two tokens; the one prompt is a single token."""
    folder = tmp_path_factory.mktemp("two")
    raw = Tokenizer(models.WordLevel({"<other>": OTHER, "<end>": EOS}, unk_token="<other>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<other>", eos_token="<end>", chat_template="{{ pad_token }}"
    )
    torch.manual_seed(3)
    shape = {"vocab_size": 2, "n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16}
    tokens = {"pad_token_id": OTHER, "eos_token_id": EOS, "bos_token_id": None}
    policy = GPT2LMHeadModel(GPT2Config(**shape, **tokens)).eval()
    reward = GPT2ForSequenceClassification(GPT2Config(**shape, **tokens, num_labels=1)).eval()
    widen(policy, 0.3)
    widen(reward, 0.3)
    with torch.no_grad():  # the two answers lie 2 apart, whatever was drawn
        hidden = reward.transformer(input_ids=torch.tensor([[OTHER, OTHER], [OTHER, EOS]])).last_hidden_state
        low, high = reward.score(hidden)[:, -1, 0].tolist()
        reward.score.weight.mul_(2 / (high - low))
    for name, model in {"policy": policy, "reward_model": reward}.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    write_prompts(folder / "train.jsonl", ["x"])
    names = {"policy": "policy", "reference": "policy", "reward_model": "reward_model", "train": "train.jsonl"}
    return {name: folder / file for name, file in names.items()}, policy, reward


def next_token(policy) -> torch.Tensor:
    """(2,) log-probabilities of the answer to the prompt."""
    with torch.no_grad():
        return policy(input_ids=torch.tensor([[OTHER]])).logits[0, -1].double().log_softmax(-1)


def score_as_it_is(reward_model, part, eos_token_id, numerics):
    return rollouts.scores_at(reward_model, part.row, part.row.last, numerics)


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
def test_ppo_reaches_the_closed_form(two_tokens, tmp_path, monkeypatch, beta):
    inputs, policy, reward = two_tokens
    # answers of one token: one that is not EOS would be scored as if it were, and nothing were left to learn
    monkeypatch.setattr(rollouts, "response_scores", score_as_it_is)
    config = {
        "total_updates": 60,
        "rollouts_per_update": 256,
        "minibatch_size": 256,
        "max_new_tokens": 1,
        "missing_eos_penalty": 0.0,
        "kl_coef": beta,
        "whiten_advantages": False,  # whitened advantages never get small, so the last steps would not either
        "learning_rate": 0.03,
        "value_learning_rate": 0.05,
        "cliprange_value": 10.0,
        "schedule": "linear",
        "warmup_updates": 0,
        "sample_every": 0,
    }
    assert run_stage(run_json("ppo", inputs, tmp_path, config)) == 0
    with torch.no_grad():
        hidden = reward.transformer(input_ids=torch.tensor([[OTHER, OTHER], [OTHER, EOS]])).last_hidden_state
        scores = reward.score(hidden)[:, -1, 0].double()
    reference = next_token(policy)
    best = (reference + scores / beta).log_softmax(-1)
    reached = next_token(AutoModelForCausalLM.from_pretrained(tmp_path / "model"))
    away = float((reference.exp() * (reference - best)).sum())
    left = float((reached.exp() * (reached - best)).sum())
    assert left < 1e-3 < 1e-2 < away, (left, away, best.exp(), reached.exp(), scores)
