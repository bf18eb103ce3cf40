"""Generation: with a cache as without, one row as among others, and the same numbers as the training forward."""

import pytest
import torch

from tests.training.rlhf.tiny import ALL_FAMILIES, EOS, PAD, tiny_policy
from training.rlhf import decode, decode_plain
from training.rlhf import generate as module
from training.rlhf.data import length_mask, pad_right
from training.rlhf.decode import Decoder, way_to_decode
from training.rlhf.decode_plain import pad_left
from training.rlhf.generate import (
    Decoding,
    Responses,
    bands,
    choose_tokens,
    derive_seed,
    generate,
    keep_likeliest,
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


@pytest.fixture(params=["straight", "modules", "none"])
def decoder(request, monkeypatch):
    """Every way to decode: each is for models that the one before it does not know."""
    monkeypatch.setattr(module, "way_to_decode", lambda model: request.param)
    return request.param


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_every_family_is_decoded_by_the_fast_way(family):
    assert way_to_decode(tiny_policy(family)) == "straight"


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_generation_with_a_cache_equals_generation_without(decoder, family):
    check_against_no_cache(tiny_policy(family), temperature=0.7)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"top_p": 0.6, "top_k": 5}])
def test_generation_with_a_cache_equals_generation_without_however_tokens_are_chosen(options):
    check_against_no_cache(tiny_policy(), **options)


def check_against_no_cache(model, **options) -> None:
    given = answers(model, **options)
    for row, prompt in enumerate(PROMPTS):
        decoding = Decoding(**{"max_new_tokens": 12, **options})
        tokens, logprobs = answer_without_cache(model, prompt, SEEDS[row], decoding)
        assert given.tokens(row) == tokens
        assert given.logprobs[row, : len(tokens)].tolist() == pytest.approx(logprobs, abs=1e-4)
        assert bool(given.ended[row]) == (tokens[-1] == EOS)


@pytest.mark.parametrize("family", ALL_FAMILIES)
@pytest.mark.parametrize("temperature", [0.6])
def test_items_3_and_14_logprobs_of_generation_equal_the_training_forwards(family, temperature):
    model = tiny_policy(family)
    given = answers(model, temperature=temperature)
    torch.testing.assert_close(given.logprobs, training_logprobs(model, PROMPTS, given, temperature), atol=1e-4, rtol=0)


def test_planted_bugs_padding_on_the_wrong_side_and_a_past_that_is_not_hidden_are_seen_in_the_logprobs(monkeypatch):
    def pad_wrongly(prompts):
        ids, lengths = pad_right(prompts, PAD)
        return ids, length_mask(lengths, ids.shape[1])

    model = tiny_policy()
    plain_bounds = Decoder._bounds

    def bounds_that_hide_nothing(decoder):
        plain_bounds(decoder)
        decoder.hidden.zero_()

    def bounds_that_show_what_is_not_written(decoder):
        plain_bounds(decoder)
        decoder.hidden[:, decoder.end :] = 0.0

    for where, name, bug in (
        (decode_plain, "pad_left", pad_wrongly),
        (Decoder, "_bounds", bounds_that_hide_nothing),
        (Decoder, "_bounds", bounds_that_show_what_is_not_written),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, "way_to_decode", lambda model, way="modules" if where is Decoder else "none": way)
            assert (answers(model).logprobs - training_logprobs(model, PROMPTS, answers(model), 1.0)).abs().max() < 1e-4
            patch.setattr(where, name, bug)
            given = answers(model)
        assert (given.logprobs - training_logprobs(model, PROMPTS, given, 1.0)).abs().max() > 1e-2


def test_a_row_does_not_depend_on_its_neighbours_or_on_the_batch(decoder):
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


def counted(monkeypatch, model) -> list[int]:
    """The number of rows of each step that a decoder makes."""
    widths: list[int] = []
    way_to_decode(model)  # its own steps do not count
    for kind in (Decoder, decode_plain.PlainDecoder):
        step = kind.step
        monkeypatch.setattr(
            kind, "step", lambda self, tokens, step=step: (widths.append(len(tokens)), step(self, tokens))[1]
        )
    return widths


def test_finished_rows_leave_the_batch(decoder, monkeypatch):
    model = tiny_policy(spread=0.2)
    widths = counted(monkeypatch, model)
    answers(model, prompts=[[5]] * 64, seeds=list(range(64)), max_new_tokens=40)
    assert widths[0] == 64 and widths[-1] < 40 and widths == sorted(widths, reverse=True)


UNEVEN = [[5 + (i + j) % 18 for j in range(1 + 5 * i % 11)] for i in range(60)]


