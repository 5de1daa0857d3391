"""Everything that the open connections of one process share."""

import asyncio

from redis.asyncio import Redis

from signalbox_gateway.clients import Clients
from signalbox_gateway.live.access import Watch
from signalbox_gateway.live.hub import Hub, Watcher
from signalbox_gateway.live.keepalive import Clock
from signalbox_gateway.live.members import Following, Members
from signalbox_gateway.live.pulse import Pulse
from signalbox_gateway.live.stream import Archive


class Live:
    def __init__(self, clients: Clients, redis: Redis, watch: Watch) -> None:
        self.clients = clients
        self.watch = watch
        self.pulse = Pulse(redis)
        self.archive = Archive(clients.bus.connection)
        self.hub = Hub(redis, self.archive)
        self.clock = Clock()
        self.members = Members(clients)
        self._releasing: set[asyncio.Task[None]] = set()

    def release(self, following: Following, watcher: Watcher) -> None:
        """Lets go of what somebody must not follow any more."""
        self.members.remove(following)
        task = asyncio.create_task(self.hub.leave(watcher))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    def start(self) -> None:
        self.watch.start()
        self.clock.start()
        self.hub.start()

    async def stop(self) -> None:
        await self.hub.stop()
        await self.clock.stop()
        await self.watch.stop()
