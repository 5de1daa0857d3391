"""A sign of life of each fan-out, for whoever looks after the installation."""

import asyncio
import time
from contextlib import suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

EVERY, COUNTED_FOR = 2.0, 8.0
_KEY = "live:fanouts"


class Pulse:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def beat(self, instance: str) -> None:
        """Until cancelled; taken back then, so that nobody counts on it."""
        try:
            while True:
                with suppress(RedisError, OSError):  # what is away hears the next one
                    now = time.time()
                    async with self._redis.pipeline(transaction=True) as pipeline:
                        pipeline.zadd(_KEY, {instance: now})
                        pipeline.zremrangebyscore(_KEY, "-inf", now - COUNTED_FOR)
                        await pipeline.execute()
                await asyncio.sleep(EVERY)
        finally:
            with suppress(RedisError, OSError):
                await self._redis.zrem(_KEY, instance)

    async def count(self) -> int:
        """How many there are."""
        return int(await self._redis.zcount(_KEY, time.time() - COUNTED_FOR, "+inf"))
