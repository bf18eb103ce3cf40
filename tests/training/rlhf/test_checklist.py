"""The details that decide whether RLHF works, one test each; numbers as in the project's checklist of training.

Items 11 and 13 to 15 are about PPO and stand beside it.
"""

import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.training.rlhf import world
from training.rlhf.config import Numerics, RewardConfig
from training.rlhf.data import length_mask, pad_right
from training.rlhf.flat import ROW_MULTIPLE, reads_flat_rows
from training.rlhf.losses import ranked_pairs
from training.rlhf.model import (
    disable_dropout,
    fit_to_tokenizer,
    load_policy,
    load_reward_model,
    reward_model_from_policy,
    selected_logits,
)
from training.rlhf.reward import encode_ranking, group_pairs
from training.rlhf.sft import Demonstration, completion_loss
from training.rlhf.tokens import encode_completion, encode_conversation, load_tokenizer

CPU = Numerics(device="cpu", threads=1, dtype="float32", matmul="highest")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return world.make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(base)


@pytest.fixture(scope="module")
def policy(base, tokenizer):
    model = load_policy(base, CPU)
    fit_to_tokenizer(model, tokenizer)
    return model


@pytest.fixture(scope="module")
def reward_model(base, tokenizer):
    model = reward_model_from_policy(base, CPU, seed=3)
    fit_to_tokenizer(model.network, tokenizer)
    return model


class Run:
    """What completion_loss needs of a workspace."""

    numerics = CPU


def test_01_pad_is_not_eos(tokenizer, policy):
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert policy.config.pad_token_id == tokenizer.pad_token_id
    assert policy.get_input_embeddings().weight.shape[0] == len(tokenizer) == 258
    ids, counts = encode_conversation(tokenizer, world.user("hi"), world.assistant("ho"))
    assert ids[-1] == tokenizer.eos_token_id
    assert counts[-1], "the real EOS is learned"


def test_01_eos_gets_a_gradient(tokenizer, policy):
    """With pad = eos the label of the real EOS would be masked out, and this gradient would be zero."""
    ids, counts = encode_conversation(tokenizer, world.user("hi"), world.assistant(""))
    assert sum(counts) == 1  # only EOS counts
    longer = encode_conversation(tokenizer, world.user("a longer prompt than that"), world.assistant(""))
    rows = [Demonstration(*longer, []), Demonstration(ids, counts, [])]
    policy.zero_grad()
    completion_loss(policy, tokenizer, rows, Run).backward()
    head = policy.get_output_embeddings().weight.grad
    assert head[tokenizer.eos_token_id].abs().sum() > 0.01
    policy.zero_grad()


def test_02_masks_come_from_lengths(tokenizer, policy):
    """A pad token inside the text counts like any other, and padding never does."""
    ids = [5, tokenizer.pad_token_id, 6, tokenizer.eos_token_id]
    row = Demonstration(ids, [False, True, True, True], [])
    other = Demonstration([7] * 20, [False] * 19 + [True], [])
    alone = completion_loss(policy, tokenizer, [row], Run) + completion_loss(policy, tokenizer, [other], Run)
    together = completion_loss(policy, tokenizer, [row, other], Run)
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)
    full = torch.log_softmax(policy(input_ids=torch.tensor([ids])).logits.double(), dim=-1)[0]
    by_hand = -sum(full[t, ids[t + 1]].item() for t in range(3))
    assert completion_loss(policy, tokenizer, [row], Run).item() == pytest.approx(by_hand, rel=1e-5)


def test_03_training_sees_the_positions_that_generation_sees(policy):
    """Left-padded with positions counted from the mask, or right-padded without any: the same log-probabilities."""
    sequences = [[4, 5, 6, 7, 8, 9], [9, 8, 7]]
    right, lengths = pad_right(sequences, 257)
    wanted = torch.cat([selected_logits(policy, right[i : i + 1], length_mask(lengths, 8)[i : i + 1]) for i in (0, 1)])
    left = torch.tensor([sequences[0], [257] * 3 + sequences[1]])
    mask = torch.tensor([[True] * 6, [False] * 3 + [True] * 3])
    positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
    got = policy(input_ids=left, attention_mask=mask, position_ids=positions).logits[mask]
    assert torch.allclose(got, wanted, atol=1e-4)


def test_04_the_score_is_read_at_the_right_token_under_right_padding(tokenizer, reward_model):
    sequences = [[*b"some text", 256], [*b"a longer text than the other one", 256]]
    ids, lengths = pad_right(sequences, tokenizer.pad_token_id)
    scores = reward_model.score(ids, lengths)
    for row, sequence in enumerate(sequences):
        alone = reward_model(torch.tensor([sequence]))[0, len(sequence) - 1]
        assert scores[row].item() == pytest.approx(alone.item(), abs=1e-5)
    # the planted bug: padded on the left but read as if on the right
    left = torch.tensor([[tokenizer.pad_token_id] * 23 + sequences[0], sequences[1]])
    assert abs(reward_model.score(left, lengths)[0] - scores[0]) > 1e-3


def test_05_the_last_token_is_eos_also_after_truncated_sampling(tokenizer):
    for answer in ("done.", "cut off in the mid", ""):
        prompt_ids, completion_ids = encode_completion(tokenizer, world.user("Which?"), answer)
        assert completion_ids[-1] == tokenizer.eos_token_id
        assert completion_ids.count(tokenizer.eos_token_id) == 1
        assert tokenizer.eos_token_id not in prompt_ids


