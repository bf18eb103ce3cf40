"""The frontier as an SVG: no plotting library for one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.learning.frontier import Point

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 440, 60, 50, 20, 170
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#555555", "#d55e00")  # Okabe and Ito's, told apart by all
STYLE = (
    "text{font:13px sans-serif;fill:#222}.axis{stroke:#444}.grid{stroke:#ddd}"
    "@media(prefers-color-scheme:dark){.ground{fill:#16181d}text{fill:#e6e6e6}.axis{stroke:#aaa}.grid{stroke:#333}}"
)


def frontier_svg(curves: Mapping[str, Sequence[Point]]) -> str:
    """Gold score against sqrt(KL), a line a curve, with 95 % intervals."""
    points = [point for curve in curves.values() for point in curve]
    right = max(point.distance for point in points) * 1.05
    low = math.floor(10 * min(point.gold - point.half_width for point in points)) / 10
    high = math.ceil(10 * max(point.gold + point.half_width for point in points)) / 10

    def x(distance: float) -> float:
        return LEFT + distance / right * (WIDTH - LEFT - RIGHT)

    def y(gold: float) -> float:
        return HEIGHT - BOTTOM - (gold - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    parts = [_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 12, "square root of the KL to the SFT model", "middle")]
    parts.append(f'<g transform="rotate(-90 16 {HEIGHT / 2})">{_text(16, HEIGHT / 2, "gold score", "middle")}</g>')
    for tick in range(round((high - low) * 10) + 1):
        level = low + tick / 10
        parts.append(_line(LEFT, y(level), WIDTH - RIGHT, y(level), "grid"))
        parts.append(_text(LEFT - 8, y(level) + 4, f"{level:.1f}", "end"))
    for tick in range(math.floor(right * 2) + 1):
        parts.append(_text(x(tick / 2), HEIGHT - BOTTOM + 18, f"{tick / 2:g}", "middle"))
    parts.append(_line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis"))
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x(point.distance):.1f},{y(point.gold):.1f}" for point in curve)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in curve:
            at, above, below = x(point.distance), y(point.gold + point.half_width), y(point.gold - point.half_width)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{above:.1f}" y2="{below:.1f}" stroke="{colour}" opacity=".35"/>'
                f'<circle cx="{at:.1f}" cy="{y(point.gold):.1f}" r="3" fill="{colour}"/>'
            )
        entry = TOP + 10 + 22 * number
        parts.append(_text(WIDTH - RIGHT + 30, entry + 10, name))
        parts.append(f'<rect x="{WIDTH - RIGHT + 10}" y="{entry}" width="12" height="12" fill="{colour}"/>')
    ground = f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    return f'{head} aria-label="Gold score against distance"><style>{STYLE}</style>{ground}{"".join(parts)}</svg>\n'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'
