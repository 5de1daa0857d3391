"""A hub against a real Redis and a stream that is a list, so that tests decide what happens when."""

import asyncio
import json
import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from signalbox_cli.provision.permissions import ADMIN
from signalbox_common.bus.stored import StoredMessage, StreamReader, StreamState
from signalbox_common.testing import eventually
from signalbox_gateway.live.history import History
from signalbox_gateway.live.hub import Hub
from signalbox_gateway.live.publication import Publication, Resync, StreamPosition, channel_of, event_of
from signalbox_gateway.live.subscriber import Subscriber, UnrecoverablePosition
from tests.support.servers import TestServers


class ListedStream(StreamReader):
    """The stream."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(8)
        self.first = 1
        self.messages: list[StoredMessage] = []
        self.reads = 0

    @property
    def last(self) -> int:
        return self.messages[-1].sequence if self.messages else 0

    def store(
        self, project: uuid.UUID, *, identity: str = "", operation: str | None = None, size: int = 0
    ) -> int:
        number = self.last + 1
        headers = {"ce-id": identity or str(number), "ce-source": "/test"}
        headers |= {"ce-operation": operation} if operation else {}
        body = json.dumps({"n": number, "pad": "x" * size}).encode()
        self.messages.append(StoredMessage(number, f"evt.{project}.tasks.lab.taken", headers, body))
        return number

    async def state(self) -> StreamState:
        return StreamState(self.epoch, self.first, self.last)

    async def after(self, subject: str, sequence: int, limit: int) -> Sequence[StoredMessage]:
        self.reads += 1
        project = subject.split(".")[1]
        found = (s for s in self.messages if s.sequence > max(sequence, self.first - 1))
        return [s for s in found if s.subject.split(".")[1] == project][:limit]


@dataclass
class Client:
    """What somebody who watches was told."""

    channels: frozenset[str]
    told: list[Publication] = field(default_factory=list)
    resyncs: list[dict[str, str | None]] = field(default_factory=list)
    late: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.subscriber = Subscriber(self.channels, self._deliver, lambda told: self.late.append(told.offset))

    def _deliver(self, told: Publication) -> None:
        if isinstance(told, Resync):
            self.resyncs.append(told.fields)
        else:
            self.told.append(told)

    @property
    def numbers(self) -> list[int]:
        return [each.offset for each in self.told]


class Scene:
    def __init__(self, redis: Redis, hub: Hub, stream: ListedStream) -> None:
        self.redis = redis
        self.hub = hub
        self.stream = stream
        self.project = uuid.uuid4()

    @property
    def history(self) -> History:
        """As a fan-out writes to it."""
        return History(self.redis, self.stream.epoch)

    def client(self, *projects: uuid.UUID) -> Client:
        return Client(frozenset(channel_of(each) for each in projects or (self.project,)))

    async def join(self, client: Client, after: int | None = None) -> StreamPosition:
        """As connections do it."""
        resume = StreamPosition(self.stream.epoch, after) if after is not None else None
        try:
            begin, past = await self.hub.subscribe(client.subscriber, resume)
        except UnrecoverablePosition:
            begin, past = await self.hub.subscribe(client.subscriber, None)
            client.resyncs.append({"at": str(begin), "reason": "expired"})
        client.told += past
        self.hub.go_live(client.subscriber)
        return begin

    async def copy(self, first: int, last: int) -> int | None:
        """What a fan-out does that has read these numbers."""
        steps = []
        for stored in self.stream.messages:
            if first <= stored.sequence <= last:
                event = event_of(stored.subject, stored.headers, stored.body, stored.sequence)
                steps.append((stored.sequence - 1, stored.sequence, event))
        return await self.history.add(steps)

    async def tell(
        self, count: int = 1, project: uuid.UUID | None = None, *, identity: str = "", size: int = 0
    ) -> int:
        """Stores and copies; the number of the last."""
        first = self.stream.last + 1
        for _ in range(count):
            self.stream.store(project or self.project, identity=identity, size=size)
        assert await self.copy(first, self.stream.last) is None
        return self.stream.last

    async def forget(self) -> None:
        """Redis came back empty."""
        keys = [key async for key in self.redis.scan_iter(match=f"live:{self.stream.epoch}:*")]
        if keys:
            await self.redis.delete(*keys)

    async def watched(self) -> list[str]:
        """Who is subscribed to something of ours, as Redis knows it."""
        return [str(channel) for channel in await self.redis.pubsub_channels(f"progress:{self.project}*")]

    async def until(self, client: Client, numbers: Sequence[int], within: float = 30.0) -> None:
        async def there() -> bool:
            return len(client.told) >= len(numbers)

        await eventually(there, within=within, what=f"{len(numbers)} events")
        assert client.numbers == list(numbers)


def patient_redis(servers: TestServers, user: str = ADMIN) -> Redis:
    url = servers.credentials.redis_url(servers.endpoints, user)
    return Redis.from_url(url, socket_timeout=3.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 1))


@asynccontextmanager
async def hub_scene(servers: TestServers) -> AsyncIterator[Scene]:
    redis, gateway = patient_redis(servers), patient_redis(servers, "gateway")
    stream = ListedStream()
    hub = Hub(gateway, stream)
    hub.start()
    try:
        yield Scene(redis, hub, stream)
    finally:
        await hub.stop()
        for each in (redis, gateway):
            await each.aclose()
        await asyncio.sleep(0)
