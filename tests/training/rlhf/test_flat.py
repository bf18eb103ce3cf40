"""A flat row gives what each sequence gives by itself: states, gradients, for every family, however it is laid out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.training.rlhf.seven import SEVEN, WINDOW, gradients, small_policy, tokens
from training.rlhf import attention, flat
from training.rlhf.attention import Span, bucketed_attention, make_layout
from training.rlhf.flat import FlatRow, common_prefix, hidden_states, lay_flat, lay_shared, reads_flat_rows, row_tokens
from training.rlhf.model import disable_dropout

CPU = torch.device("cpu")
PROMPT = tokens(12, seed=9)
GROUPS = [
    [PROMPT + tokens(length, seed=length) for length in (3, 17, 9, 1)],
    [tokens(30, seed=31)],
    [tokens(5, seed=32)],
    [tokens(28, seed=33)],
]
SEQUENCES = [sequence for group in GROUPS for sequence in group]


@pytest.fixture(params=["one tile", "tiles", "tiles made again"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "one tile":
        monkeypatch.setattr(attention, "TILE", 5)
    if request.param.endswith("again"):
        monkeypatch.setattr(attention, "KEEP_PROBABILITIES", 0)


def by_itself(model: PreTrainedModel, sequence: list[int]) -> Tensor:
    """The obvious version: one sequence, one forward."""
    return model.base_model(input_ids=torch.tensor([sequence]), use_cache=False).last_hidden_state[0]


def weighted(states: list[Tensor]) -> Tensor:
    """A loss that weighs every state of every sequence differently."""
    generator = torch.Generator().manual_seed(5)
    return sum((one * torch.randn(one.shape, generator=generator, dtype=one.dtype)).sum() for one in states)


def on_a_row(model: PreTrainedModel, row: FlatRow) -> list[Tensor]:
    states = hidden_states(model, row)
    return [states[torch.from_numpy(places)] for places in row.places]


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("family", SEVEN)
def test_states_and_gradients_are_those_of_each_sequence_by_itself(family: str) -> None:
    model = small_policy(family)
    assert reads_flat_rows(model)
    alone = [by_itself(model, sequence) for sequence in SEQUENCES]
    wanted = gradients(model, weighted(alone))
    for row in (lay_flat(SEQUENCES, CPU), lay_shared(GROUPS, CPU)):
        states = on_a_row(model, row)
        for mine, theirs in zip(states, alone, strict=True):
            # norms and rotations of the families are float32 whatever the weights are
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        found = gradients(model, weighted(states))
        assert found.keys() == wanted.keys()
        for name, gradient in found.items():
            largest = float(wanted[name].abs().max())
            torch.testing.assert_close(gradient, wanted[name], rtol=0, atol=1e-5 * max(largest, 1.0), msg=name)


def test_a_shared_prompt_is_laid_once_and_every_answer_keeps_a_token() -> None:
    shared, apart = lay_shared(GROUPS, CPU), lay_flat(SEQUENCES, CPU)
    assert row_tokens(GROUPS[0]) == 12 + 3 + 17 + 9 + 1
    assert shared.tokens == apart.tokens - 3 * len(PROMPT) == sum(row_tokens(group) for group in GROUPS)
    assert shared.ids.shape[1] % flat.ROW_MULTIPLE == 0
    for places, sequence in zip(shared.places, SEQUENCES, strict=True):
        assert shared.ids[0, places].tolist() == sequence
        assert shared.positions[0, places].tolist() == list(range(len(sequence)))
    assert common_prefix([PROMPT, PROMPT]) == len(PROMPT) - 1  # the last token, where the score is read, is its own
    assert common_prefix([[1, 2, 3], [1, 2, 4]]) == 0  # too short to be worth it


def test_filler_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_policy("llama")
    states = []
    for multiple in (1, 64, 128):
        monkeypatch.setattr(flat, "ROW_MULTIPLE", multiple)
        states.append(torch.cat(on_a_row(model, lay_flat(SEQUENCES, CPU, pad_id=multiple % 60))))
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(states[2], states[0], rtol=0, atol=1e-6)


def test_the_order_of_sequences_changes_nothing() -> None:
    model = small_policy("gemma2")
    forward = on_a_row(model, lay_flat(SEQUENCES, CPU))
    backward = on_a_row(model, lay_flat(SEQUENCES[::-1], CPU))[::-1]
    for mine, theirs in zip(forward, backward, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)


def seen(spans: list[Span], length: int, window: int | None) -> np.ndarray:
    """(length, length) bool by the definition, token by token: True where a query sees a key."""
    allowed = np.zeros((length, length), dtype=bool)
    for span in spans:
        line = [
            *range(span.prefix_start, span.prefix_start + span.prefix),
            *range(span.start, span.start + span.length),
        ]
        for at in range(span.prefix, len(line)):
            first = 0 if window is None else max(0, at - window + 1)
            allowed[line[at], line[first : at + 1]] = True
    return allowed


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.usefixtures("tiles")
def test_attention_is_that_of_a_dense_mask(window: int | None, softcap: float | None) -> None:
    torch.manual_seed(0)
    length, heads, groups, width = 60, 2, 2, 4
    spans = [Span(0, 9), Span(9, 20, 0, 9), Span(29, 17, 0, 9), Span(46, 3, 0, 9), Span(50, 8)]
    query = torch.randn(length, heads * groups, width, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(length, heads, width, dtype=torch.float64, requires_grad=True) for _ in range(2))
    kind = attention.Kind(scaling=0.7, window=window, softcap=softcap)
    allowed = torch.from_numpy(seen(spans, length, window))

    scores = 0.7 * torch.einsum("qhd,khd->hqk", query, key.repeat_interleave(groups, dim=1))
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    weights = torch.softmax(scores.masked_fill(~allowed, float("-inf")), dim=-1).nan_to_num(0.0)
    wanted = torch.einsum("hqk,khd->qhd", weights, value.repeat_interleave(groups, dim=1))

    outside = torch.randn_like(wanted)
    theirs = torch.autograd.grad((wanted * outside).sum(), [query, key, value])
    layout = make_layout(length, spans, CPU)
    for found in (
        attention.FlatAttention.apply(query, key, value, layout, kind, torch.float64),
        bucketed_attention(query, key, value, layout, kind),
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        mine = torch.autograd.grad((found * outside).sum(), [query, key, value])
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_a_switched_model_still_reads_padded_batches_and_generates() -> None:
    for family in ("llama", "gemma2"):
        plain, switched = small_policy(family).float(), small_policy(family).float()  # float64 masks make NaN
        assert reads_flat_rows(switched)
        ids = torch.tensor([tokens(20, seed=2), tokens(20, seed=3)])
        mask = torch.ones_like(ids)
        mask[0, 13:] = 0
        torch.testing.assert_close(switched(input_ids=ids).logits, plain(input_ids=ids).logits)
        both = (model(input_ids=ids, attention_mask=mask).logits for model in (switched, plain))
        torch.testing.assert_close(*both)
        both = (model.generate(ids, max_new_tokens=5, do_sample=False) for model in (switched, plain))
        assert torch.equal(*both)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_layers_that_are_computed_again_attend_by_the_same_layout(family: str) -> None:
    """Gradient checkpointing runs layers a second time, in the backward pass, where nothing says that a row is flat."""
    model = small_policy(family)
    row = lay_shared(GROUPS, CPU)
    wanted = gradients(model, weighted(on_a_row(model, row)))
    model.activation_checkpointing_enable()
    disable_dropout(model)
    model.train()
    found = gradients(model, weighted(on_a_row(model, row)))
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-6, atol=1e-9, msg=name)


def test_under_autocast_states_and_gradients_are_as_near_as_bfloat16_allows() -> None:
    """Products in bfloat16, softmax in float32: as far from float32 as the plain forward under autocast is."""
    model = small_policy("llama").float()
    row = lay_shared(GROUPS, CPU)
    exact = [by_itself(model, sequence) for sequence in SEQUENCES]
    gradient = gradients(model, weighted(exact))
    distances = {}
    for name in ("flat", "alone"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = on_a_row(model, row) if name == "flat" else [by_itself(model, one) for one in SEQUENCES]
        found = gradients(model, weighted([one.float() for one in states]))
        far = [float((mine.float() - theirs).detach().abs().max()) for mine, theirs in zip(states, exact, strict=True)]
        far += [float((found[of] - gradient[of]).norm() / gradient[of].norm()) for of in found]
        distances[name] = sum(far) / len(far)
    assert 0 < distances["flat"] < 1.5 * distances["alone"] < 0.3


def test_weights_of_bfloat16_are_read_flat_too() -> None:
    model = small_policy("llama").bfloat16()
    assert reads_flat_rows(model)


def test_a_family_that_reads_a_flat_row_otherwise_is_padded(caplog: pytest.LogCaptureFixture) -> None:
    model = small_policy("llama")
    rotary = model.base_model.rotary_emb
    forward = rotary.forward
    # as a family would that counts positions by itself
    rotary.forward = lambda states, position_ids: forward(states, torch.arange(states.shape[1])[None])
    assert not reads_flat_rows(model)
    assert "padded" in caplog.text
    for mine, sequence in zip(on_a_row(model, lay_shared(GROUPS, CPU)), SEQUENCES, strict=True):
        torch.testing.assert_close(mine, by_itself(model, sequence), rtol=0, atol=1e-5)


def test_a_published_model_says_nothing_of_how_it_was_attended() -> None:
    model = small_policy("qwen2")
    before = model.config.to_json_string()
    assert reads_flat_rows(model)
    assert model.config.to_json_string() == before
