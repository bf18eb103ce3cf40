"""Rows and batches: nothing lost, nothing twice, masks from lengths."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.rlhf.data import (
    BatchCursor,
    due,
    encode_rows,
    epoch_batches,
    length_mask,
    micro_batches,
    pad_right,
    padded_length,
    read_rows,
    total_steps,
)
from training.rlhf.errors import DataError, RowError

lengths_lists = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@settings(deadline=None)
@given(lengths_lists, st.integers(1, 9), st.integers(0, 99), st.integers(0, 3))
def test_an_epoch_has_every_row_once(lengths, batch_size, seed, epoch):
    batches = epoch_batches(lengths, batch_size, seed, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert all(len(batch) <= batch_size for batch in batches)
    assert batches == epoch_batches(lengths, batch_size, seed, epoch)


def test_epochs_and_seeds_give_other_orders():
    orders = {str(epoch_batches([5] * 50, 4, seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


@settings(deadline=None)
@given(lengths_lists, st.integers(1, 200))
def test_micro_batches_fit_the_budget_and_lose_nothing(lengths, budget):
    groups = micro_batches(range(len(lengths)), [1] * len(lengths), lengths, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * padded_length(max(lengths[index] for index in group)) <= budget


def test_bucketing_leaves_little_padding():
    lengths = [10 + (37 * i) % 190 for i in range(512)]
    batches = epoch_batches(lengths, 8, seed=1, epoch=0)
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert padded < 1.15 * sum(lengths)  # in random order it is 1.6 times


@settings(deadline=None)
@given(lengths_lists, st.integers(1, 5), st.integers(0, 60))
def test_a_cursor_goes_on_where_it_was_saved(lengths, batch_size, steps):
    cursor = BatchCursor(lengths, batch_size, seed=3)
    for _ in range(steps):
        next(cursor)
    other = BatchCursor(lengths, batch_size, seed=3)
    other.load_state_dict(json.loads(json.dumps(cursor.state_dict())))
    assert [next(cursor) for _ in range(10)] == [next(other) for _ in range(10)]


def test_a_cursor_refuses_other_data():
    with pytest.raises(ValueError, match="it read 3 rows, here are 4"):
        BatchCursor([1] * 4, 2, 0).load_state_dict(BatchCursor([1] * 3, 2, 0).state_dict())


def test_padding_is_on_the_right_and_the_mask_knows_lengths_only():
    ids, lengths = pad_right([[7, 0, 7], [7]], pad_id=0)  # a real token may have the pad's id
    assert ids.shape == (2, 8)
    assert ids[0].tolist() == [7, 0, 7, 0, 0, 0, 0, 0]
    mask = length_mask(lengths, 8)
    assert mask.dtype == torch.bool
    assert mask.sum(dim=1).tolist() == [3, 1]


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(DataError, match=r"line 3 of rows\.jsonl is not JSON"):
        read_rows(path)
    path.write_text('{"a": 1}\n[1]\n')
    with pytest.raises(DataError, match=r"line 2 of rows\.jsonl is not a JSON object"):
        read_rows(path)


def test_refused_rows_are_counted_by_reason():
    def encode(row):
        if row["n"] % 2:
            raise RowError("odd")
        return row["n"]

    kept, reasons = encode_rows([{"n": n} for n in range(5)], encode)
    assert kept == [0, 2, 4]
    assert reasons == {"odd": 2}


def test_steps_and_dates():
    assert total_steps(10, 1.5, 0) == 15
    assert total_steps(10, 1.5, 4) == 4
    assert total_steps(1, 0.1, 0) == 1
    assert [step for step in range(1, 8) if due(step, 3, 7)] == [3, 6, 7]
    assert [step for step in range(1, 8) if due(step, 0, 7)] == [7]
