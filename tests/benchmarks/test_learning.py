"""The frontier's own arithmetic: best of n without bias, the fit, the fall after the peak, the picture."""

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.learning.drawing import frontier_svg
from benchmarks.learning.frontier import Point, best_of_n, fitted, over_optimisation


def points(distances: list[float], golds: list[float], half_width: float = 0.01) -> list[Point]:
    return [
        Point(kl=distance**2, gold=gold, half_width=half_width, proxy=0.0, at=at)
        for at, (distance, gold) in enumerate(zip(distances, golds, strict=True))
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_n_is_the_mean_over_every_choice_of_n(n: int) -> None:
    draws = np.random.default_rng(1)
    values, proxies = draws.random((4, 5)), draws.random((4, 5))
    slow = [
        np.mean([value[max(chosen, key=lambda index: proxy[index])] for chosen in itertools.combinations(range(5), n)])
        for value, proxy in zip(values, proxies, strict=True)
    ]
    assert best_of_n(values, proxies, n) == pytest.approx(slow)


@pytest.mark.parametrize("kind", ["rl", "best_of_n"])
def test_the_fit_finds_the_law_that_made_the_points(kind: str) -> None:
    distances = [0.0, 0.3, 0.7, 1.2, 2.0]
    bend = {"rl": lambda d: np.log(d), "best_of_n": lambda d: d}[kind]
    gains = [0.0, *(d * (0.4 - 0.15 * bend(d)) for d in distances[1:])]
    assert fitted(points(distances, [0.5 + gain for gain in gains]), kind) == pytest.approx(
        {"alpha": 0.4, "beta": 0.15}
    )


def test_a_fall_counts_only_beyond_the_intervals_of_both_points() -> None:
    fallen = over_optimisation(points([0, 1, 2], [0.5, 0.8, 0.6]))
    assert fallen["peak"]["at"] == 1 and fallen["fall"] == pytest.approx(0.2) and fallen["beyond_noise"]
    assert not over_optimisation(points([0, 1, 2], [0.5, 0.8, 0.6], half_width=0.2))["beyond_noise"]
    assert over_optimisation(points([0, 1, 2], [0.5, 0.6, 0.8]))["fall"] == 0


def test_the_picture_is_well_formed_and_has_every_curve() -> None:
    drawn = frontier_svg({"PPO <1>": points([0, 1], [0.5, 0.8]), "best of n": points([0, 1], [0.5, 0.7])})
    root = ElementTree.fromstring(drawn)
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "PPO <1>" in words and "best of n" in words
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 4