def test_05_nothing_is_cut_so_no_eos_is_lost(tokenizer, tmp_path, base):
    rows = [
        {**row, "completion": world.assistant("so " * length)}
        for row, length in zip(world.demonstrations(6), (1, 2, 3, 40, 50, 60), strict=True)
    ]
    train = world.write(tmp_path / "train.jsonl", rows)
    run = world.run_json("sft", {"train": train, "policy": base}, tmp_path / "out", {"max_steps": 1})
    assert world.run_here(run) == 0
    [event] = world.events(tmp_path / "out", "data")
    assert (event["kept"], event["filtered"], event["reasons"]) == (3, 3, {"longer than the context": 3})


def test_06_a_score_does_not_depend_on_its_batch(tokenizer, reward_model):
    sequences = [[*text.encode(), 256] for text in world.texts(12)] + [[65, 256]]
    ids, lengths = pad_right(sequences, tokenizer.pad_token_id)
    together = reward_model.score(ids, lengths)
    for row, sequence in enumerate(sequences):
        alone = reward_model.score(*pad_right([sequence], tokenizer.pad_token_id))
        assert together[row].item() == pytest.approx(alone.item(), abs=2e-5)


def test_07_the_head_starts_small(base):
    weights = torch.cat(
        [reward_model_from_policy(base, CPU, seed).network.score.weight.flatten() for seed in range(60)]
    )
    assert weights.std().item() == pytest.approx(1 / math.sqrt(32 + 1), rel=0.05)
    assert abs(weights.mean().item()) < 0.02
    head = reward_model_from_policy(base, CPU, 1).network.score
    assert head.bias is None or not head.bias.any()
    assert torch.equal(head.weight, reward_model_from_policy(base, CPU, 1).network.score.weight)


def test_08_a_reward_model_trains_for_one_epoch_unless_told():
    assert RewardConfig().epochs == 1


def test_09_a_ranking_is_one_element_and_each_answer_is_forwarded_once(tokenizer, reward_model, monkeypatch):
    from training.rlhf import reward

    rows = [row for row in world.rankings(9) if len(row["completions"]) == 4]
    config = RewardConfig(ties="half")
    rankings = [encode_ranking(row, tokenizer, 96, config, training=True) for row in rows]
    assert all(len(ranking.pairs) == 6 for ranking in rankings)  # C(4, 2)
    pairs = group_pairs(rankings, torch.device("cpu"))
    assert pairs.weight.sum().item() == pytest.approx(len(rankings))  # each ranking weighs 1, whatever its K

    forwarded = []
    hook = reward_model.network.base_model.register_forward_hook(
        lambda _module, _arguments, output: forwarded.append(output.last_hidden_state.shape[:2].numel())
    )
    reads_flat_rows(reward_model.network)  # tried before it is counted
    forwarded.clear()
    [group] = reward.split_batch(rankings, 100_000)
    reward.score_group(reward_model, tokenizer, group, Run)
    hook.remove()
    once = sum(len(sequence) for ranking in rankings for sequence in ranking.sequences)
    assert sum(forwarded) <= once + ROW_MULTIPLE  # tokens of K answers, not of K (K - 1)


def test_10_demonstrations_score_zero_on_average(base, tmp_path):
    demonstrations = world.demonstrations(12)
    inputs = {
        "train": world.write(tmp_path / "train.jsonl", world.rankings(12)),
        "demonstrations": world.write(tmp_path / "demonstrations.jsonl", demonstrations),
        "policy": base,
    }
    run = world.run_json("reward", inputs, tmp_path / "out", {"learning_rate": 1e-3, "batch_size": 4})
    assert world.run_here(run) == 0
    folder = tmp_path / "out" / "model"
    tokenizer, model = load_tokenizer(folder), load_reward_model(folder, CPU)
    pieces = [encode_completion(tokenizer, row["prompt"], row["completion"]) for row in demonstrations]
    sequences = [prompt_ids + completion_ids for prompt_ids, completion_ids in pieces]
    scores = model.score(*pad_right(sequences, tokenizer.pad_token_id))
    assert abs(model.shift) > 1e-4
    assert scores.mean().item() == pytest.approx(0.0, abs=1e-5)
    # ours = raw logit - shift, and anybody's transformers gives the raw logit
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).chat_template
    raw = torch.stack([network(input_ids=torch.tensor([ids])).logits[0, 0] for ids in sequences])
    assert torch.allclose(raw - network.config.reward_shift, scores, atol=1e-5)


@pytest.mark.parametrize("family", world.FAMILIES)
def test_12_dropout_is_off_in_every_mode(tmp_path, family):
    from transformers import AutoModelForCausalLM

    folder = world.make_base(tmp_path, family, dropout=0.5)
    ids = torch.arange(1, 30).unsqueeze(0)
    planted = AutoModelForCausalLM.from_pretrained(folder).train()
    assert not torch.equal(planted(input_ids=ids).logits, planted(input_ids=ids).logits)  # the model does have dropout
    disable_dropout(planted)
    assert torch.equal(planted(input_ids=ids).logits, planted(input_ids=ids).logits)
    for model in (load_policy(folder, CPU), reward_model_from_policy(folder, CPU, 0).network.base_model):
        quiet, training = model.eval()(input_ids=ids)[0], model.train()(input_ids=ids)[0]
        assert torch.equal(quiet, training)
    model = load_policy(folder, CPU)
    model.save_pretrained(tmp_path / "again")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "again").config
    assert getattr(saved, "attn_pdrop", getattr(saved, "attention_dropout", None)) == 0.5  # the folder keeps its own


def test_ranks_of_several_people_are_several_elements(tokenizer):
    row = world.rankings(1)[0]
    both = [
        encode_ranking({**row, "ranks": ranks}, tokenizer, 96, RewardConfig(), training=True)
        for ranks in ([1, 2], [2, 1])
    ]
    assert [ranking.pairs for ranking in both] == [[(0, 1, False)], [(1, 0, False)]]
    assert len(ranked_pairs([1, 2])) == 1
