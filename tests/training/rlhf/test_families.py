"""Each family goes through SFT, a reward model and PPO; every number on the way is that of the plain transformers model
on one unpadded sequence at a time, and what is published opens with the Auto classes and gives the same numbers."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.training.rlhf import world
from tests.training.rlhf.oracle import slow
from tests.training.rlhf.seven import SEVEN, WINDOW, small_config
from tests.training.rlhf.tiny import widen
from tests.training.rlhf.watching import watch
from training.rlhf import generate, rewards
from training.rlhf.config import Numerics
from training.rlhf.model import fit_to_tokenizer, reward_model_from_policy
from training.rlhf.tokens import encode_completion, encode_conversation, load_tokenizer

CPU = Numerics(device="cpu", threads=1, dtype="float32", matmul="highest")
DEMONSTRATIONS = world.demonstrations(5)
RANKINGS = [row for row in world.rankings(9) if len(row["completions"]) == 3]


def make_base(folder, family):
    """A base model with random weights and a tokenizer of bytes, as somebody else would have saved it."""
    torch.manual_seed(0)
    config = small_config(family, vocab_size=257, eos_token_id=256, bos_token_id=None, pad_token_id=None)
    model = AutoModelForCausalLM.from_config(config)
    widen(model, 0.3)
    model.save_pretrained(folder)
    world.byte_tokenizer().save_pretrained(folder)
    return folder


class Trained:
    """One family after a step of each stage."""

    def __init__(self, folder, family):
        self.folder = folder
        base = make_base(folder / "base", family)
        train = world.write(folder / "demonstrations.jsonl", DEMONSTRATIONS)
        rankings = world.write(folder / "rankings.jsonl", RANKINGS)
        prompts = [{"id": row["id"], "prompt": row["prompt"]} for row in DEMONSTRATIONS]
        common = {"learning_rate": 1e-3, "schedule": "constant"}
        few = {"batch_size": 5, "max_steps": 1, **common}
        self.run("sft", {"train": train, "validation": train, "policy": base}, {**few, "sample_every": 0})
        sft = folder / "sft" / "model"
        self.run("reward", {"train": rankings, "validation": rankings, "policy": sft}, {**few, "ties": "half"})
        inputs = {"policy": sft, "reference": sft, "reward_model": folder / "reward" / "model"}
        update = {"total_updates": 1, "rollouts_per_update": 5, "minibatch_size": 3, "warmup_updates": 0}
        update |= {"max_new_tokens": 7, "temperature": 0.8, "sample_every": 0, "sample_count": 0, **common}
        with pytest.MonkeyPatch.context() as patch:
            self.sampled = watch(patch, generate.generate, "training.rlhf")
            self.kl = watch(patch, rewards.kl_per_token, "training.rlhf")
            self.scores = watch(patch, rewards.finish_scores, "training.rlhf")
            inputs["train"] = world.write(folder / "prompts.jsonl", prompts)
            self.run("ppo", inputs, update)

    def run(self, stage, inputs, config):
        run = world.run_json(stage, inputs, self.folder / stage, config)
        run["numerics"] |= {"matmul": "highest"}
        assert world.run_here(run) == 0, world.events(self.folder / stage, "failed")

    def metrics(self, stage):
        return dict(world.steps(self.folder / stage))


@pytest.fixture(scope="module", params=SEVEN)
def trained(request, tmp_path_factory):
    return Trained(tmp_path_factory.mktemp(request.param), request.param)


@torch.no_grad()
def plain_logits(model, ids):
    """(T, V) of one sequence, by the plain model: no padding, no mask, positions as they come."""
    return model(input_ids=torch.tensor([ids])).logits[0].double()


def conversation(tokenizer, prompt, answer):
    prompt_ids, completion_ids = encode_completion(tokenizer, prompt, answer)
    return prompt_ids + completion_ids


@torch.no_grad()
def plain_scores(network, ranking, tokenizer):
    """The score of each answer at its last token, by the plain trunk and head."""
    found = []
    for answer in ranking["completions"]:
        ids = conversation(tokenizer, ranking["prompt"], answer["content"])
        found.append(float(network.score(network.base_model(torch.tensor([ids])).last_hidden_state)[0, -1, 0]))
    return found


def plain_loss(folder):
    """Mean loss of the demonstrations, one at a time, under the causal model in `folder`."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), load_tokenizer(folder)
    rows = [encode_conversation(tokenizer, row["prompt"], row["completion"]) for row in DEMONSTRATIONS]
    assert len({len(ids) for ids, _ in rows}) > 2 and max(len(ids) for ids, _ in rows) > 2 * WINDOW
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        fit_to_tokenizer(model, tokenizer)
    return slow.completion_loss([(plain_logits(model, ids).tolist(), ids, counts) for ids, counts in rows])


