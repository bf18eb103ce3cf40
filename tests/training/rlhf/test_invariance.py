"""How a batch is laid out is no part of what is learned: losses and gradients of SFT, pretraining and reward models do
not change with padding, company, order, packing, shared prompts, passes or chunks. In float64, all seven families."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tests.training.rlhf.seven import SEVEN, gradients, small_policy, small_reward_network, tokens
from tests.training.rlhf.tiny import tiny_tokenizer
from training.rlhf import attention, data, flat, linear
from training.rlhf.config import Numerics
from training.rlhf.data import fill_rows, pad_right
from training.rlhf.flat import hidden_states, lay_blocks
from training.rlhf.linear import policy_cross_entropy
from training.rlhf.model import RewardModel
from training.rlhf.reward import RankedAnswers, score_group, split_batch
from training.rlhf.sft import Demonstration, completion_loss
from training.rlhf.sft import split_batch as split_demonstrations

TOKENIZER = tiny_tokenizer()


class Run:
    """What the losses need of a workspace."""

    numerics = Numerics(device="cpu", threads=1, dtype="float32", matmul="highest")


def demonstration(prompt: int, answer: int, seed: int) -> Demonstration:
    """One that learns its answer but for one token in the middle, as a turn of several would."""
    counts = [False] * prompt + [True] * answer
    counts[prompt + answer // 2] = False
    return Demonstration(tokens(prompt + answer, seed), counts, [])


DEMONSTRATIONS = [demonstration(*shape, seed=at) for at, shape in enumerate([(3, 9), (20, 4), (7, 25), (2, 2), (9, 8)])]


def ranking(prompt: int, answers: tuple[int, ...], seed: int) -> RankedAnswers:
    beginning = tokens(prompt, seed)
    sequences = [beginning + tokens(length, seed + 1 + at) for at, length in enumerate(answers)]
    return RankedAnswers(sequences, [float(at) for at in range(len(answers))], [(0, 1, False)], [0.0])


RANKINGS = [ranking(14, (3, 20, 9, 1), 40), ranking(4, (6, 7), 50), ranking(30, (2, 2, 5), 60)]


def plain_loss(model: PreTrainedModel, rows: list[Demonstration]) -> Tensor:
    """The obvious version: one demonstration, one forward, all logits."""
    total = torch.zeros(())
    for row in rows:
        logits = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0]
        logprobs = torch.log_softmax(logits, dim=-1)
        for at, counts in enumerate(row.counts):
            if counts:
                total = total - logprobs[at - 1, row.ids[at]]
    return total


def plain_scores(model: RewardModel, rankings: list[RankedAnswers]) -> Tensor:
    """One answer, one forward; read at its last token."""
    network = model.network
    states = [
        network.base_model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1]
        for one in rankings
        for ids in one.sequences
    ]
    return (torch.stack(states) @ network.score.weight.t()).squeeze(-1)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        room = 1e-5 * max(float(wanted[name].abs().max()), 1e-3)  # norms and rotations are float32 in any dtype
        torch.testing.assert_close(gradient, wanted[name], rtol=0, atol=room, msg=name)


@pytest.fixture(params=["large", "small", "padded"])
def laid_out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one piece; tiles, chunks and rows of a few tokens, nothing kept; or padded, as a last resort."""
    if request.param == "small":
        monkeypatch.setattr(attention, "TILE", 7)
        monkeypatch.setattr(attention, "KEEP_PROBABILITIES", 0)
        monkeypatch.setattr(linear, "CHUNK_BYTES", 2000)
        monkeypatch.setattr(flat, "ROW_MULTIPLE", 8)
    if request.param == "padded":
        monkeypatch.setattr(flat, "_agrees", lambda model: False)  # as if its trial had failed


