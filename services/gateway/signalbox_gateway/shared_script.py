"""A script in Redis that all processes count with; whoever runs it counts alone while Redis is away."""

import asyncio
import hashlib
import time
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from signalbox_common import telemetry

log = telemetry.get_logger()

AWAY = 2.0
"""Seconds for which a Redis that has not answered is left alone."""
PATIENCE = 0.25


class RedisAway(Exception):
    """It has not answered, now or a moment ago."""


class SharedScript:
    """What counts is changed by the script alone, so that it is never half done."""

    def __init__(self, redis: Redis, text: str, *, of: str) -> None:
        """`of` is what is counted, for the log."""
        self._redis = cast(Any, redis)  # its types say that scripts answer texts
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._of = of
        self._away_until = 0.0

    @property
    def is_away(self) -> bool:
        return time.monotonic() < self._away_until

    async def run(self, *keys: str, arguments: tuple[float | str, ...]) -> Any:
        """Raises RedisAway."""
        if self.is_away:
            raise RedisAway
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._answer(keys, arguments)
        except (RedisError, OSError, TimeoutError) as error:
            if not self._away_until:
                log.warning("counted here alone", of=self._of, reason=repr(error)[:200])
            self._away_until = time.monotonic() + AWAY
            raise RedisAway from error
        self._away_until = 0.0
        return answer

    async def _answer(self, keys: tuple[str, ...], arguments: tuple[float | str, ...]) -> Any:
        try:
            return await self._redis.evalsha(self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await self._redis.eval(self._text, len(keys), *keys, *arguments)
