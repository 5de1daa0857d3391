"""Copies the stream of events into the history of their channels; any number of processes may at once."""

import asyncio

from nats.aio.msg import Msg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from signalbox_common import telemetry
from signalbox_common.bus.connection import Connection
from signalbox_common.contracts.streams import EVENTS
from signalbox_common.errors import Unavailable
from signalbox_gateway.fanout.ordered_consumer import OrderedReader, Silence
from signalbox_gateway.live.events import Event, event_of
from signalbox_gateway.live.history import History
from signalbox_gateway.live.stream import Archive

log = telemetry.get_logger()

PAUSE = 0.2


class _GoBack(Exception):
    """Redis is not as far as it was."""


class Copying:
    def __init__(self, connection: Connection, redis: Redis) -> None:
        self._reader = OrderedReader(connection, EVENTS.name, EVENTS.subjects[0], "fanout")
        self._archive = Archive(connection)
        self._redis = redis

    async def run(self) -> None:
        """Until cancelled: after whatever goes wrong, from where Redis is."""
        while True:
            try:
                await self._copy()
            except _GoBack:
                continue
            except (Silence, RedisError, Unavailable, OSError, TimeoutError) as error:
                log.warning("events are copied anew", reason=repr(error)[:200])
                await asyncio.sleep(PAUSE)

    async def _copy(self) -> None:
        extent = await self._archive.extent()
        history = History(self._redis, extent.epoch)
        before = await history.begin(extent.first, extent.last)
        async with self._reader.read(before) as batches:
            async for batch in batches:
                steps: list[tuple[int, int, Event | None]] = []
                for message in batch:
                    sequence = message.metadata.sequence.stream
                    steps.append((before, sequence, _event(message, sequence)))
                    before = sequence
                behind = await history.add(steps)
                if behind is not None:
                    log.info("redis has fallen back", to=behind)
                    raise _GoBack


def _event(message: Msg, sequence: int) -> Event | None:
    try:
        return event_of(message.subject, dict(message.headers or {}), message.data, sequence)
    except Exception:
        log.exception("an event cannot be read", sequence=sequence)
        return None  # it must not keep those behind it waiting