def test_sft(trained):
    metrics = trained.metrics("sft")
    before, after = (plain_loss(trained.folder / at) for at in ("base", "sft/model"))
    assert metrics[0]["loss/validation"] == pytest.approx(before, rel=1e-4)
    assert metrics[1]["loss/train"] == pytest.approx(before, rel=1e-4)
    assert metrics[1]["loss/validation"] == pytest.approx(after, rel=1e-4)
    assert after < before - 1e-3


def test_reward_model(trained):
    tokenizer = AutoTokenizer.from_pretrained(trained.folder / "sft" / "model")
    start = reward_model_from_policy(trained.folder / "sft" / "model", CPU, seed=7).network
    published = AutoModelForSequenceClassification.from_pretrained(trained.folder / "reward" / "model")
    metrics = trained.metrics("reward")[1]
    for network, name in ((start, "loss/train"), (published, "loss/validation")):
        scored = [(plain_scores(network, row, tokenizer), row["ranks"]) for row in RANKINGS]
        assert metrics[name] == pytest.approx(slow.ranking_loss(scored, ties="half"), rel=1e-4)
    # its own pooling reads the same token: what the class itself says is what was trained
    ids = conversation(tokenizer, RANKINGS[0]["prompt"], "no")
    with torch.no_grad():
        assert published(input_ids=torch.tensor([ids])).logits.shape == (1, 1)
        raw = float(published(input_ids=torch.tensor([ids])).logits)
    answer = {"prompt": RANKINGS[0]["prompt"], "completions": [{"content": "no"}]}
    assert plain_scores(published, answer, tokenizer) == pytest.approx([raw], abs=1e-6)


def test_ppo(trained):
    """Log-probabilities of sampled answers, of padded prompts of many lengths, are those of the plain model."""
    [sampled], [kl], [scores] = trained.sampled, trained.kl, trained.scores
    prompts, responses = [list(prompt) for prompt in sampled.given["prompts"]], sampled.result
    assert len({len(prompt) for prompt in prompts}) > 1
    policy = AutoModelForCausalLM.from_pretrained(trained.folder / "sft" / "model")
    network = AutoModelForSequenceClassification.from_pretrained(trained.folder / "reward" / "model")
    tokenizer = load_tokenizer(trained.folder / "sft" / "model")
    for row, prompt in enumerate(prompts):
        answer = responses.tokens(row)
        logits = plain_logits(policy, prompt + answer)[len(prompt) - 1 : -1]
        expected = [slow.log_softmax(at, 0.8)[token] for at, token in zip(logits.tolist(), answer, strict=True)]
        for found in (kl.given["logprobs"], kl.given["ref_logprobs"], responses.logprobs):
            assert found[row, : len(answer)].tolist() == pytest.approx(expected, abs=1e-4)
        ended = torch.tensor([prompt + answer[:-1] + [tokenizer.eos_token_id]])
        with torch.no_grad():
            raw = float(network.score(network.base_model(ended).last_hidden_state)[0, -1, 0])
        assert float(scores.given["scores"][row]) == pytest.approx(raw - network.config.reward_shift, abs=1e-4)
    assert not kl.given["mask"].all() or all(len(responses.tokens(row)) == 7 for row in range(len(prompts)))
    assert math.isfinite(trained.metrics("ppo")[1]["loss/policy"])
    after = AutoModelForCausalLM.from_pretrained(trained.folder / "ppo" / "model")
    assert type(after) is type(policy)
    assert any(not torch.equal(a, b) for a, b in zip(after.parameters(), policy.parameters(), strict=True))