@pytest.mark.usefixtures("laid_out")
@pytest.mark.parametrize("family", SEVEN)
def test_sft_learns_the_same_however_it_is_laid_out(family: str) -> None:
    model = small_policy(family)
    wanted = plain_loss(model, DEMONSTRATIONS)
    gradient = gradients(model, wanted)
    for rows, budget in ((DEMONSTRATIONS, 4096), (DEMONSTRATIONS[::-1], 40)):
        parts = [completion_loss(model, TOKENIZER, part, Run) for part in split_demonstrations(rows, budget)]
        assert (len(parts) > 1) == (budget == 40)
        loss = sum(parts)
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
        assert_same(gradients(model, loss), gradient)


@pytest.mark.usefixtures("laid_out")
@pytest.mark.parametrize("family", SEVEN)
def test_a_ranking_scores_the_same_however_it_is_laid_out(family: str) -> None:
    model = RewardModel(small_reward_network(family))
    model.network.score.double()
    outside = torch.linspace(-1, 1, sum(len(one.sequences) for one in RANKINGS), dtype=torch.float64)
    wanted = plain_scores(model, RANKINGS)
    gradient = gradients(model, (wanted * outside).sum())
    order = {id(one): place for one, place in zip(RANKINGS, wanted.split([4, 2, 3]), strict=True)}
    weights = {id(one): place for one, place in zip(RANKINGS, outside.split([4, 2, 3]), strict=True)}
    model.network.score.float()  # as it is used: the head reads float32
    for budget in (4096, 60):
        loss = torch.zeros(())
        for group in split_batch(RANKINGS, budget):
            scores = score_group(model, TOKENIZER, group, Run)
            expected = torch.cat([order[id(one)] for one in group])
            torch.testing.assert_close(scores, expected.float(), rtol=1e-4, atol=1e-4)
            loss = loss + (scores * torch.cat([weights[id(one)] for one in group])).sum()
        found = {name: value.double() for name, value in gradients(model, loss).items()}
        assert_same(found, gradient)


@pytest.mark.parametrize("family", SEVEN)
def test_blocks_of_one_length_are_those_of_a_batch(family: str) -> None:
    model = small_policy(family)
    ids = torch.tensor([tokens(21, seed) for seed in range(5)])
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    wanted = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    gradient = gradients(model, wanted)
    for _ in range(2):  # the second time its layout is known
        loss = policy_cross_entropy(
            model, hidden_states(model, lay_blocks(ids[:, :-1]))[: 5 * 20], ids[:, 1:].flatten()
        )
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
        assert_same(gradients(model, loss), gradient)


def test_a_head_of_its_own_kind_is_run_by_the_model_itself() -> None:
    model = small_policy("llama")
    model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits + 0.1 * logits**2)
    loss, wanted = completion_loss(model, TOKENIZER, DEMONSTRATIONS, Run), plain_loss(model, DEMONSTRATIONS)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    found, gradient = gradients(model, loss), gradients(model, wanted)
    for name, value in found.items():  # own logits are float32
        torch.testing.assert_close(value, gradient[name], rtol=1e-3, atol=1e-4, msg=name)


def test_rows_are_evenly_full_within_the_budget_and_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = [5, 9, 1, 30, 7, 7, 12, 3]
    for budget in (30, 31, 40, 74, 1000):
        rows = fill_rows(costs, budget)
        assert sorted(index for row in rows for index in row) == list(range(len(costs)))
        assert all(sum(costs[index] for index in row) <= budget for row in rows)
        assert len(rows) <= -(-sum(costs) // budget) + 1
    assert fill_rows([50, 5], 20) == [[0], [1]]  # what is over the budget is whole, by itself
    assert fill_rows([], 20) == []
    monkeypatch.setattr(data, "CPU_ROW", 10)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fill_rows([5, 5, 5], 1000) == [[0, 2], [1]]


def test_padding_is_never_seen() -> None:
    """The padded way, which families without flat rows go: company that is longer changes nothing."""
    model = small_policy("gpt2")
    short, long = tokens(6, 1), tokens(30, 2)
    ids, _ = pad_right([short, long], 0)
    together = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, :6]
    alone = model.base_model(input_ids=torch.tensor([short]), use_cache=False).last_hidden_state[0]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)
