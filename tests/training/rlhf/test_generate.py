"""Generation: with a cache as without, one row as among others, and the same numbers as the training forward."""

import pytest
import torch

from tests.training.rlhf.tiny import EOS, FAMILIES, PAD, tiny_policy
from training.rlhf import generate as module
from training.rlhf.data import length_mask, pad_right
from training.rlhf.generate import (
    Decoding,
    Responses,
    choose_tokens,
    derive_seed,
    first_end,
    generate,
    keep_likeliest,
    pad_left,
    uniform_draws,
)
from training.rlhf.model import selected_logits
from training.rlhf.ppo_losses import token_logprobs

PROMPTS = [[5], [6, 7, 8], [9, 10, 11, 12, 13], [5, 6], [14, 15, 16, 17], [18, 2, 3]]
SEEDS = [derive_seed(1, row) for row in range(len(PROMPTS))]
ENDS = {"eos_token_id": EOS, "pad_token_id": PAD}


def answers(model, prompts=PROMPTS, seeds=SEEDS, batch_tokens=16_384, **decoding) -> Responses:
    wanted = Decoding(**{"max_new_tokens": 12, **decoding})
    return generate(model, prompts, seeds, wanted, batch_tokens=batch_tokens, **ENDS)


@torch.no_grad()
def answer_without_cache(model, prompt, seed, decoding) -> tuple[list[int], list[float]]:
    """The slow version: one prompt, no padding, the whole sequence anew for each token."""
    ids, logprobs = list(prompt), []
    for draw in uniform_draws([seed], decoding.max_new_tokens)[0]:
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[:, -1]
        token, logprob = choose_tokens(logits, draw[None], decoding)
        ids.append(int(token))
        logprobs.append(float(logprob))
        if ids[-1] == EOS:
            break
    return ids[len(prompt) :], logprobs


@torch.no_grad()
def training_logprobs(model, prompts, given: Responses, temperature: float) -> torch.Tensor:
    """(B, R), by right-padded sequences through the forward that trains."""
    ids, _ = pad_right([prompt + given.tokens(row) for row, prompt in enumerate(prompts)], PAD)
    select = torch.zeros_like(ids, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        select[row, len(prompt) - 1 : len(prompt) - 1 + int(given.lengths[row])] = True
    mask = length_mask(given.lengths, given.ids.shape[1])
    logprobs = torch.zeros(given.ids.shape)
    logprobs[mask] = token_logprobs(selected_logits(model, ids, select), given.ids[mask], temperature)
    return logprobs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"temperature": 0.0}, {"top_p": 0.6, "top_k": 5}])
def test_generation_with_a_cache_equals_generation_without(family, options):
    model = tiny_policy(family)
    given = answers(model, **options)
    for row, prompt in enumerate(PROMPTS):
        decoding = Decoding(**{"max_new_tokens": 12, **options})
        tokens, logprobs = answer_without_cache(model, prompt, SEEDS[row], decoding)
        assert given.tokens(row) == tokens
        assert given.logprobs[row, : len(tokens)].tolist() == pytest.approx(logprobs, abs=1e-4)
        assert bool(given.ended[row]) == (tokens[-1] == EOS)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_items_3_and_14_logprobs_of_generation_equal_the_training_forwards(family, temperature):
    model = tiny_policy(family)
    given = answers(model, temperature=temperature)
    torch.testing.assert_close(given.logprobs, training_logprobs(model, PROMPTS, given, temperature), atol=1e-4, rtol=0)


def test_planted_bug_padding_on_the_wrong_side_is_seen_in_the_logprobs(monkeypatch):
    def pad_wrongly(prompts, pad):
        ids, lengths = pad_right(prompts, pad)
        return ids, length_mask(lengths, ids.shape[1])

    monkeypatch.setattr(module, "pad_left", pad_wrongly)
    model = tiny_policy()
    given = answers(model)
    assert (given.logprobs - training_logprobs(model, PROMPTS, given, 1.0)).abs().max() > 1e-2


def test_a_row_does_not_depend_on_its_neighbours_or_on_the_batch():
    model = tiny_policy()
    together = answers(model)
    backwards = answers(model, PROMPTS[::-1], SEEDS[::-1])
    one_by_one = answers(model, batch_tokens=1)
    for row in range(len(PROMPTS)):
        alone = answers(model, PROMPTS[row : row + 1], SEEDS[row : row + 1])
        last = len(PROMPTS) - 1 - row
        assert together.tokens(row) == alone.tokens(0) == backwards.tokens(last) == one_by_one.tokens(row)
        torch.testing.assert_close(together.logprobs[row], alone.logprobs[0], atol=1e-4, rtol=0)


