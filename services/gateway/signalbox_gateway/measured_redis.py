"""The Redis client, with what whoever looks after it wants to know."""

import time
from collections.abc import Mapping
from typing import Any, cast

from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

SECONDS = Histogram("signalbox_redis_seconds", "Time until Redis answers a command")
ERRORS = Counter("signalbox_redis_errors_total", "Commands that Redis did not answer, or refused", ["error"])
CONNECTIONS = Gauge("signalbox_redis_connections", "Connections of this process to Redis", ["state"])
MEMORY = Gauge("signalbox_redis_memory_bytes", "What Redis uses, and what it may use at most", ["what"])
HIT_RATIO = Gauge("signalbox_redis_hit_ratio", "The part of reads that found something, since Redis began")


class MeasuredRedis(Redis):
    @staticmethod
    def at(url: str, *, patience: float) -> "MeasuredRedis":
        """By default the client would try for a minute: whoever asks is told at once."""
        made = MeasuredRedis.from_url(
            url, socket_timeout=patience, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 1)
        )
        return cast(MeasuredRedis, made)

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return await super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]  # theirs has no types
        except (RedisError, OSError) as error:
            ERRORS.labels(type(error).__name__).inc()
            raise
        finally:
            SECONDS.observe(time.perf_counter() - started)

    async def measure(self) -> None:
        """Called before metrics are told."""
        pool: Any = self.connection_pool
        for count, about in pool.get_connection_count():
            CONNECTIONS.labels(about.get("state", "all")).set(count)
        found: Mapping[str, Any] = await self.info()
        MEMORY.labels("used").set(found["used_memory"])
        MEMORY.labels("most").set(found["maxmemory"])
        reads = found["keyspace_hits"] + found["keyspace_misses"]
        HIT_RATIO.set(found["keyspace_hits"] / reads if reads else 1.0)
