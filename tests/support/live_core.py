"""A hub and a fan-out over real servers, in the test's own loop."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from signalbox_cli.provision.permissions import ADMIN
from signalbox_common.bus import Bus
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.stored import StreamReader
from signalbox_common.contracts.streams import EVENTS
from signalbox_gateway.fanout.replicator import Replicator
from signalbox_gateway.live.hub import Hub
from signalbox_gateway.live.publication import Publication, channel_of
from signalbox_gateway.live.subscriber import Subscriber
from signalbox_gateway.settings import FanoutSettings
from tests.support.hub import patient_redis
from tests.support.installation import Installation

PROJECT = uuid.UUID("00000000-0000-7000-8000-00000000000a")


@dataclass
class ClientView:
    """One client's view."""

    told: list[Publication] = field(default_factory=list)
    lost: int = 0

    @property
    def numbers(self) -> list[int]:
        return [each.offset for each in self.told]

    def subscriber(self, project: uuid.UUID = PROJECT) -> Subscriber:
        def lose(_late: Publication) -> None:
            self.lost += 1

        return Subscriber(frozenset({channel_of(project)}), self.told.append, lose)


@asynccontextmanager
async def live(installation: Installation) -> AsyncIterator[tuple[Hub, Bus, Redis]]:
    """The hub, whoever tells events, and Redis as the administrator sees it."""
    servers = installation.servers
    redis, gateway, fanout = (patient_redis(servers, user) for user in (ADMIN, "gateway", "fanout"))
    connection = Connection(installation.settings(FanoutSettings))
    async with installation.bus() as bus, installation.bus("tasks") as tasks:
        await connection.connect()
        copying = asyncio.create_task(Replicator(connection, fanout).run())
        hub = Hub(gateway, StreamReader(bus.connection, EVENTS))
        hub.start()
        try:
            yield hub, tasks, redis
        finally:
            copying.cancel()
            await asyncio.wait([copying])
            connection.stopping = True
            await connection.broker.stop()
            await hub.stop()
            for each in (redis, gateway, fanout):
                await each.aclose()
