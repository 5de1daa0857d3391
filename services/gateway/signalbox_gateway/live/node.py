"""The node: everything that the open connections of one process share."""

import asyncio

from redis.asyncio import Redis

from signalbox_common.bus.stored import StreamReader
from signalbox_common.contracts.streams import EVENTS
from signalbox_gateway.clients import Clients
from signalbox_gateway.live.access import AccessMonitor, Follower
from signalbox_gateway.live.assurance import Assurance
from signalbox_gateway.live.connections import OpenConnections
from signalbox_gateway.live.hub import Hub
from signalbox_gateway.live.keepalive import FanoutHeartbeat, Keepalive
from signalbox_gateway.live.subscriber import Subscriber


class Node:
    def __init__(self, clients: Clients, redis: Redis) -> None:
        self.clients = clients
        assurance = Assurance(clients.bus)
        self.connections = OpenConnections(clients.bus.revoked, assurance)
        self.heartbeat = FanoutHeartbeat(redis)
        self.stream = StreamReader(clients.bus.connection, EVENTS)
        self.hub = Hub(redis, self.stream)
        self.keepalive = Keepalive()
        self.access = AccessMonitor(clients, assurance)
        self._releasing: set[asyncio.Task[None]] = set()

    def release(self, follower: Follower, subscriber: Subscriber) -> None:
        """Lets go of what somebody must not follow any more."""
        self.access.remove(follower)
        task = asyncio.create_task(self.hub.unsubscribe(subscriber))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    def start(self) -> None:
        self.connections.start()
        self.keepalive.start()
        self.hub.start()

    async def stop(self) -> None:
        await self.hub.stop()
        await self.keepalive.stop()
        await self.connections.stop()
