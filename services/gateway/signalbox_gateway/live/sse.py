"""Events as a stream of server-sent events, one client each."""

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from signalbox_common.errors import SignalboxError
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.access import End
from signalbox_gateway.live.events import channel_of
from signalbox_gateway.live.hub import Behind, Watcher
from signalbox_gateway.live.node import Live
from signalbox_gateway.live.offsets import Offset
from signalbox_gateway.live.publication import Told, chunked, resync
from signalbox_gateway.live.transport import CONNECTION, Connection

LONGEST = 300.0
"""Seconds after which a stream ends, so that its client connects anew and goes on."""
RETRY = 1000
_ALIVE = chunked(b":\n\n")
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


class Over(StrEnum):
    """Why a stream ends; most clients connect anew and go on where they were."""

    TIME = "time"
    LEFT = "left"
    SLOW = "slow"
    ENDED = "ended"
    FORBIDDEN = "forbidden"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to follow."""

    projects: frozenset[uuid.UUID]
    operation: str | None
    types: Sequence[str]
    resume: Offset | None
    heard: int
    """What had been heard of rights that ended before it was asked whether this is allowed."""

    @property
    def channels(self) -> frozenset[str]:
        return frozenset(channel_of(project, self.operation) for project in self.projects)


class EventStream(Response):
    """Begins as a response like any other, and goes on beside the app that it began in."""

    def __init__(self, live: Live, asker: Asker, wanted: Wanted) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._live = live
        self._asker = asker
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the server tells when the client has left
        connection = scope.get("extensions", {}).get(CONNECTION)
        if not isinstance(connection, Connection):
            raise SignalboxError("This server cannot stream.")
        stream = _Stream(self._live, self._asker, self._wanted, connection)
        try:
            first = await stream.begin(self._wanted.resume)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
        except BaseException:
            await stream.leave()
            raise
        connection.after = stream.go_on


class _Stream:
    """One client's."""

    __slots__ = (
        "_at",
        "_connection",
        "_heard",
        "_live",
        "_over",
        "_types",
        "_watcher",
        "asker",
        "ends_at",
        "projects",
    )

    def __init__(self, live: Live, asker: Asker, wanted: Wanted, connection: Connection) -> None:
        self.asker = asker
        self.projects = wanted.projects
        self.ends_at = min(time.time() + LONGEST, asker.expires_at)
        self._live = live
        self._types = wanted.types
        self._over: asyncio.Future[Over] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._heard = wanted.heard
        self._at: Offset
        """Of the last event that was written, or is of another type."""
        self._watcher = Watcher(wanted.channels, self._deliver, self._say_late)
        connection.when_lost = self._left
        connection.when_stopping = self._stop

    async def begin(self, resume: Offset | None) -> bytes:
        """What is said first; then nothing can be missed any more."""
        hub = self._live.hub
        try:
            begin, past = await hub.join(self._watcher, resume)
            first = f"retry: {RETRY}\nid: {begin}\n\n".encode()
        except Behind:
            begin, past = await hub.join(self._watcher, None)
            after = resume if resume is not None and resume.epoch == begin.epoch else None
            first = f"retry: {RETRY}\n\n".encode() + _resync(begin, after, "expired")
        self._at = past[-1].offset if past else begin
        return first + b"".join(told.lines for told in past if told.is_of(self._types))

    async def go_on(self, _receive: Receive, send: Send) -> None:
        """Until it is over."""
        try:
            with self._live.watch.over(self.asker) as opened:
                opened.ended.add_done_callback(self._unwatched)
                self._live.clock.add(self)
                self._live.members.add(self, self._heard)
                self._live.hub.go_live(self._watcher)
                over = await self._over
            await self._finish(over, send)
        finally:
            await self.leave()

    async def leave(self) -> None:
        self._connection.when_lost = self._connection.when_stopping = None
        self._live.clock.remove(self)
        self._live.members.remove(self)
        await self._live.hub.leave(self._watcher)

    async def _finish(self, over: Over, send: Send) -> None:
        if over is Over.SLOW:
            self._connection.write(chunked(_resync(self._at, self._at, "slow")))
            self._connection.let_go()
        elif over is not Over.LEFT and not self._connection.closing:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    # -- what happens to it ----------------------------------------------------------------------------

    def _deliver(self, told: Told) -> None:
        if self._over.done():
            return
        self._at = told.offset
        if not told.is_of(self._types):
            return
        self._connection.write(told.chunk)
        if self._connection.too_far_behind:
            self._end(Over.SLOW)

    def _say_late(self, told: Told) -> None:
        """It has its place before others that were told already."""
        if not self._over.done() and told.is_of(self._types):
            epoch = self._watcher.epoch
            at, after = (Offset(epoch, number) for number in (self._watcher.position, told.sequence - 1))
            self._connection.write(chunked(_resync(at, after, "late")))

    def _left(self) -> None:
        self._end(Over.LEFT)

    def _stop(self) -> None:
        self._end(Over.STOPPING)

    def _unwatched(self, _: "asyncio.Future[End]") -> None:
        self._end(Over.ENDED)

    def _end(self, over: Over) -> None:
        if not self._over.done():
            self._over.set_result(over)

    def say_alive(self) -> None:
        if not self._over.done():
            self._connection.write(_ALIVE)

    def time_is_over(self) -> None:
        self._end(Over.TIME)

    def forbid(self) -> None:
        self._end(Over.FORBIDDEN)


def _resync(at: Offset, after: Offset | None, reason: str) -> bytes:
    """Something is to be asked for in pages."""
    return f"event: resync\nid: {at}\ndata: {json.dumps(resync(at, after, reason))}\n\n".encode()
