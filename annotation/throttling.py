"""How many API requests an account may make; counted in the cache, which web processes share."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle

if TYPE_CHECKING:  # the views' module reads the setting that names this one
    from rest_framework.views import APIView

log = logging.getLogger(__name__)


class AccountThrottle(UserRateThrottle):
    """So many requests in each minute of the clock, counted in one number.

    DRF's own keeps the moment of each request, and with each reads and writes them all: who works fast pays for what
    they did before, and of two requests at once one is not counted.
    While the cache is away nobody is held up: a broken Redis must not stop the team from working.
    """

    num_requests: int
    duration: int  # seconds

    def allow_request(self, request: Request, view: APIView) -> bool:
        account = self.get_cache_key(request, view)
        try:
            return account is None or self.count(account) <= self.num_requests
        except (RedisError, OSError):
            log.warning("the cache is away: API requests are not counted")
            return True

    def count(self, account: str) -> int:
        """Count a request; return how many it makes."""
        key = f"{account}:{int(time.time()) // self.duration}"
        try:
            return int(self.cache.incr(key))
        except ValueError:  # it is the first
            self.cache.add(key, 0, self.duration)
            return int(self.cache.incr(key))

    def wait(self) -> float:
        """Seconds until the next minute begins."""
        return self.duration - time.time() % self.duration