def test_the_same_call_gives_the_same_bits_and_another_seed_another_answer():
    model = tiny_policy()
    first, again = answers(model), answers(model)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = answers(model, seeds=[seed + 1 for seed in SEEDS])
    assert not torch.equal(first.ids, other.ids)


def test_more_room_only_makes_an_answer_longer():
    model = tiny_policy()
    short, long = answers(model, max_new_tokens=4), answers(model, max_new_tokens=12)
    for row in range(len(PROMPTS)):
        assert long.tokens(row)[:4] == short.tokens(row)


def test_item_17_an_answer_stops_at_its_first_eos_and_only_padding_follows():
    model = tiny_policy(spread=0.2)
    given = answers(model, prompts=[[5 + i % 18] for i in range(60)], seeds=list(range(60)), max_new_tokens=30)
    assert 0 < int(given.ended.sum()) < 60, "the test needs answers of both kinds"
    for row in range(60):
        tokens = given.tokens(row)
        assert EOS not in tokens[:-1] and (tokens[-1] == EOS) == bool(given.ended[row])
        assert len(tokens) == 30 or given.ended[row]
    behind = ~length_mask(given.lengths, 30)
    assert (given.ids[behind] == PAD).all() and not given.logprobs[behind].any()


def test_finished_rows_leave_the_batch(monkeypatch):
    widths = []
    model = tiny_policy(spread=0.2)
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **given: (widths.append(len(given["input_ids"])), forward(**given))[1])
    answers(model, prompts=[[5]] * 64, seeds=list(range(64)), max_new_tokens=40)
    assert widths[0] == 64 and widths[-1] < 40 and widths == sorted(widths, reverse=True)


def test_first_end():
    tokens = torch.tensor([[EOS, 5, EOS], [5, 6, EOS], [5, 6, 7]])
    ended, lengths = first_end(tokens, EOS)
    assert ended.tolist() == [True, True, False] and lengths.tolist() == [1, 3, 3]


def test_sampling_follows_the_distribution():
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    draws = (torch.arange(10_000) + 0.5) / 10_000
    chosen, logprobs = choose_tokens(logits.expand(10_000, 4), draws, Decoding(max_new_tokens=1))
    assert torch.bincount(chosen).tolist() == [1000, 2000, 3000, 4000]
    torch.testing.assert_close(logprobs, logits[chosen])
    # at temperature 1/2 probabilities go as squares: 1 4 9 16 of 30
    chosen, _ = choose_tokens(logits.expand(10_000, 4), draws, Decoding(max_new_tokens=1, temperature=0.5))
    assert torch.bincount(chosen).tolist() == pytest.approx([n * 10_000 / 30 for n in (1, 4, 9, 16)], abs=2)


def test_a_token_without_probability_is_never_chosen_at_the_ends_of_the_draw():
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]]).expand(2, 4)
    draws = torch.tensor([0.0, 1.0 - 2.0**-24])
    chosen, _ = choose_tokens(logits, draws, Decoding(max_new_tokens=1))
    assert chosen.tolist() == [1, 2]


def test_top_p_and_top_k_keep_the_likeliest():
    probabilities = torch.tensor([[0.1, 0.5, 0.15, 0.25]])
    assert keep_likeliest(probabilities, 0.7, 0).gt(0).tolist() == [[False, True, False, True]]
    assert keep_likeliest(probabilities, 0.4, 0).gt(0).tolist() == [[False, True, False, False]]
    assert keep_likeliest(probabilities, 1.0, 3).gt(0).tolist() == [[False, True, True, True]]
    assert keep_likeliest(probabilities, 1.0, 0) is probabilities


def test_left_padding():
    ids, mask = pad_left([[5], [6, 7, 8]], PAD)
    assert ids.tolist() == [[PAD, PAD, 5], [6, 7, 8]]
    assert mask.tolist() == [[False, False, True], [True, True, True]]


def test_answers_can_be_trained_on():
    model = tiny_policy()
    given = answers(model, max_new_tokens=3)
    model(input_ids=given.ids).logits.sum().backward()  # inference tensors would refuse


def test_a_heartbeat_is_called_and_may_stop():
    beats = []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        generate(tiny_policy(), PROMPTS, SEEDS, Decoding(max_new_tokens=12), heartbeat=beat, **ENDS)


def test_an_empty_prompt_and_a_missing_seed_are_refused():
    with pytest.raises(ValueError, match="no token"):
        answers(tiny_policy(), prompts=[[]], seeds=[1])
    with pytest.raises(ValueError, match="as many seeds"):
        answers(tiny_policy(), seeds=[1])
