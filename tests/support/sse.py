"""What the catalog tells of its changes: server-sent events to whoever watches, events on the bus to all."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from signalbox_common.testing import eventually
from tests.support.installation import Installation

PAUSE = 0.05
"""Seconds before a client connects again; what the server recommends is for people's browsers."""
BOOKMARK = "BOOKMARK"


@dataclass(frozen=True)
class Told:
    """One event of a watch."""

    type: str
    object: dict[str, Any]
    id: int | None = None
    at: float = field(default_factory=time.perf_counter)

    @property
    def version(self) -> int:
        return int(self.object["metadata"]["resourceVersion"])

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def what(self) -> tuple[str, str, int]:
        """Type, name and version, which say it all where nobody lies."""
        return self.type, self.name, self.version


class Parser:
    """Bytes in, events out; an event counts only when its empty line has come."""

    def __init__(self) -> None:
        self._rest = b""
        self.retry: int | None = None

    def feed(self, chunk: bytes) -> list[Told]:
        *whole, self._rest = (self._rest + chunk).split(b"\n\n")
        return [told for block in whole if (told := self._event(block.decode())) is not None]

    def _event(self, block: str) -> Told | None:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            assert name in ("event", "id", "data", "retry"), f"no field of server-sent events: {line!r}"
            assert name not in fields, f"{name} twice in one event: {block!r}"
            fields[name] = value.removeprefix(" ")
        if "retry" in fields:
            self.retry = int(fields["retry"])
        if "data" not in fields:
            return None
        said = json.loads(fields["data"])
        assert said["type"] == fields["event"], "the event is called as its data says"
        return Told(said["type"], said["object"], int(fields["id"]) if "id" in fields else None)


class Reader:
    """One connection, read on in the background until it ends."""

    def __init__(self, note: Callable[[Told], None] = lambda _told: None) -> None:
        self.status: int | None = None
        self.problem: dict[str, Any] = {}
        self.told: list[Told] = []
        self.ended_at: float | None = None
        self.parser = Parser()
        self._note = note

    @property
    def changes(self) -> list[Told]:
        return [told for told in self.told if told.type != BOOKMARK]

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    async def until(self, holds: Callable[[], object], *, within: float = 30.0, what: str = "") -> None:
        async def look() -> bool:
            return bool(holds())

        seen = f"what the watcher waits for ({what or 'see the test'})"
        await eventually(look, within=within, what=seen)

    async def run(self, address: str, plural: str, headers: dict[str, str], query: dict[str, Any]) -> None:
        """Raises what broke the connection, if it did not end by itself."""
        wanted = query | {"watch": "true"}
        url = f"http://{address}/api/v1/kinds/{plural}"
        # Without a limit: a watch of which nothing is to be told is a silent one.
        timeout = httpx.Timeout(10, read=None)
        try:
            async with (
                httpx.AsyncClient(timeout=timeout) as client,
                client.stream("GET", url, params=wanted, headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    self.problem = json.loads(await answer.aread())
                self.status = answer.status_code
                if self.problem:
                    return
                assert answer.headers["content-type"].startswith("text/event-stream")
                async for chunk in answer.aiter_raw():
                    for told in self.parser.feed(chunk):
                        self.told.append(told)
                        self._note(told)
        finally:
            self.ended_at = time.perf_counter()


@asynccontextmanager
async def watching(
    address: str, plural: str, headers: dict[str, str], *, last_event_id: int | None = None, **query: Any
) -> AsyncIterator[Reader]:
    """One connection; it is open when this begins, and closed by its client when it has not ended before."""
    reader = Reader()
    more = {"Last-Event-ID": str(last_event_id)} if last_event_id is not None else {}
    reading = asyncio.create_task(reader.run(address, plural, headers | more, query))
    try:
        await reader.until(lambda: reader.status is not None or reading.done(), what="an answer")
        yield reader
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    if not reading.cancelled() and (error := reading.exception()) is not None:
        raise error


class Follower:
    """A client that connects again and goes on from what it was told last, as browsers do."""

    def __init__(self, address: str, plural: str, headers: dict[str, str], *, by_header: bool = True) -> None:
        self.address = address
        """Where it connects the next time."""
        self.changes: list[Told] = []
        self.bookmarks: list[Told] = []
        self.connections = 0
        self.refused: dict[str, Any] = {}
        self.position: int | None = None
        self._plural = plural
        self._headers = headers
        self._by_header = by_header
        self._query: dict[str, Any] = {}
        self._reading: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    def start(self, position: int | None = None, **query: Any) -> None:
        self.position = position
        self._query = query
        self._following = asyncio.create_task(self._follow())

    def drop(self) -> None:
        """The client closes its connection, and comes again."""
        assert self._reading is not None
        self._reading.cancel()

    async def stop(self) -> None:
        for task in (self._following, self._reading):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def _follow(self) -> None:
        while not self.refused:
            self._reading = asyncio.create_task(self._read())
            await asyncio.wait([self._reading])
            broken = None if self._reading.cancelled() else self._reading.exception()
            if broken is not None and not isinstance(broken, httpx.TransportError):
                raise broken
            await asyncio.sleep(PAUSE)

    async def _read(self) -> None:
        headers, query = dict(self._headers), dict(self._query)
        if self.position is not None and self._by_header:
            headers["Last-Event-ID"] = str(self.position)
        elif self.position is not None:
            query["resourceVersion"] = str(self.position)
        reader = Reader(self._note)
        self.connections += 1
        await reader.run(self.address, self._plural, headers, query)
        if reader.status is not None and 400 <= reader.status < 500:
            self.refused = reader.problem

    def _note(self, told: Told) -> None:
        """At once: the connection may break at any byte."""
        (self.bookmarks if told.type == BOOKMARK else self.changes).append(told)
        if told.id is not None:
            self.position = told.id


@dataclass(frozen=True)
class Published:
    """One event of a resource, as the stream holds it."""

    change: str
    kind: str
    name: str
    version: int
    generation: int
    id: str


async def published(installation: Installation, project: str = "*") -> list[Published]:
    """The events of a project's resources, oldest first."""
    subject = f"evt.{project}.catalog.resource.*"
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL)
    found: list[Published] = []
    async with installation.nats() as client:
        reading = await client.jetstream().pull_subscribe(subject, stream="EVENTS", config=config)
        left = (await reading.consumer_info()).num_pending or 0
        while len(found) < left:
            for message in await reading.fetch(min(500, left - len(found)), timeout=5):
                said = json.loads(message.data)
                found.append(
                    Published(
                        message.subject.rpartition(".")[2],
                        said["kind"],
                        said["name"],
                        int(said["resourceVersion"]),
                        said["generation"],
                        (message.headers or {})["ce-id"],
                    )
                )
        await reading.unsubscribe()
    return found


async def outbox_is_empty(installation: Installation) -> None:
    """Returns when everything that was to be told has left the catalog."""

    async def empty() -> bool:
        return await installation.count("catalog.outbox") == 0

    await eventually(empty, what="an empty outbox")
