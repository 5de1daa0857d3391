"""One subscriber connection to Redis pub/sub. It is never mended, only replaced.

redis-py's own one reconnects without a word, and what was published meanwhile is gone.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost

PING_EVERY = 1.0
MAX_UNANSWERED = 3
"""Pings without a word from Redis after which the connection counts as lost."""
_BATCH = 500


@dataclass(frozen=True)
class PubSubMessage:
    channel: str
    data: bytes


@dataclass(frozen=True)
class Confirmation:
    """Redis has subscribed us: from now on everything that is published there comes."""

    channel: str


class PubSub:
    def __init__(self, connection: AbstractConnection, is_wanted: Callable[[str], bool]) -> None:
        self._connection = connection
        self._is_wanted = is_wanted
        self._subscribed: set[str] = set()
        self._unconfirmed: Counter[str] = Counter()
        """A channel that was left and joined at once is confirmed more than once."""
        self._touched: set[str] = set()
        self._changed = asyncio.Event()
        self._pings = 0
        """Since something was heard."""

    @staticmethod
    async def open(redis: Redis, is_wanted: Callable[[str], bool]) -> "PubSub":
        pool = redis.connection_pool
        settings = pool.connection_kwargs | {"retry": Retry(NoBackoff(), 0), "protocol": 2}
        connection = pool.connection_class(**settings)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it out
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return PubSub(connection, is_wanted)

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)

    @property
    def is_settled(self) -> bool:
        """Whether Redis has confirmed everything that it was asked for."""
        return not self._unconfirmed

    def has(self, channel: str) -> bool:
        """Whether everything that is published there comes already."""
        return channel in self._subscribed and channel not in self._unconfirmed

    def update(self, channels: Iterable[str]) -> None:
        """Somebody has begun, or the last one has ceased, to want these."""
        self._touched.update(channels)
        self._changed.set()

    async def subscribe(self, channels: Collection[str]) -> None:
        new = list(channels)
        self._subscribed.update(new)
        self._unconfirmed.update(new)
        await self._send_batches("SUBSCRIBE", new)

    async def read(self) -> PubSubMessage | Confirmation | None:
        """The next of what comes; None where that is nothing of interest."""
        answer = await self._connection.read_response(timeout=math.inf)
        self._pings = 0
        if not isinstance(answer, list):
            return None
        match answer:
            case [b"message", bytes(channel), bytes(data)]:
                return PubSubMessage(channel.decode(), data)
            case [b"subscribe", bytes(channel), _]:
                return self._confirm(channel.decode())
            case _:
                return None

    def _confirm(self, channel: str) -> Confirmation | None:
        self._unconfirmed[channel] -= 1
        if self._unconfirmed[channel] > 0:
            return None
        del self._unconfirmed[channel]
        return Confirmation(channel) if channel in self._subscribed else None

    async def keep_up(self) -> None:
        """Follows what is wanted, and raises when Redis says nothing any more; never ends otherwise."""
        clock = asyncio.get_running_loop().time
        due = clock() + PING_EVERY
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(0.0, due - clock()))
            if clock() >= due:  # by number, not by time: we may be the ones who are slow
                if self._pings >= MAX_UNANSWERED:
                    raise ConnectionLost("Redis says nothing any more")
                self._pings += 1
                await self._send("PING")
                due = clock() + PING_EVERY
            self._changed.clear()
            touched, self._touched = self._touched, set()
            wanted = [each for each in touched if self._is_wanted(each) and each not in self._subscribed]
            await self.subscribe(wanted)
            # Looked at again: somebody may have come meanwhile, who relies on what is subscribed.
            unwanted = [each for each in touched if not self._is_wanted(each) and each in self._subscribed]
            self._subscribed.difference_update(unwanted)
            await self._send_batches("UNSUBSCRIBE", unwanted)

    async def _send_batches(self, command: str, channels: Sequence[str]) -> None:
        for begin in range(0, len(channels), _BATCH):
            await self._send(command, *channels[begin : begin + _BATCH])

    async def _send(self, *words: str) -> None:
        if not self._connection.is_connected:  # it would connect anew
            raise ConnectionLost("the connection to Redis has ended")
        await self._connection.send_command(*words, check_health=False)
