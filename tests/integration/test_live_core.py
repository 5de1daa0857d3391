"""The hub and the fan-out behind it: nothing missed, nothing twice, whatever Redis does."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from signalbox_common.bus import Bus
from signalbox_common.bus.connection import Connection
from signalbox_common.testing import eventually
from signalbox_gateway.fanout.copying import Copying
from signalbox_gateway.live.archive import Archive
from signalbox_gateway.live.events import channel_of
from signalbox_gateway.live.hub import Hub, Watcher
from signalbox_gateway.live.offsets import Offset
from signalbox_gateway.live.told import Told
from signalbox_gateway.settings import FanoutSettings
from tests.support.installation import Installation
from tests.support.lab import NoteTaken

PROJECT = uuid.UUID("00000000-0000-7000-8000-00000000000a")


@dataclass
class Seen:
    """One client's view."""

    told: list[Told] = field(default_factory=list)
    lost: int = 0

    @property
    def numbers(self) -> list[int]:
        return [each.sequence for each in self.told]

    def watcher(self) -> Watcher:
        def lose(_late: Told) -> None:
            self.lost += 1

        return Watcher(frozenset({channel_of(PROJECT)}), self.told.append, lose)


@asynccontextmanager
async def live(installation: Installation) -> AsyncIterator[tuple[Hub, Bus, Redis]]:
    credentials, endpoints = installation.servers.credentials, installation.servers.endpoints
    redis, fanout = (Redis.from_url(credentials.redis_url(endpoints, user)) for user in ("gateway", "fanout"))
    connection = Connection(installation.settings(FanoutSettings))
    async with installation.bus() as bus, installation.bus("tasks") as tasks:
        await connection.connect()
        copying = asyncio.create_task(Copying(connection, fanout).run())
        hub = Hub(redis, Archive(bus.connection))
        hub.start()
        try:
            yield hub, tasks, redis
        finally:
            copying.cancel()
            await asyncio.wait([copying])
            connection.stopping = True
            await connection.broker.stop()
            await hub.stop()
            await redis.aclose()
            await fanout.aclose()


async def test_what_happens_is_told_in_order_and_once(installation: Installation) -> None:
    async with live(installation) as (hub, tasks, _):
        await tasks.publish(NoteTaken(text="before"), project=PROJECT)
        seen = Seen()
        watcher = seen.watcher()
        begin, past = await hub.join(watcher, None)
        hub.go_live(watcher)
        assert past == []
        for n in range(50):
            await tasks.publish(NoteTaken(text=str(n)), project=PROJECT)
            await tasks.publish(NoteTaken(text="not ours"), project=uuid.uuid4())

        async def all_there() -> bool:
            return len(seen.told) >= 50

        await eventually(all_there, within=10, what="fifty events")
        assert [each.type for each in seen.told] == ["tasks.lab.taken"] * 50
        assert seen.numbers == sorted(set(seen.numbers))
        again = Seen()
        second = again.watcher()
        start, missed = await hub.join(second, Offset(begin.epoch, seen.numbers[9]))
        hub.go_live(second)
        assert start.sequence == seen.numbers[9]
        assert [each.sequence for each in missed] == seen.numbers[10:]
        assert seen.lost == 0
