"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator

_lock = threading.Lock()
_last = 0


def uuid7_floor(seconds: float) -> uuid.UUID:
    """The least UUID of this moment (seconds since 1970): everything that was made before it sorts below."""
    return uuid.UUID(int=int(seconds * 1000) << 80 | 0x7 << 76)


def uuid7() -> uuid.UUID:
    """Return a UUID version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, 12 of their fraction, then random bits.

    Sorting by id is sorting by age, and new rows land at the end of the index, which random UUIDs would scatter. The
    fraction (section 6.2, method 3) keeps the rows that one process makes in the order in which it made them, also
    where two fall into one step of it, or the clock is set back: then the step after the last one is taken.
    """
    global _last
    with _lock:
        _last = max(time.time_ns() * 4096 // 1_000_000, _last + 1)
        milliseconds, fraction = divmod(_last, 4096)
    value = bytearray(milliseconds.to_bytes(6, "big") + fraction.to_bytes(2, "big") + os.urandom(8))
    value[6] |= 0x70
    value[8] = (value[8] & 0x3F) | 0x80
    return uuid.UUID(bytes=bytes(value))


def uuid7_texts(count: int) -> list[str]:
    """So many of them, in order, as text: for services that make thousands of rows at once."""
    global _last
    with _lock:
        first = max(time.time_ns() * 4096 // 1_000_000, _last + 1)
        _last = first + count - 1
    noise = os.urandom(8 * count).hex()
    made = []
    for number in range(count):
        milliseconds, fraction = divmod(first + number, 4096)
        stamp, bits = f"{milliseconds:012x}", noise[16 * number : 16 * number + 16]
        variant = "89ab"[int(bits[0], 16) & 3]
        made.append(f"{stamp[:8]}-{stamp[8:]}-7{fraction:03x}-{variant}{bits[1:4]}-{bits[4:]}")
    return made


def uuid7_stock(size: int = 1000) -> Iterator[str]:
    """One after another as text, made by the thousand. One that is left is older than what others made since."""
    while True:
        yield from uuid7_texts(size)