@pytest.mark.parametrize("block", [3, decode.BLOCK])  # columns by which the cache grows
@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral", "gemma2"])
def test_waiting_prompts_take_the_places_of_finished_rows_and_are_answered_as_alone(monkeypatch, family, block):
    monkeypatch.setattr(decode, "BLOCK", block)
    model = tiny_policy(family, spread=0.2)
    widths = counted(monkeypatch, model)
    monkeypatch.setattr(module, "SLACK", 5)  # so that rows are moved to the left now and then
    room, seeds = 24, list(range(60))
    given = answers(model, prompts=UNEVEN, seeds=seeds, max_new_tokens=room, batch_tokens=10 * 40)
    assert 0 < int(given.ended.sum()) < 60, "the test needs answers of both kinds"
    assert max(widths) == 10 and widths.count(10) > 0.6 * len(widths)
    assert len(widths) < 0.85 * 6 * room, "six waves would take as many steps as their longest answers"
    for row in range(0, 60, 4):
        tokens, logprobs = answer_without_cache(model, UNEVEN[row], seeds[row], Decoding(max_new_tokens=room))
        assert given.tokens(row) == tokens
        assert given.logprobs[row, : len(tokens)].tolist() == pytest.approx(logprobs, abs=1e-4)


def test_a_prompt_that_is_answered_several_times_is_forwarded_once(monkeypatch):
    monkeypatch.setattr(module, "way_to_decode", lambda model: "modules")  # a straight line is made with a look inside
    model = tiny_policy()
    forwarded = []
    hook = model.base_model.register_forward_pre_hook(
        lambda _module, _arguments, given: forwarded.append(given["input_ids"].numel()), with_kwargs=True
    )
    given = answers(model, prompts=[[5, 6, 7]] * 4 + [[8, 9]] * 4, seeds=list(range(8)))
    hook.remove()
    assert forwarded[0] == 5
    for row in range(8):
        alone = answers(model, prompts=[[5, 6, 7] if row < 4 else [8, 9]], seeds=[row])
        assert given.tokens(row) == alone.tokens(0)


def test_bands_hold_rows_of_like_length_longest_first():
    prompts = [[5] * length for length in (1, 20, 3, 9, 8, 20)]
    # with room for 2: 3, 22, 5, 11, 10, 22
    assert bands(prompts, 2) == [[1, 5, 3], [4, 2], [0]]


def test_long_prompts_are_attended_to_in_blocks_that_change_nothing(monkeypatch):
    for family in ("llama", "gemma2"):
        model = tiny_policy(family)
        prompts = [[5 + (3 * j) % 18 for j in range(length)] for length in (30, 17)]
        whole = answers(model, prompts=prompts, seeds=[1, 2], max_new_tokens=4)
        monkeypatch.setattr(decode, "SCORES", 1)  # a query at a time
        blocks = answers(model, prompts=prompts, seeds=[1, 2], max_new_tokens=4)
        monkeypatch.undo()
        assert torch.equal(whole.ids, blocks.ids)
        torch.testing.assert_close(whole.logprobs, blocks.logprobs, atol=1e-5, rtol=0)


def test_a_model_with_a_changed_layer_is_stepped_by_its_own_modules():
    class Other(torch.nn.Linear):
        pass

    model = tiny_policy()
    model.model.layers[1].self_attn.q_proj.__class__ = Other
    assert way_to_decode(model) == "modules"
    check_against_no_cache(model)


def test_weights_that_were_trained_in_between_are_the_ones_that_answer():
    model = tiny_policy()
    before = answers(model)
    with torch.no_grad():
        model.model.layers[0].self_attn.v_proj.weight.neg_()
    after = answers(model)
    assert not torch.equal(before.ids, after.ids)
    check_against_no_cache(model)


def test_under_autocast_the_ways_to_decode_agree_to_its_precision(monkeypatch):
    model = tiny_policy(spread=0.2)
    found = {}
    for way in ("straight", "modules", "none"):
        monkeypatch.setattr(module, "way_to_decode", lambda model, way=way: way)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found[way] = answers(model, temperature=0.0, max_new_tokens=1).logprobs
    torch.testing.assert_close(found["straight"], found["none"], atol=0.05, rtol=0)
    torch.testing.assert_close(found["modules"], found["none"], atol=0.05, rtol=0)


def test_what_the_fast_way_does_not_know_goes_the_plain_way(monkeypatch):
    model = tiny_policy()
    model.config.layer_types = ["chunked_attention", "full_attention"]
    assert way_to_decode(model) == "none"
    other = tiny_policy(seed=1)
    monkeypatch.setattr(decode, "_scaled", lambda scores, scaling, softcap: scores * (2 * scaling))
    assert way_to_decode(other) == "none", "attention that is not the model's own is noticed"
    monkeypatch.undo()
    plain = answers(other)  # still the plain way: it was tried once
    assert [plain.tokens(row) for row in range(6)] == [answers(tiny_policy(seed=1)).tokens(row) for row in range(6)]


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
    ids, mask = pad_left([[5], [6, 7, 8]])
    assert ids.tolist() == [[0, 0, 5], [6, 7, 8]]
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
