"""Replicates the stream `EVENTS` into the history of each channel; any number of processes may at once."""

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError

from signalbox_common import telemetry
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.pull import ConsumerLost
from signalbox_common.bus.stored import StoredMessage, StreamReader
from signalbox_common.bus.tail import StreamTail
from signalbox_common.contracts.streams import EVENTS
from signalbox_common.errors import Unavailable
from signalbox_gateway.live.history import History
from signalbox_gateway.live.publication import Event, event_of

log = telemetry.get_logger()

PAUSE = 0.2
MAX_SKIPPED = 1000
"""Messages that concern no channel, after which Redis is told all the same: what is read again at most."""


class _Rewind(Exception):
    """Redis is not as far as it was."""


class Replicator:
    def __init__(self, connection: Connection, redis: Redis) -> None:
        self._tail = StreamTail(connection, EVENTS)
        self._stream = StreamReader(connection, EVENTS)
        self._redis = redis

    async def run(self) -> None:
        """Until cancelled: after whatever goes wrong, from where Redis is."""
        while True:
            try:
                await self._replicate()
            except _Rewind:
                continue
            except (ConsumerLost, RedisError, Unavailable, OSError, TimeoutError) as error:
                log.warning("events are replicated anew", reason=repr(error)[:200])
                await asyncio.sleep(PAUSE)

    async def _replicate(self) -> None:
        state = await self._stream.state()
        history = History(self._redis, state.epoch)
        before = await history.begin(state.first, state.last)
        async with self._tail.read(before, state) as batches:
            async for batch in batches:
                steps: list[tuple[int, int, Event | None]] = []
                for message in batch:
                    offset = message.sequence
                    event = _event(message)
                    # What no channel is of, the next event of one brings along.
                    if event is not None or offset - before >= MAX_SKIPPED:
                        steps.append((before, offset, event))
                        before = offset
                behind = await history.add(steps)
                if behind is not None:
                    log.info("redis has fallen back", to=behind)
                    raise _Rewind


def _event(message: StoredMessage) -> Event | None:
    try:
        return event_of(message.subject, message.headers, message.body, message.sequence)
    except Exception:
        log.exception("an event cannot be read", offset=message.sequence)
        return None  # it must not keep those behind it waiting
