"""Slows down whoever guesses passwords: a few failures for one name from one address, more for one address in all.

The counts live in the cache, so that several web processes share them. While the cache is away nobody is locked out:
a broken Redis must not stop the team from working.
"""

from __future__ import annotations

import hashlib
import logging

from django.core.cache import cache
from django.http import HttpRequest
from redis.exceptions import RedisError

WINDOW_SECONDS = 5 * 60
FAILURES_PER_NAME = 5
FAILURES_PER_ADDRESS = 30
log = logging.getLogger(__name__)


def is_throttled(request: HttpRequest, username: str) -> bool:
    try:
        by_name, by_address = (int(cache.get(key, 0)) for key in _keys(request, username))
    except (RedisError, OSError):
        log.warning("the cache is away: sign-in failures are not counted")
        return False
    return by_name >= FAILURES_PER_NAME or by_address >= FAILURES_PER_ADDRESS


def count_failure(request: HttpRequest, username: str) -> None:
    try:
        for key in _keys(request, username):
            cache.add(key, 0, WINDOW_SECONDS)
            cache.incr(key)
    except ValueError:  # the window ended between the two calls
        return
    except (RedisError, OSError):
        log.warning("the cache is away: a failed sign-in was not counted")


def forget_failures(request: HttpRequest, username: str) -> None:
    try:
        cache.delete(_keys(request, username)[0])
    except (RedisError, OSError):
        log.warning("the cache is away: failed sign-ins are not forgotten")


def _keys(request: HttpRequest, username: str) -> tuple[str, str]:
    # REMOTE_ADDR, never X-Forwarded-For, which a guesser may write as they please.
    address = request.META.get("REMOTE_ADDR", "")
    name = hashlib.sha256(username.strip().casefold().encode()).hexdigest()[:32]
    return f"sign-in:{name}:{address}", f"sign-in:{address}"
