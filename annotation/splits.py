"""Which split a prompt belongs to: by its group, so that near relatives never sit on both sides of a split."""

from __future__ import annotations

from annotation.fractions import fraction_of

TRAIN, VALIDATION, TEST = "train", "validation", "test"


def split_of(group: str, salt: str, *, validation_percent: int = 5, test_percent: int = 5) -> str:
    """Return the split of a group, the same at every call; by default about 90 % train, 5 % validation, 5 % test.

    salt: the project's own, so that one public dataset is split differently in different projects.
    """
    fraction = fraction_of(salt, group)
    if fraction < test_percent / 100:
        return TEST
    if fraction < (test_percent + validation_percent) / 100:
        return VALIDATION
    return TRAIN
