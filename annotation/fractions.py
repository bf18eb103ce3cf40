"""A number between 0 and 1 that a text always gets: what is drawn once and must never be drawn anew."""

from __future__ import annotations

from hashlib import sha256


def fraction_of(*parts: str) -> float:
    """Return a number in [0, 1) that follows from the parts alone, spread evenly over different parts."""
    digest = sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
