"""One connection over which Redis says what it publishes. It is never mended, only replaced.

redis-py's own subscriber connects anew without a word, and what was published meanwhile is gone.
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
UNANSWERED = 3
"""Pings after which a connection over which nothing comes is as good as none."""
_AT_ONCE = 500


@dataclass(frozen=True)
class Published:
    channel: str
    data: bytes


@dataclass(frozen=True)
class Subscribed:
    """From now on everything that is published there comes."""

    channel: str


class Feed:
    def __init__(self, connection: AbstractConnection, is_wanted: Callable[[str], bool]) -> None:
        self._connection = connection
        self._is_wanted = is_wanted
        self._on: set[str] = set()
        self._unanswered: Counter[str] = Counter()
        """A channel that was left and joined at once is answered for more than once."""
        self._touched: set[str] = set()
        self._changed = asyncio.Event()
        self._pings = 0
        """Since something was heard."""

    @staticmethod
    async def open(redis: Redis, is_wanted: Callable[[str], bool]) -> "Feed":
        pool = redis.connection_pool
        settings = pool.connection_kwargs | {"retry": Retry(NoBackoff(), 0), "protocol": 2}
        connection = pool.connection_class(**settings)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it out
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return Feed(connection, is_wanted)

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)

    @property
    def settled(self) -> bool:
        """Whether Redis has confirmed everything that it was asked for."""
        return not self._unanswered

    def has(self, channel: str) -> bool:
        """Whether everything that is published there comes already."""
        return channel in self._on and channel not in self._unanswered

    def look_at(self, channels: Iterable[str]) -> None:
        """Somebody has begun, or the last one has ceased, to want these."""
        self._touched.update(channels)
        self._changed.set()

    async def subscribe(self, channels: Collection[str]) -> None:
        new = list(channels)
        self._on.update(new)
        self._unanswered.update(new)
        await self._say("SUBSCRIBE", new)

    async def read(self) -> Published | Subscribed | None:
        """The next that it says; None where that is nothing of interest."""
        answer = await self._connection.read_response(timeout=math.inf)
        self._pings = 0
        if not isinstance(answer, list):
            return None
        match answer:
            case [b"message", bytes(channel), bytes(data)]:
                return Published(channel.decode(), data)
            case [b"subscribe", bytes(channel), _]:
                return self._answered(channel.decode())
            case _:
                return None

    def _answered(self, channel: str) -> Subscribed | None:
        self._unanswered[channel] -= 1
        if self._unanswered[channel] > 0:
            return None
        del self._unanswered[channel]
        return Subscribed(channel) if channel in self._on else None

    async def keep(self) -> None:
        """Follows what is wanted, and raises when Redis says nothing any more; never ends otherwise."""
        clock = asyncio.get_running_loop().time
        due = clock() + PING_EVERY
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(0.0, due - clock()))
            if clock() >= due:  # by number, not by time: we may be the ones who are slow
                if self._pings >= UNANSWERED:
                    raise ConnectionLost("Redis says nothing any more")
                self._pings += 1
                await self._send("PING")
                due = clock() + PING_EVERY
            self._changed.clear()
            touched, self._touched = self._touched, set()
            wanted = [each for each in touched if self._is_wanted(each) and each not in self._on]
            await self.subscribe(wanted)
            # Looked at again: somebody may have come meanwhile, who relies on what is on.
            unwanted = [each for each in touched if not self._is_wanted(each) and each in self._on]
            self._on.difference_update(unwanted)
            await self._say("UNSUBSCRIBE", unwanted)

    async def _say(self, command: str, channels: Sequence[str]) -> None:
        for begin in range(0, len(channels), _AT_ONCE):
            await self._send(command, *channels[begin : begin + _AT_ONCE])

    async def _send(self, *words: str) -> None:
        if not self._connection.is_connected:  # it would connect anew
            raise ConnectionLost("the connection to Redis has ended")
        await self._connection.send_command(*words, check_health=False)
