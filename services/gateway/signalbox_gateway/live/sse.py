"""Events as a stream of server-sent events, one client each."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from signalbox_common.errors import SignalboxError
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.connections import EndReason
from signalbox_gateway.live.node import Node
from signalbox_gateway.live.publication import Publication, Resync, StreamPosition, channel_of
from signalbox_gateway.live.subscriber import Subscriber, UnrecoverablePosition
from signalbox_gateway.live.transport import TRANSPORT, Transport, chunk

LONGEST = 300.0
"""Seconds after which a stream ends, so that its client reconnects and recovers."""
RETRY = 1000
_KEEPALIVE = chunk(b":\n\n")
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


class StreamEnd(StrEnum):
    """Why a stream ends; most clients reconnect and recover."""

    EXPIRED = "expired"
    LOST = "lost"
    SLOW = "slow"
    ENDED = "ended"
    FORBIDDEN = "forbidden"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True)
class SubscribeOptions:
    """What somebody wants to follow, and from where on."""

    projects: frozenset[uuid.UUID]
    operation: str | None
    types: Sequence[str]
    resume: StreamPosition | None
    revocations: int
    """How many had been heard of before access was checked."""

    @property
    def channels(self) -> frozenset[str]:
        return frozenset(channel_of(project, self.operation) for project in self.projects)


class EventStream(Response):
    """Begins as a response like any other, and goes on beside the app that it began in."""

    def __init__(self, node: Node, asker: Asker, options: SubscribeOptions) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._node = node
        self._asker = asker
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the server tells when the client has left
        transport = scope.get("extensions", {}).get(TRANSPORT)
        if not isinstance(transport, Transport):
            raise SignalboxError("This server cannot stream.")
        stream = _StreamConnection(self._node, self._asker, self._options, transport)
        try:
            first = await stream.begin(self._options.resume)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
        except BaseException:
            await stream.close()
            raise
        transport.continuation = stream.go_on


class _StreamConnection:
    """The stream of one client."""

    __slots__ = (
        "_at",
        "_end",
        "_node",
        "_revocations",
        "_subscriber",
        "_transport",
        "_types",
        "asker",
        "ends_at",
        "projects",
    )

    def __init__(self, node: Node, asker: Asker, options: SubscribeOptions, transport: Transport) -> None:
        self.asker = asker
        self.projects = options.projects
        self.ends_at = min(time.time() + LONGEST, asker.expires_at)
        self._node = node
        self._types = options.types
        self._end: asyncio.Future[StreamEnd] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._revocations = options.revocations
        self._at: StreamPosition
        """Of the last publication that was written, or is of another type."""
        self._subscriber = Subscriber(options.channels, self._deliver, self._deliver_late)
        transport.on_lost = self._on_lost
        transport.on_shutdown = self._on_shutdown

    async def begin(self, resume: StreamPosition | None) -> bytes:
        """What is sent first; then nothing can be missed any more."""
        hub = self._node.hub
        try:
            begin, recovered = await hub.subscribe(self._subscriber, resume)
            first = f"retry: {RETRY}\nid: {begin}\n\n".encode()
        except UnrecoverablePosition:
            begin, recovered = await hub.subscribe(self._subscriber, None)
            after = resume if resume is not None and resume.epoch == begin.epoch else None
            first = f"retry: {RETRY}\n\n".encode() + Resync(begin, after, "expired").lines
        self._at = recovered[-1].position if recovered else begin
        return first + b"".join(each.lines for each in recovered if each.is_of(self._types))

    async def go_on(self, _receive: Receive, send: Send) -> None:
        """Until it ends."""
        try:
            with self._node.connections.track(self.asker) as connection:
                connection.ended.add_done_callback(self._on_ended)
                self._node.keepalive.add(self)
                self._node.access.add(self, self._revocations)
                self._node.hub.go_live(self._subscriber)
                end = await self._end
            await self._finish(end, send)
        finally:
            await self.close()

    async def close(self) -> None:
        self._transport.on_lost = self._transport.on_shutdown = None
        self._node.keepalive.remove(self)
        self._node.access.remove(self)
        await self._node.hub.unsubscribe(self._subscriber)

    async def _finish(self, end: StreamEnd, send: Send) -> None:
        if end is StreamEnd.SLOW:
            self._transport.write(Resync(self._at, self._at, "slow").chunk)
            self._transport.close()
        elif end is not StreamEnd.LOST and not self._transport.is_closing:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    # -- what happens to it ----------------------------------------------------------------------------

    def _deliver(self, publication: Publication) -> None:
        if self._end.done():
            return
        self._at = publication.position
        if not publication.is_of(self._types):
            return
        self._transport.write(publication.chunk)
        if self._transport.is_slow:
            self._finish_with(StreamEnd.SLOW)

    def _deliver_late(self, publication: Publication) -> None:
        """It has its place before others that were delivered already."""
        if not self._end.done() and publication.is_of(self._types):
            epoch = self._subscriber.epoch
            at = StreamPosition(epoch, self._subscriber.offset)
            after = StreamPosition(epoch, publication.offset - 1)
            self._transport.write(Resync(at, after, "late").chunk)

    def _on_lost(self) -> None:
        self._finish_with(StreamEnd.LOST)

    def _on_shutdown(self) -> None:
        self._finish_with(StreamEnd.SHUTDOWN)

    def _on_ended(self, _: "asyncio.Future[EndReason]") -> None:
        self._finish_with(StreamEnd.ENDED)

    def send_keepalive(self) -> None:
        if not self._end.done():
            self._transport.write(_KEEPALIVE)

    def expire(self) -> None:
        self._finish_with(StreamEnd.EXPIRED)

    def forbid(self, _why: SignalboxError) -> None:
        self._finish_with(StreamEnd.FORBIDDEN)

    def _finish_with(self, end: StreamEnd) -> None:
        if not self._end.done():
            self._end.set_result(end)
