"""A start is judged by the middle of its runs."""

from benchmarks.start import line


def test_the_median_decides() -> None:
    found = line("after kill -9", [4.0, 12.0, 9.0], aim=10.0)
    assert (found["ours"], found["min"], found["max"], found["met"], found["runs"]) == (9.0, 4.0, 12.0, True, 3)
    assert line("after kill -9", [11.0], aim=10.0)["met"] is False
    assert line("on a new folder", [11.0], aim=None)["met"] is None
