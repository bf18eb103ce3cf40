"""How many API requests an account may make; counted in the cache, which web processes share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle

if TYPE_CHECKING:  # the views' module reads the setting that names this one
    from rest_framework.views import APIView

log = logging.getLogger(__name__)


class AccountThrottle(UserRateThrottle):
    """While the cache is away nobody is held up: a broken Redis must not stop the team from working."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        try:
            return bool(super().allow_request(request, view))
        except (RedisError, OSError):
            log.warning("the cache is away: API requests are not counted")
            return True
