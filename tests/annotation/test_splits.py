"""Splits: by group, the same for ever, in about the shares that were asked for."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from annotation.splits import TEST, TRAIN, VALIDATION, split_of


@given(st.text(), st.text())
def test_a_group_has_one_split_for_ever(group: str, salt: str) -> None:
    assert split_of(group, salt) == split_of(group, salt)
    assert split_of(group, salt) in {TRAIN, VALIDATION, TEST}


def test_a_known_group_keeps_the_split_it_was_given() -> None:
    """Written down once: a change of the function would move prompts of existing projects between splits."""
    found = [split_of(f"author {number}", "salt") for number in range(40)]
    assert [number for number, split in enumerate(found) if split == VALIDATION] == [20]
    assert [number for number, split in enumerate(found) if split == TEST] == [19, 37]


def test_shares_are_about_ninety_five_five() -> None:
    shares = Counter(split_of(f"group {number}", "salt") for number in range(20_000))
    assert 17_800 < shares[TRAIN] < 18_200  # five standard deviations around 18 000 are 212
    assert 850 < shares[VALIDATION] < 1150
    assert 850 < shares[TEST] < 1150


@given(st.integers(0, 45), st.integers(0, 45))
def test_shares_follow_what_the_project_asks(validation: int, test: int) -> None:
    split = split_of("a group", "salt", validation_percent=validation, test_percent=test)
    if validation == 0:
        assert split != VALIDATION
    if test == 0:
        assert split != TEST


def test_more_validation_takes_from_training_alone() -> None:
    """Raising one share moves no group from test to anywhere else."""
    for number in range(500):
        narrow = split_of(f"{number}", "salt", validation_percent=5)
        wide = split_of(f"{number}", "salt", validation_percent=20)
        assert narrow == wide or (narrow == TRAIN and wide == VALIDATION)


def test_projects_split_the_same_groups_differently() -> None:
    groups = [f"group {number}" for number in range(300)]
    assert [split_of(group, "one project") for group in groups] != [split_of(group, "another") for group in groups]
