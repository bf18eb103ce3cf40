from __future__ import annotations

from annotation.ids import uuid7


def test_ids_are_version_seven_and_sort_by_age() -> None:
    made = []
    for _ in range(200):
        made.append(uuid7())
        for _ in range(50):  # longer than the clock's step of a quarter of a microsecond
            pass
    assert all(key.version == 7 and key.variant == "specified in RFC 4122" for key in made)
    assert sorted(made) == made
    assert sorted(made, key=str) == made
