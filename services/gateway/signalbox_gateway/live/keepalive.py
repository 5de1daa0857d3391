"""Signs of life: of each open connection to its client, and of each fan-out to the gateways."""

import asyncio
import time
from contextlib import suppress
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from signalbox_common import background

KEEPALIVE_EVERY = 15
"""Seconds between two keepalives of one connection."""
HEARTBEAT_EVERY, HEARTBEAT_LEASE = 2.0, 8.0
_FANOUTS = "live:fanouts"


class KeepaliveTarget(Protocol):
    ends_at: float

    def send_keepalive(self) -> None: ...

    def expire(self) -> None: ...


class Keepalive:
    """One clock for all: each second a fifteenth of the connections gets its keepalive."""

    def __init__(self) -> None:
        self._rounds: list[set[KeepaliveTarget]] = [set() for _ in range(KEEPALIVE_EVERY)]
        self._next = 0
        self._task: asyncio.Task[None] | None = None

    def add(self, connection: KeepaliveTarget) -> None:
        self._rounds[self._next % KEEPALIVE_EVERY].add(connection)
        self._next += 1

    def remove(self, connection: KeepaliveTarget) -> None:
        for each in self._rounds:
            each.discard(connection)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="live keepalive")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _run(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(1.0)
            number = (number + 1) % KEEPALIVE_EVERY
            self._tick(number)

    def _tick(self, number: int) -> None:
        """Apart from what runs for ever, which would hold the last one that it has seen."""
        for connection in tuple(self._rounds[number]):
            connection.send_keepalive()
        now = time.time()
        for each in self._rounds:
            for connection in [c for c in each if c.ends_at <= now]:
                connection.expire()


class FanoutHeartbeat:
    """Each fan-out renews a lease in Redis; whoever looks after the installation counts them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def beat(self, instance: str) -> None:
        """Until cancelled; the lease is given back then, so that nobody counts on it."""
        try:
            while True:
                with suppress(RedisError, OSError):  # what is away hears the next one
                    now = time.time()
                    async with self._redis.pipeline(transaction=True) as pipeline:
                        pipeline.zadd(_FANOUTS, {instance: now})
                        pipeline.zremrangebyscore(_FANOUTS, "-inf", now - HEARTBEAT_LEASE)
                        await pipeline.execute()
                await asyncio.sleep(HEARTBEAT_EVERY)
        finally:
            with suppress(RedisError, OSError):
                await self._redis.zrem(_FANOUTS, instance)

    async def count(self) -> int:
        """How many there are."""
        return int(await self._redis.zcount(_FANOUTS, time.time() - HEARTBEAT_LEASE, "+inf"))
